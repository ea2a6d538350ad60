"""The secrets that sign and verify operator commands.

``ASTRA_OPERATOR_KEY`` signs every command, ``ASTRA_HALT_KEY`` nothing but halts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from engine.commands import Keys
from engine.errors import CommandError
from engine.secret import secret

OPERATOR_KEY: Final = "ASTRA_OPERATOR_KEY"
HALT_KEY: Final = "ASTRA_HALT_KEY"
#: Shorter keys can be guessed from one signed command: an attacker tries them offline.
KEY_BYTES_MIN: Final = 16


def keys_of(environment: Mapping[str, str] = os.environ) -> Keys:
    """Read both keys; one that is not there is empty, and an empty key accepts nothing.

    Raises
    ------
    CommandError
        O010 for a secret file that cannot be used, O011 for a key that is too short or given twice.
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
    key = secret(name, environment).encode()
    if key and len(key) < KEY_BYTES_MIN:
        what = f"{name} must have at least {KEY_BYTES_MIN} bytes, was {len(key)}"
        raise CommandError("O011", what, name, "A short key can be guessed. Make one: openssl rand -hex 32")
    return key
