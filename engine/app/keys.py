"""The secrets that sign and verify operator commands: from the environment, or from files of its owner alone.

``ASTRA_OPERATOR_KEY`` signs every command, ``ASTRA_HALT_KEY`` nothing but halts. With ``_FILE`` at its end a
variable names a file that holds the key, which nobody but its owner may read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.commands import Keys
from engine.errors import CommandError

OPERATOR_KEY: Final = "ASTRA_OPERATOR_KEY"
HALT_KEY: Final = "ASTRA_HALT_KEY"
#: Shorter keys can be guessed from one signed command: an attacker tries them offline.
KEY_BYTES_MIN: Final = 16
_KEY_BYTES_MAX: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def keys_of(environment: Mapping[str, str] = os.environ) -> Keys:
    """Read both keys; one that is not there is empty, and an empty key accepts nothing.

    Raises
    ------
    CommandError
        O010 for a key file that cannot be used, O011 for a key that is too short or given twice.
    """
    operator, halt = (_key(name, environment) for name in (OPERATOR_KEY, HALT_KEY))
    if operator and operator == halt:
        raise CommandError(
            "O011",
            "the operator key and the halt key are the same",
            f"{OPERATOR_KEY}, {HALT_KEY}",
            "Whoever may halt could then resume and move limits. Make two keys: openssl rand -hex 32",
        )
    return Keys(operator, halt)


def keys_from_environment() -> Keys:
    """Read the secrets that verify operator commands.

    Raises
    ------
    CommandError
        O002 if there is none: every command would be refused; O010 and O011 as ``keys_of``.
    """
    keys = keys_of()
    if not keys.operator and not keys.halt:
        hint = "Set the keys the commands were signed with; they are never read from a file of the run."
        raise CommandError("O002", "no key to verify commands with", f"{OPERATOR_KEY}, {HALT_KEY}", hint)
    return keys


def signing_key(kind: str) -> bytes:
    """Return the key that signs a kind of command: the smaller one that will do.

    Raises
    ------
    CommandError
        O001 if there is none; O010 and O011 as ``keys_of``.
    """
    keys = keys_of()
    key = (keys.halt or keys.operator) if kind == "halt" else keys.operator
    if key:
        return key
    names = (HALT_KEY, OPERATOR_KEY) if kind == "halt" else (OPERATOR_KEY,)
    raise CommandError(
        "O001",
        f"no key to sign a {kind} with",
        " or ".join(f"${name}" for name in names),
        f"Keys stand in no configuration and in no shell history. Set one, or name a file of mode 0600:\n"
        f"read -rs {names[-1]} && export {names[-1]}    or    export {names[-1]}_FILE=FILE",
    )


def _key(name: str, environment: Mapping[str, str]) -> bytes:
    value, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if value and file:
        raise CommandError("O011", f"{name} and {name}_FILE are both set", name, "Unset one of them.")
    key = _read_private(Path(file), f"{name}_FILE") if file else value.encode()
    if key and len(key) < KEY_BYTES_MIN:
        what = f"{name} must have at least {KEY_BYTES_MIN} bytes, was {len(key)}"
        raise CommandError("O011", what, name, "A short key can be guessed. Make one: openssl rand -hex 32")
    return key


def _read_private(path: Path, name: str) -> bytes:
    """Read a key file, which nobody but its owner may read; a newline at its end does not count."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(_KEY_BYTES_MAX + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise CommandError("O010", f"cannot read the key file {path}: {error.strerror}", name) from None
    if mode & _OTHERS:
        what = f"the key file {path} must be readable by its owner alone, was of mode {mode & 0o777:04o}"
        raise CommandError("O010", what, name, f"Others could sign commands: chmod 600 {path}")
    key = key.rstrip(b"\r\n")
    if not key or len(key) > _KEY_BYTES_MAX:
        raise CommandError("O010", f"the key file {path} holds no key", name, "It is one line, the key.")
    return key
