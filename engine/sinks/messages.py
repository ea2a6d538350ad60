"""The wire form of effects: flat JSON messages, by kind.

A message names itself (``id``, ``instance``, ``epoch``), says what it is (``type``) and when (``ts``), and
has the fields of its event under the same names, units included. What is not a number is null. The schemas
of docs/asyncapi.json are made from ``message_type``, so that they cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, get_type_hints

import msgspec

from engine.clock import instant
from engine.events import (
    Alert,
    BookMarked,
    CommandJudged,
    Filled,
    LimitChanged,
    RiskMeasured,
    Signal,
    TargetApproved,
    TargetRefused,
    TradingStateChanged,
)
from engine.ports import Effect

#: ``(seq, index)``: the record an effect came from, and its place among the events of that record.
EffectId: TypeAlias = tuple[int, int]

#: Which events are sent, and as what kind; the others stay inside.
KINDS: Final[dict[type, str]] = {
    Alert: "alerts",
    TradingStateChanged: "state",
    CommandJudged: "verdicts",
    LimitChanged: "verdicts",
    Signal: "signals",
    TargetApproved: "targets",
    TargetRefused: "targets",
    Filled: "fills",
    RiskMeasured: "risk",
    BookMarked: "book",
}
#: Kinds that go first and are never dropped.
URGENT: Final = frozenset({"alerts", "state", "verdicts"})

_encode = msgspec.json.Encoder().encode

Instant = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
MessageId = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]+-[0-9]+$", description="seq-index, unique in an epoch")
]


def effect_id(effect: Effect) -> EffectId:
    """Return the id of an effect, as something that can be compared."""
    return effect.seq, effect.index


def id_text(id_: EffectId) -> str:
    """Write an id as Redis does.

    Examples
    --------
    >>> id_text((812, 0))
    '812-0'
    """
    return f"{id_[0]}-{id_[1]}"


def id_of(text: str) -> EffectId:
    """Read what ``id_text`` wrote.

    Examples
    --------
    >>> id_of("812-0")
    (812, 0)
    """
    seq, _, index = text.partition("-")
    return int(seq), int(index)


class Mark(msgspec.Struct, frozen=True):
    """Which message was the last: its id, and the epoch in which that counts."""

    epoch: str
    id: str


class Wire:
    """Writes the messages of one engine.

    Parameters
    ----------
    instance : str
        Name of the engine.
    epoch : str
        Name of its journal: ids are unique in it.
    symbols : sequence of str
        The universe, in the order of the weights of a target.
    """

    def __init__(self, instance: str, epoch: str, symbols: Sequence[str]) -> None:
        self.instance = instance
        self.epoch = epoch
        self._symbols = tuple(symbols)

    def encode(self, effect: Effect) -> bytes:
        """Write an effect whose event is among ``KINDS`` as one line of JSON."""
        event = effect.event
        fields = msgspec.structs.asdict(event)
        message: dict[str, Any] = {
            "id": f"{effect.seq}-{effect.index}",
            "instance": self.instance,
            "epoch": self.epoch,
            "type": type(event).__name__,
            "ts": instant(fields.pop("ts_ns")),
        }
        if "weight_frac" in fields:
            weights = zip(self._symbols, fields["weight_frac"], strict=False)
            fields["weight_frac"] = {symbol: weight for symbol, weight in weights if weight != 0.0}
            # Legs are places in the engine's own layout; what was bought of a symbol is in the fills.
            fields.pop("leg_quantity", None)
        elif "expires_ns" in fields:
            expires_ns = fields.pop("expires_ns")
            fields["expires"] = instant(expires_ns) if expires_ns else None
        return _encode(message | fields)


def message_type(event: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the type of the messages that ``Wire.encode`` makes of an event: decode with it.

    Examples
    --------
    >>> [field.name for field in msgspec.structs.fields(message_type(Alert))]
    ['id', 'instance', 'epoch', 'type', 'ts', 'severity', 'kind', 'text']
    """
    fields: list[tuple[str, Any]] = [
        ("id", MessageId),
        ("instance", str),
        ("epoch", str),
        ("type", Literal[event.__name__]),
        ("ts", Instant),
    ]
    hints = get_type_hints(event)
    for name in event.__struct_fields__:
        match name:
            case "ts_ns" | "leg_quantity":
                pass
            case "weight_frac":
                fields.append((name, dict[str, float | None]))
            case "expires_ns":
                fields.append(("expires", Instant | None))
            case _:
                fields.append((name, float | None if hints[name] is float else hints[name]))
    made = msgspec.defstruct(event.__name__, fields, frozen=True)
    made.__doc__ = event.__doc__
    return made
