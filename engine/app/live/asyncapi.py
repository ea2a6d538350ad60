"""What the engine publishes: ``python -m engine.app.live.asyncapi > docs/asyncapi.json``.

It is made from the types that write the messages, and the tests refuse a committed document that differs.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, Final

import msgspec

from engine.sinks.messages import KINDS, URGENT, message_type

_KIND_TEXTS: Final = {
    "alerts": "What a person should know.",
    "state": "Trading state: ACTIVE, REDUCING or HALTED. The last one is retained on MQTT.",
    "verdicts": "Operator commands and changed limits.",
    "signals": "Spreads that changed their side.",
    "targets": "Targets the risk gate approved or refused.",
    "fills": "Simulated fills, at the opening instant of a bar.",
    "risk": "Value-at-Risk and expected shortfall of the book; losses are positive.",
    "book": "Value and exposure of the book.",
}
_PARAMETERS: Final = {
    "instance": "Name of the engine: [operator] instance.",
    "epoch": "Name of its journal; ids begin anew in each.",
    "topic": "What every MQTT topic begins with: [mqtt] topic.",
}
_ADDRESSES: Final = {
    "stream": ("redis", "astra:{instance}:{epoch}:", "Redis stream; field `message`, entry id = message id."),
    "channel": ("redis", "astra:{instance}:", "Redis channel, for who is listening now."),
    "topic": ("mqtt", "{topic}/{instance}/", "MQTT topic, QoS 1: at least once."),
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each type of message, by its name."""
    made = {event.__name__: message_type(event) for event in KINDS}
    _, components = msgspec.json.schema_components(made.values(), ref_template="#/components/schemas/{name}")
    for event in KINDS:
        said = inspect.cleandoc(event.__doc__ or "").partition("\n\n")[0]
        components[event.__name__]["description"] = said.replace("``", "`").replace("NaN", "null")
    return components


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document."""
    kinds = list(_KIND_TEXTS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Astra",
            "version": "1",
            "description": (
                "Messages of the engine. Effects of one kind arrive in the order of their ids; a message may "
                "arrive more than once, with the same id. Urgent kinds (" + ", ".join(sorted(URGENT)) + ") "
                "are never dropped."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "redis": {"host": "localhost:6379", "protocol": "redis"},
            "mqtt": {"host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5"},
        },
        "channels": {f"{kind}-{way}": _channel(kind, way) for kind in kinds for way in _ADDRESSES},
        "operations": {
            f"send-{kind}-{way}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{kind}-{way}"},
                "messages": [
                    {"$ref": f"#/channels/{kind}-{way}/messages/{name}"} for name in _types_of(kind)
                ],
            }
            for kind in kinds
            for way in _ADDRESSES
        },
        "components": {
            "messages": {
                event.__name__: {
                    "name": event.__name__,
                    "contentType": "application/json",
                    "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
                }
                for event in KINDS
            },
            "schemas": schemas(),
        },
    }


def _types_of(kind: str) -> list[str]:
    return [event.__name__ for event, of in KINDS.items() if of == kind]


def _channel(kind: str, way: str) -> dict[str, Any]:
    server, place, text = _ADDRESSES[way]
    return {
        "address": f"{place}{kind}",
        "title": f"{kind} ({way})",
        "description": f"{_KIND_TEXTS[kind]} {text}",
        "servers": [{"$ref": f"#/servers/{server}"}],
        "parameters": {
            name: {"description": said} for name, said in _PARAMETERS.items() if f"{{{name}}}" in place
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _types_of(kind)},
    }


def text() -> str:
    """Return the document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
