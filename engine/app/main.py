"""The entry point of ``astra``: sets what must be set before NumPy is imported, renders errors, exits.

Imports nothing heavy: ``astra --help`` must answer at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

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
        0 done, 1 defect, 2 usage or configuration, 3 data, 4 halted, 5 service, 130 interrupted.
    """
    from engine.app.cli import app
    from engine.errors import AstraError

    is_debug = "--debug" in argv
    try:
        app(args=[argument for argument in argv if argument != "--debug"], prog_name="astra")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    except (AstraError, OSError) as error:
        return _report(error, is_debug=is_debug)
    return 0


def _report(error: Exception, *, is_debug: bool) -> int:
    from engine.app.render import render_error
    from engine.errors import AstraError, ServiceError

    if is_debug:
        import traceback

        traceback.print_exception(error)
    if not isinstance(error, AstraError):
        what = f"the system refused: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        where = str(getattr(error, "filename", None) or "")
        error = ServiceError("S009", what, where, "Nothing partial was kept. Check space and permissions.")
    text = render_error(error, is_colour=sys.stderr.isatty())
    # Paths are absolute inside; people know their files as they see them from here.
    sys.stderr.write(text.replace(f"{Path.cwd()}{os.sep}", ""))
    return error.exit_code


if __name__ == "__main__":
    main()
