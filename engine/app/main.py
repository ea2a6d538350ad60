"""The entry point of ``astra``: sets what must be set before NumPy is imported, renders errors, exits.

Imports nothing heavy: ``astra --help`` must answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

#: One BLAS thread: a sum must not depend on how many cores there are.
_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_INTERRUPTED = 130


def main() -> None:
    """Run the ``astra`` command and end the process with its exit status, at once.

    A thread that never returns (an allocator, a server that does not answer) would otherwise be waited for.
    """
    for name in _THREADS:
        os.environ[name] = "1"
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # the reader (head, less) has gone
            stream.flush()
    os._exit(status)


def run(argv: list[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    argv : list of str
        Arguments without the program's name; ``--debug`` is understood anywhere among them.

    Returns
    -------
    int
        0 done, 1 defect, 2 usage or configuration, 3 data, 4 halted, 5 service, 130 interrupted. With
        ``--json`` a failure, too, prints one object: ``error`` with its ``code``, ``what``, ``where`` and
        ``hint``, and ``further`` ones.
    """
    import typer

    from engine.app.cli import app
    from engine.errors import AstraError

    # Of typer's own copy of click, which gives it no public name.
    usage_error: type[Exception] = typer.BadParameter.__bases__[0]
    is_debug, is_json = "--debug" in argv, "--json" in argv
    try:
        asked = [argument for argument in argv if argument != "--debug"]
        status = app(args=asked, prog_name="astra", standalone_mode=False)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except usage_error as error:
        return _misused(error, is_json=is_json)
    except typer.Abort:
        return _ended("aborted", 1, is_json=is_json)
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except (AstraError, OSError) as error:
        return _report(error, is_debug=is_debug, is_json=is_json)
    except Exception as error:
        if is_json:
            _print_json(
                {"code": "defect", "what": f"{type(error).__name__}: {error}", "where": "", "hint": ""}
            )
        raise
    if status == _INTERRUPTED:
        return _ended("interrupted", _INTERRUPTED, is_json=is_json)
    return status if isinstance(status, int) else 0


def _ended(how: str, status: int, *, is_json: bool) -> int:
    sys.stderr.write(f"{how}\n")
    if is_json:
        _print_json({"code": how, "what": how, "where": "", "hint": ""})
    return status


def _misused(error: Any, *, is_json: bool) -> int:
    error.show()
    if is_json:
        verb = error.ctx.command_path if error.ctx is not None else "astra"
        what, hint = error.format_message(), f"Try:  {verb} --help"
        _print_json({"code": "usage", "what": what, "where": verb, "hint": hint})
    return int(error.exit_code)


def _report(error: Exception, *, is_debug: bool, is_json: bool) -> int:
    from engine.app.render import error_documents, render_error
    from engine.errors import AstraError, ServiceError

    if is_debug:
        import traceback

        traceback.print_exception(error)
    if not isinstance(error, AstraError):
        what = f"the system refused: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        where = str(getattr(error, "filename", None) or "")
        error = ServiceError("S009", what, where, "Nothing partial was kept. Check space and permissions.")
    sys.stderr.write(_seen_from_here(render_error(error, is_colour=sys.stderr.isatty())))
    if is_json:
        _print_json(*error_documents(error))
    return error.exit_code


def _print_json(first: dict[str, str], *further: dict[str, str]) -> None:
    """Print the one object of ``--json``: what went wrong, and what else did."""
    document = {"error": first, "further": list(further)}
    sys.stdout.write(_seen_from_here(json.dumps(document, ensure_ascii=False)) + "\n")


def _seen_from_here(text: str) -> str:
    """Shorten paths: they are absolute inside, and people know their files as they see them from here."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")


if __name__ == "__main__":
    main()
