"""Changes that keep the form: what is nearly right goes further into a decoder than noise does."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec

#: What decoders stumble over, in place of any value.
_ODD: tuple[Any, ...] = (
    *(None, True, "", 0, -1, 1.5, 1e308, -0.0, 5e-324, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40),
    *("\u2028", "\x85", "\x1b[2J", "\ud800", "\U0001f4a9", "é" * 40, "x" * 70, "x" * 501, "1e999", "NaN"),
    *("2026-01-05T14:31:00Z", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999999+23:59", "1" * 20),
    *([], {}, [[]], [{}], {"": 0}, b"\xff\x00"),
)


def shaped(data: bytes, seed: int) -> bytes | None:
    """Change one value of a JSON or MessagePack document; None if it is no document.

    Parameters
    ----------
    data : bytes
    seed : int
        Of the choice.

    Returns
    -------
    bytes or None
    """
    chance = random.Random(seed)  # noqa: S311 - a search, no secret
    is_json = data.lstrip()[:1] in {b"{", b"["}
    try:
        document: Any = json.loads(data) if is_json else msgspec.msgpack.decode(data)
        changed = _changed(document, chance)
        return json.dumps(changed).encode() if is_json else msgspec.msgpack.encode(changed)
    except (ValueError, TypeError, RecursionError, OverflowError, msgspec.MsgspecError):
        return None


def _changed(value: Any, chance: random.Random) -> Any:
    """Descend to some value, and replace, repeat, rename or remove it."""
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else [*range(len(value))] if isinstance(value, list) else []
    )
    if not keys or chance.random() < 0.1:
        return chance.choice(_ODD)
    key, deed = chance.choice(keys), chance.random()
    if deed < 0.7:
        value[key] = _text(value[key], chance) or _changed(value[key], chance)
    elif deed < 0.8:
        del value[key]
    elif isinstance(value, list):
        value.insert(key, value[chance.choice(keys)])
    else:
        value[chance.choice(("", "x", *keys))] = value.pop(key)
    return value


def _text(value: Any, chance: random.Random) -> str | None:
    """Change a document that stands as a text in another, as the body of a command does."""
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    inner = shaped(value.encode(errors="replace"), chance.getrandbits(32))
    return inner.decode() if inner is not None else None
