"""Environments of the peers: each has its own beside this file, made once; what cannot be had is said."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
INSTALL_MAX_S: Final = 600


class Peer(NamedTuple):
    """An engine of the comparison.

    Parameters
    ----------
    name : str
    module : str
        In this package; run in the peer's environment.
    environment : str
        Name of its environment; empty for the project's own.
    requirements : tuple of str
    python : str
        Version it needs, ``"3.13"``; empty for any.
    modes : tuple of str
        What is measured: ``signals`` (nothing trades), ``fills`` (orders, fills and a book as well).
    """

    name: str
    module: str
    environment: str = ""
    requirements: tuple[str, ...] = ()
    python: str = ""
    modes: tuple[str, ...] = ("signals", "fills")


PEERS: Final = (
    Peer("bare Numba loop", "bare_pairs", modes=("signals",)),
    Peer("Astra", "astra_pairs"),
    # Its signals alone would be a compiled loop of ours, and say nothing of it.
    Peer(
        "vectorbt (not event-driven)",
        "vectorbt_pairs",
        "vectorbt",
        ("vectorbt>=1.2", "pandas>=3.0.3"),
        modes=("fills",),
    ),
    # A version that names a candidate lets the installer take candidates of this package, and no other's.
    Peer(
        "NautilusTrader 2",
        "nautilus_v2",
        "nautilus2",
        ("nautilus-trader>=2.0.0rc0", "numpy"),
        "3.13",
    ),
    Peer("NautilusTrader 1", "nautilus_v1", "nautilus1", ("nautilus-trader<2", "pandas<3")),
    Peer("backtrader", "backtrader_pairs", "backtrader", ("backtrader", "numpy")),
)


def interpreters(version: str) -> Iterator[str]:
    """Yield interpreters of a version that may be on this machine; this one for an empty version."""
    if not version:
        yield sys.executable
        return
    yield f"python{version}"
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))


def _starts(python: str) -> bool:
    try:
        return (
            subprocess.run([python, "-c", ""], capture_output=True, check=False, timeout=30).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def python_of(peer: Peer) -> Path | str:
    """Return the interpreter of a peer's environment, made if need be, or the reason there is none."""
    if not peer.environment:
        return Path(sys.executable)
    folder = HERE / f".venv-{peer.environment}"
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(peer.requirements) + "\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    found = next((candidate for candidate in interpreters(peer.python) if _starts(candidate)), None)
    if found is None:
        return f"needs Python {peer.python}, which is not on this machine"
    print(f"installing {', '.join(peer.requirements)} (once)", flush=True)
    try:
        if found == sys.executable:
            venv.create(folder, clear=True, with_pip=True)
        else:
            subprocess.run([found, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, *peer.requirements], check=True, capture_output=True, text=True, timeout=INSTALL_MAX_S
        )
    except subprocess.TimeoutExpired:
        return f"not installed within {INSTALL_MAX_S} s"
    except subprocess.CalledProcessError as error:
        said = str(error.stderr or error).strip().splitlines()
        return f"not installed: {said[-1] if said else error}"
    stamp.write_text(wanted, encoding="utf-8")
    return python
