"""``astra doctor``: what this machine needs to run the engine, and whether it has it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from engine.app.config.load import Config
from engine.clock import stopwatch_s

DISTRIBUTION = "astra-quant"
PACKAGES = ("engine", "feeds", "strategies", "risk")
_DEPENDENCIES = ("numpy", "numba", "scipy", "pandas", "pyarrow", "cvxpy", "clarabel", "pydantic", "msgspec")
_SLOW_FSYNC_MS = 10.0
_CONNECT_S = 0.5


class Finding(msgspec.Struct, frozen=True):
    """What one check found: ``ok``, ``warn`` (works, but mind it) or ``fail``."""

    name: str
    state: Literal["ok", "warn", "fail", "off"]
    text: str


def examine(config: Config | None, folder: Path) -> Iterator[Finding]:
    """Check everything a run needs; a check that breaks is a finding, never a traceback.

    Parameters
    ----------
    config : Config or None
        Servers named in it are tried.
    folder : Path
        Where runs are written: its disk is measured.

    Yields
    ------
    Finding
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("packages", _packages),
        ("threads", _threads),
        ("imports", _imports),
        ("numba", _numba),
        ("numba cache", _numba_cache),
        ("solver", _solver),
        ("calendars", _calendars),
        ("disk", lambda: _disk(folder)),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # noqa: BLE001 - the doctor reports whatever is broken
            yield Finding(name, "fail", f"{type(error).__name__}: {error}")
    yield from _servers(config)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "fail", text)


def _packages() -> Finding:
    found = []
    for name in (DISTRIBUTION, *_DEPENDENCIES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Finding("packages", "fail", f"{name} is not installed")
    return Finding("packages", "ok", ", ".join(found))


def _threads() -> Finding:
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    return Finding("threads", "ok" if threads == "1" else "warn", f"BLAS threads: {threads}")


def _imports() -> Finding:
    """Our package names are common words: another distribution may have taken one of them."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        if getattr(module, "PART_OF", "") != DISTRIBUTION:
            where = module.__file__ or "a folder without __init__.py"
            return Finding(
                "imports", "fail", f'"{name}" is another package ({where}): use an environment of its own'
            )
    return Finding("imports", "ok", f"{', '.join(PACKAGES)} belong to {DISTRIBUTION}")


def _numba() -> Finding:
    import numba
    import numpy as np

    started = stopwatch_s()
    compiled: Any = numba.vectorize(["float64(float64)"])  # type: ignore[no-untyped-call]
    is_right = bool(np.array_equal(compiled(lambda x: 2.0 * x)(np.ones(2)), np.full(2, 2.0)))
    text = f"compiles and runs ({stopwatch_s() - started:.1f} s)" if is_right else "wrong result"
    return Finding("numba", "ok" if is_right else "fail", text)


def _numba_cache() -> Finding:
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent)
    if os.access(folder, os.W_OK):
        return Finding("numba cache", "ok", f"writable: {folder}")
    return Finding(
        "numba cache", "warn", f"{folder} is read-only: set NUMBA_CACHE_DIR, or each start compiles"
    )


def _solver() -> Finding:
    solver: Any = importlib.import_module("cvxpy")
    x = solver.Variable(2)
    problem = solver.Problem(solver.Minimize(solver.sum_squares(x - 1)), [solver.norm1(x) <= 1])
    problem.solve(solver=solver.CLARABEL)
    is_right = problem.status == solver.OPTIMAL and abs(problem.value - 0.5) < 1e-6
    return Finding("solver", "ok" if is_right else "fail", f"Clarabel: {problem.status}")


def _calendars() -> Finding:
    from feeds.calendars import minutes_per_session

    minutes = minutes_per_session("XNYS")
    return Finding("calendars", "ok" if minutes == 390 else "fail", f"XNYS: {minutes} minutes a session")


def _disk(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    times = []
    with tempfile.TemporaryFile(dir=existing) as file:
        for _ in range(20):
            file.write(b"x" * 4096)
            file.flush()
            started = stopwatch_s()
            os.fsync(file.fileno())
            times.append((stopwatch_s() - started) * 1e3)
    times.sort()
    median_ms, worst_ms = times[len(times) // 2], times[-1]
    text = f"fsync {median_ms:.2f} ms median, {worst_ms:.2f} ms worst of {len(times)}, at {existing}"
    return Finding("disk", "ok" if worst_ms < _SLOW_FSYNC_MS else "warn", text)


def _servers(config: Config | None) -> Iterator[Finding]:
    redis = config.redis if config else None
    mqtt = config.mqtt if config else None
    if redis is None:
        yield Finding("redis", "off", "not configured")
    else:
        address = urlsplit(redis.url)
        yield _reach("redis", address.hostname or "localhost", address.port or 6379)
    if mqtt is None:
        yield Finding("mqtt", "off", "not configured")
    else:
        yield _reach("mqtt", mqtt.host, mqtt.port)


def _reach(name: str, host: str, port: int) -> Finding:
    import socket

    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        return Finding(name, "fail", f"cannot reach {host}:{port}: {error.strerror or error}")
    return Finding(name, "ok", f"{host}:{port} answers")
