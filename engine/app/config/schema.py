"""The configuration as a JSON schema: editors complete and check ``astra.toml`` with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.app.config.load import KINDED, Config
from engine.app.config.plugins import registry
from engine.app.config.risk import risk_tables
from engine.app.config.tables import DAEMON, PLAIN, InstrumentTable

_KIND_FREE: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"const": "none"}},
    "required": ["kind"],
    "additionalProperties": False,
}


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file, with the options of every registered kind.

    Returns
    -------
    dict
        JSON schema, draft 2020-12; a table with a ``kind`` is one of the schemas of its kinds.
    """
    of_risk = risk_tables()
    plain = {**PLAIN, **DAEMON, "risk": of_risk["gaussian"]}
    options = {
        (name, kind): plugin.options
        for name, (group, _, _) in KINDED.items()
        for kind, plugin in registry(group).items()
    }
    models: dict[type[BaseModel], None] = dict.fromkeys(
        [*plain.values(), *of_risk.values(), InstrumentTable, *options.values()]
    )
    refs, shared = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Any] = shared["$defs"]
    properties: dict[str, Any] = {name: refs[model, "validation"] for name, model in plain.items()}
    properties["instruments"] = {
        "type": "object",
        "additionalProperties": refs[InstrumentTable, "validation"],
        "description": InstrumentTable.__doc__,
    }
    properties["risk"] = {
        "oneOf": [
            _with_model(definitions[refs[table, "validation"]["$ref"].rpartition("/")[2]], model)
            for model, table in of_risk.items()
        ],
        "description": PLAIN["risk"].__doc__,
    }
    for name, (_, own, default) in KINDED.items():
        branches = []
        for (table, kind), model in options.items():
            if table == name:
                reference = refs[model, "validation"]["$ref"].rpartition("/")[2]
                branches.append(_with_kind(definitions[reference], kind, own, is_default=kind == default))
        branches += [_KIND_FREE] if name == "allocator" else []
        one: dict[str, Any] = {
            "oneOf": branches,
            "description": (Config.model_fields[name].annotation or Config).__doc__,
        }
        properties[name] = {"type": "array", "items": one, "minItems": 1} if name == "strategy" else one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "astra.toml",
        "type": "object",
        "properties": {name: properties[name] for name in Config.model_fields},
        "required": ["strategy"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _with_model(schema: dict[str, Any], model: str) -> dict[str, Any]:
    """Fix the model of one schema of [risk]; the default may be left out."""
    described = schema["properties"]["model"]
    return {
        **schema,
        "title": model,
        "properties": {**schema["properties"], "model": {**_without_choices(described), "const": model}},
        "required": [] if model == described["default"] else ["model"],
    }


def _without_choices(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in {"enum", "type", "default"}}


def _with_kind(
    schema: dict[str, Any], kind: str, own: tuple[str, ...], *, is_default: bool
) -> dict[str, Any]:
    """Put the table's own keys beside the options of one kind."""
    keys: dict[str, Any] = {"kind": {"const": kind}}
    if "name" in own:
        keys["name"] = {"type": "string", "minLength": 1, "description": "Unique name; default the kind."}
    required = [*([] if is_default else ["kind"]), *schema.get("required", [])]
    return {
        **schema,
        "title": kind,
        "properties": {**keys, **schema.get("properties", {})},
        "required": required,
    }
