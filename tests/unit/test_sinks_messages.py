"""The wire form: what others parse, and the schemas they parse it with."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.app.live.asyncapi import document, schemas, text
from engine.events import (
    Alert,
    BookMarked,
    CommandJudged,
    Event,
    Filled,
    LimitChanged,
    RiskMeasured,
    Side,
    Signal,
    TargetApproved,
    TargetRefused,
    TradingState,
    TradingStateChanged,
)
from engine.ports import Effect
from engine.sinks.messages import KINDS, id_of, id_text, message_type
from tests.support.effects import NOON_NS, wire
from tests.support.source import ROOT

NAN = math.nan
EVENTS: tuple[Event, ...] = (
    Alert(NOON_NS, "critical", "halted", "VAR_LIMIT; resume with h-7"),
    TradingStateChanged(NOON_NS, TradingState.HALTED, TradingState.ACTIVE, "VAR_LIMIT", "h-7"),
    CommandJudged(NOON_NS, "resume", "eve", "refused", "EXPIRED"),
    LimitChanged(NOON_NS, "var_limit_usd", 120_000.0, 150_000.0, NOON_NS + 1, "eve"),
    LimitChanged(NOON_NS, "var_limit_usd", 120_000.0, 150_000.0, 0, "eve"),
    Signal(NOON_NS, "pairs", "JPM/C", Side.SHORT, 2.5, 1.1, -0.002),
    TargetApproved(NOON_NS, (10.0, -8.0), (0.5, 0.0), 0.8, 90_000.0),
    TargetRefused(NOON_NS, "halted"),
    Filled(NOON_NS, "JPM", -10.0, 300.5, 1.25),
    RiskMeasured(NOON_NS, NAN, NAN, NAN, math.inf, NAN, "VAR_STALE"),
    BookMarked(NOON_NS, 1e6, 9e5, 2e5, -1e4, 12.5, 80.0),
)
_TYPES: dict[str, Any] = {
    "string": str,
    "number": int | float,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, schema: dict[str, Any], known: dict[str, Any], at: str = "$") -> list[str]:
    """List where a value departs from a JSON schema; an unknown keyword of the schema is a fault too."""
    if "$ref" in schema:
        return faults(value, known[schema["$ref"].rpartition("/")[2]], known, at)
    if "anyOf" in schema:
        return min((faults(value, option, known, at) for option in schema["anyOf"]), key=len)
    found: list[str] = []
    for keyword, said in schema.items():
        match keyword:
            case "title" | "description" | "required":
                pass
            case "enum":
                found += [f"{at} is {value!r}"] * (value not in said)
            case "pattern":
                found += [f"{at} is {value!r}"] * (re.search(said, str(value)) is None)
            case "format":
                found += [f"{at} is {value!r}"] * (
                    re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(value)) is None
                )
            case "type" if said == "object":
                inner = schema.get("properties", {})
                more = schema.get("additionalProperties")
                found += [
                    f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value
                ]
                for name, item in value.items():
                    of = inner.get(name, more)
                    found += faults(item, of, known, f"{at}.{name}") if of else [f"{at}.{name} is not known"]
            case "type":
                found += [f"{at} is {value!r}"] * (not isinstance(value, _TYPES[said]))
            case "properties" | "additionalProperties":
                pass
            case _:
                found.append(f"{at}: nobody checks {keyword!r}")
    return found


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_messages_are_as_the_published_schema_says(event: Event) -> None:
    """Whoever subscribes writes a parser from the document alone; nothing may be missing, or extra."""
    message = json.loads(wire().encode(Effect(812, 3, event)))
    published = json.loads((ROOT / "docs/asyncapi.json").read_text(encoding="utf-8"))["components"]["schemas"]
    assert faults(message, published[type(event).__name__], published) == []
    assert (message["id"], message["instance"], message["ts"]) == ("812-3", "desk", "2026-01-05T12:00:00Z")
    msgspec.json.decode(wire().encode(Effect(812, 3, event)), type=message_type(type(event)))


def test_the_checker_of_schemas_finds_faults() -> None:
    """A checker that accepts everything would make the test above worthless."""
    known = schemas()
    message = json.loads(wire().encode(Effect(1, 0, EVENTS[0])))
    assert faults(message | {"text": 5}, known["Alert"], known) == ["$.text is 5"]
    assert faults(message | {"id": "1"}, known["Alert"], known) == ["$.id is '1'"]
    assert faults(message | {"more": 1}, known["Alert"], known) == ["$.more is not known"]
    assert faults({k: v for k, v in message.items() if k != "ts"}, known["Alert"], known) == [
        "$.ts is missing"
    ]
    assert faults(message | {"type": "Signal"}, known["Alert"], known) == ["$.type is 'Signal'"]


def test_committed_document_is_up_to_date() -> None:
    """A document that says something else than the code is worse than none."""
    committed = (ROOT / "docs/asyncapi.json").read_text(encoding="utf-8")
    assert committed == text(), "run: python -m engine.app.live.asyncapi > docs/asyncapi.json"


def test_every_reference_of_the_document_leads_somewhere() -> None:
    """Generators of client code stop at the first dangling reference."""
    whole = document()

    def leads(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for item in node.values() for found in leads(item)]
        return [found for item in node for found in leads(item)] if isinstance(node, list) else []

    for reference in leads(whole):
        place = whole
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    assert {
        channel["address"].rpartition(":")[2].rpartition("/")[2] for channel in whole["channels"].values()
    } == set(KINDS.values())


def test_what_is_not_a_number_is_null() -> None:
    """NaN is no JSON: one unknown VaR would break every strict parser just when it matters."""
    message = json.loads(
        wire().encode(Effect(1, 0, EVENTS[9])), parse_constant=lambda name: pytest.fail(f"{name} was sent")
    )
    assert message["var_usd"] is None
    assert message["var_upper_usd"] is None
    assert message["reason"] == "VAR_STALE"


def test_targets_name_their_symbols() -> None:
    """Who is told weights without names has to guess the order of the universe."""
    message = json.loads(wire().encode(Effect(1, 0, EVENTS[6])))
    assert message["weight_frac"] == {"JPM": 0.5}
    assert "leg_quantity" not in message


def test_a_limit_without_end_has_no_expiry() -> None:
    """1970 as an expiry would look like a limit that has long lapsed."""
    dated, endless = (json.loads(wire().encode(Effect(1, 0, event))) for event in EVENTS[3:5])
    assert (dated["expires"], endless["expires"]) == ("2026-01-05T12:00:00Z", None)


@given(seq=st.integers(1, 2**53), index=st.integers(0, 2**31))
def test_ids_survive_their_text(seq: int, index: int) -> None:
    """Cursors are compared as numbers after a restart: 10-0 comes after 9-0."""
    assert id_of(id_text((seq, index))) == (seq, index)
