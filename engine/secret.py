"""Secrets: from a variable of the environment, or from a file that its owner alone may read.

With ``_FILE`` at its end a variable names such a file: ``ASTRA_REDIS_PASSWORD_FILE`` for the value of
``ASTRA_REDIS_PASSWORD``. That is how service managers and containers hand secrets over, and what is in a file
is in no listing of processes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.errors import CommandError

_BYTES_MAX: Final = 1 << 14
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def secret(name: str, environment: Mapping[str, str]) -> str:
    """Return the secret called ``name``; empty if there is none.

    Parameters
    ----------
    name : str
        Of the variable, without ``_FILE``.
    environment : mapping

    Raises
    ------
    CommandError
        O010 for a file that cannot be used, O011 if variable and file are both given.

    Examples
    --------
    >>> secret("ASTRA_REDIS_PASSWORD", {"ASTRA_REDIS_PASSWORD": "xyzzy"})
    'xyzzy'
    """
    value, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if value and file:
        raise CommandError("O011", f"{name} and {name}_FILE are both set", name, "Unset one of them.")
    return _read_private(Path(file), f"{name}_FILE") if file else value


def _read_private(path: Path, name: str) -> str:
    """Read a file that nobody but its owner may read; a newline at its end does not count."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_BYTES_MAX + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise CommandError("O010", f"cannot read the secret file {path}: {error.strerror}", name) from None
    if mode & _OTHERS:
        what = f"the secret file {path} must be readable by its owner alone, was of mode {mode & 0o777:04o}"
        raise CommandError("O010", what, name, f"Others could use what it holds: chmod 600 {path}")
    try:
        text = data.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > _BYTES_MAX:
        what = f"the secret file {path} holds no secret"
        raise CommandError("O010", what, name, f"It holds the secret as text, {_BYTES_MAX} bytes at most.")
    return text
