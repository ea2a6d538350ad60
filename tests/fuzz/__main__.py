"""Coverage-guided search for input that breaks a decoder: ``python -m tests.fuzz bars --runs 1000000``.

Without a target all are searched in turn. It needs atheris, which no lock names. An input that breaks a
promise, takes longer than five seconds or more than a gigabyte is kept in the corpus, so that the suite fails
until the decoder is mended; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutations import shaped

#: What is instrumented: packages as a whole, atheris knows no parts of them; but not modules with kernels,
#: whose bytecode Numba reads.
_GUIDED = ("engine", "feeds", "tests", "tomllib")
_KERNELS = ("engine.book", "engine.execution", "engine.legs", "engine.sizing", "engine.slices_kernel")
#: In memory: some targets write a file for each input.
_TMPFS = Path("/dev/shm")  # noqa: S108 - a folder with a name of its own is made there
_INPUT_BYTES_MAX = 4096
_SECONDS_AN_INPUT = 5
_MEMORY_MB = 1024
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_STRINGS = re.compile(rb'"([a-z_]{2,16})"')


def main(arguments: list[str]) -> int:
    """Search one target, which ends the process, or all of them; return the exit status."""
    options = _options(arguments)
    # One BLAS thread, as in the engine: read when NumPy is first imported, which the targets do.
    for library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    try:
        import atheris
    except ImportError:
        sys.stderr.write("atheris is not installed:  .venv/bin/pip install atheris\n")
        return 2
    if options.target is None:
        from tests.fuzz.targets import TARGETS

        return _every(sorted(TARGETS), options)
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(
        include=list(_GUIDED), exclude=list(_KERNELS), enable_loader_override=False
    ):
        from tests.fuzz.targets import CORPUS, TARGETS
    return _search(TARGETS[options.target], CORPUS / options.target, options)


def _search(target: Callable[[bytes], None], seeds: Path, options: argparse.Namespace) -> int:
    """Search in a child, since the fuzzer ends its process without further ado; return the exit status."""
    import atheris

    memory = _TMPFS if _TMPFS.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="astra-fuzz-", dir=memory) as folder:
        words, found = Path(folder) / "words.dict", Path(folder) / "corpus"
        words.write_bytes(b"".join(b'"%s"\n' % _quoted(word) for word in _words(seeds)))
        found.mkdir()
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tempfile.tempdir = folder
        unseen: list[object] = []  # what a library's callback raises is printed, and goes on
        sys.unraisablehook = unseen.append

        def strict(data: bytes) -> None:
            target(data)
            assert not unseen, unseen

        flags = (
            f"-artifact_prefix={seeds}{os.sep}",
            f"-dict={words}",
            f"-max_len={_INPUT_BYTES_MAX}",
            f"-max_total_time={options.seconds}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-runs={options.runs}",
            f"-seed={options.seed}",
            f"-timeout={_SECONDS_AN_INPUT}",
            "-print_final_stats=1",
        )
        atheris.Setup(["fuzz", str(found), str(seeds), *flags], strict, custom_mutator=_mutate)
        atheris.Fuzz()
    return 0


def _mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Change a document, or any bytes, as the seed decides."""
    import atheris

    changed = shaped(data, seed) if seed % 2 else None
    return atheris.Mutate(data, size_max) if changed is None or len(changed) > size_max else changed


def _every(names: list[str], options: argparse.Namespace) -> int:
    """Search each target in a process of its own; print what came of it."""
    is_good = True
    for name in names:
        limits = [f"--runs={options.runs}", f"--seconds={options.seconds}", f"--seed={options.seed}"]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", name, *limits],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        runs = _RUNS.search(done.stdout)
        count = f"{int(runs[1]):>12,} inputs" if runs else "no inputs"
        sys.stdout.write(f"{name:<14} {count}  {'held' if done.returncode == 0 else 'BROKEN'}\n")
        if done.returncode:
            is_good = False
            sys.stdout.write(done.stdout[-4_000:] + "\n")
        sys.stdout.flush()
    return 0 if is_good else 1


def _words(seeds: Path) -> list[bytes]:
    """Return what a mutation may insert: the names in the seeds, and what decoders stumble over."""
    names = {name for path in seeds.glob("*") for name in _STRINGS.findall(path.read_bytes())}
    odd = [b"1e999", b"-0", b"NaN", b"null", b"\\ud800", b"\xe2\x80\xa8", b"\xff", b"\xdd\xff\xff\xff\xff"]
    return [*sorted(b'"%s"' % name for name in names), *sorted(names), *odd, b"9" * 40, b"[" * 40]


def _quoted(word: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in word)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = sorted(path.name for path in Path(__file__).with_name("corpus").iterdir())
    parser.add_argument("target", nargs="?", choices=names, help="default: all of them in turn")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs for a target")
    parser.add_argument("--seconds", type=int, default=120, help="at most, for a target")
    parser.add_argument("--seed", type=int, default=7, help="of the search")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
