"""What pydantic found in a table, said in plain English."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from engine.app.config.errors import Fault, dotted, nearest, table_name, unknown_key
from engine.app.config.toml_text import Path_, write_value

_WRITE_AS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "a text in quotes",
    "list": "a list [...]",
    "tuple": "a list [...]",
    "dict": "a table {...}",
    "model": "a table {...}",
    "path": "a path in quotes",
    "decimal": "a number",
}
_BOUNDS = {
    "greater_than": ("be greater than", "gt"),
    "greater_than_equal": ("be at least", "ge"),
    "less_than": ("be less than", "lt"),
    "less_than_equal": ("be at most", "le"),
}

#: Patterns of keys, in words.
_FORMS = {"^[A-Z]{3}$": 'three capital letters, like "EUR"'}


def faults_of(
    errors: Sequence[ErrorDetails],
    model: type[BaseModel],
    table: Mapping[str, Any],
    base: Path_,
    elsewhere: Mapping[str, str],
) -> list[Fault]:
    """Translate what pydantic found in one table.

    Parameters
    ----------
    errors : sequence of ErrorDetails
    model : type
        The model of the table: its keys are the suggestions, its descriptions say why it matters.
    table : mapping
        What was validated.
    base : tuple
        Path of the table.
    elsewhere : mapping
        Where keys of other tables belong, by key.
    """
    by_path: dict[Path_, list[Fault]] = {}
    for error in errors:
        path = _path_in(table, error)
        fields = _fields_at(model, path[:-1])
        fault = _translate(error, base + path, [*fields], elsewhere)
        meaning = fields[str(path[-1])].description if path and str(path[-1]) in fields else None
        if meaning and not fault.why:
            fault = msgspec.structs.replace(fault, why=meaning)
        by_path.setdefault(fault.path, []).append(fault)
    inner = [path for path in by_path if not any(_is_within(other, path) for other in by_path)]
    return [_merge(by_path[path]) for path in inner]


def _is_within(path: Path_, outer: Path_) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _merge(faults: list[Fault]) -> Fault:
    """Join the alternatives of one value: "must be A, or B, was x"."""
    first = faults[0]
    if len(faults) == 1:
        return first
    wants = [fault.what.partition(" must be ")[2].partition(", was ")[0] for fault in faults]
    if not all(wants):
        return first
    head, _, was = first.what.partition(", was ")
    subject, alternatives = head.partition(" must be ")[0], " or ".join(dict.fromkeys(wants))
    return msgspec.structs.replace(first, what=f"{subject} must be {alternatives}, was {was}")


def _path_in(table: Any, error: ErrorDetails) -> Path_:
    """Follow a pydantic location into the table; parts that only name a branch of a union are left out."""
    path: Path_ = ()
    node = table
    for part in error["loc"]:
        if (isinstance(node, Mapping) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            node = node[part]  # type: ignore[index]
            path += (part,)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


def _fields_at(model: type[BaseModel], path: Path_) -> dict[str, FieldInfo]:
    models = [model]
    for part in path:
        fields = {name: field for one in models for name, field in one.model_fields.items()}
        if part in fields:
            models = _models_in(fields[str(part)].annotation)
    return {name: field for one in models for name, field in one.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _translate(error: ErrorDetails, path: Path_, known: Sequence[str], elsewhere: Mapping[str, str]) -> Fault:
    kind = error["type"]
    context = error.get("ctx", {})
    name, was = dotted(path), _was(error["input"])
    if kind == "extra_forbidden":
        return unknown_key(path, known, elsewhere)
    if kind == "missing":
        return Fault("C014", path, f'missing key "{path[-1]}" in {table_name(path[:-1])}')
    if ruled := _rule(kind, context):
        code, rule = ruled
        return Fault(code, path, f"{name} must {rule}, was {was}")
    if kind in {"literal_error", "enum"}:
        choices = str(context["expected"]).replace("'", '"')
        near = nearest(str(error["input"]), re.findall(r'"([^"]*)"', choices))
        note = f'did you mean "{near}"?' if near else ""
        return Fault("C005", path, f"{name} must be {choices}, was {was}", note)
    if kind in {"value_error", "assertion_error"}:
        return _unmet_rule(str(context.get("error") or error["msg"]), path, known)
    wanted = _WRITE_AS.get(re.split(r"_(?:type|parsing|from)", kind)[0])
    if wanted:
        return Fault(
            "C003", path, f"{name} must be {wanted}, was {was}", _quoted_number(error["input"], wanted)
        )
    message = error["msg"][:1].lower() + error["msg"][1:]
    return Fault("C005", path, f"{name}: {message}, was {was}")


def _rule(kind: str, context: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say what a value must do to pass a bound, a length or a pattern, after the code of the fault."""
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return "C004", f"{words} {context[key]:g}"
    if kind == "finite_number":
        return "C004", "be a finite number"
    if kind == "string_pattern_mismatch":
        form = context["pattern"]
        return "C005", f"be {_FORMS.get(form, f'of the form {form}')}"
    if kind.endswith(("too_short", "too_long")):
        key, bound = ("min_length", "at least") if kind.endswith("short") else ("max_length", "at most")
        noun = "character" if kind.startswith("string") else "item"
        n = int(context[key])
        return "C005", f"have {bound} {n:,} {noun}{'' if n == 1 else 's'}"
    return None


def _unmet_rule(reason: str, path: Path_, known: Sequence[str]) -> Fault:
    """Place a rule of a plug-in: one that begins with the name of a key is about that key."""
    subject = reason.partition(" ")[0]
    if subject in known:
        return Fault("C005", (*path, subject), f"{dotted(path)}.{reason}")
    return Fault("C005", path, f"{dotted(path)}: {reason}")


def _quoted_number(value: Any, wanted: str) -> str:
    is_number = isinstance(value, str) and re.fullmatch(r"[+-]?[\d_]+(\.\d+)?", value.strip())
    return "write it without quotes" if is_number and wanted.endswith("number") else ""


def _was(value: Any) -> str:
    text = "nothing" if value is None else write_value(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
