"""What is wrong with a document, said by field: shared by all problem files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.errors import AstraError, ConfigError, Errors

D = TypeVar("D", bound=BaseModel)


def read_document(model: type[D], document: Mapping[str, Any]) -> D:
    """Check a document against its keys.

    Raises
    ------
    ConfigError or Errors
        C020 for every field that is missing, unknown or malformed.
    """
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        raise all_of([_fault(detail, model) for detail in error.errors()]) from None


def bad_field(field: str, what: str, code: str = "C020") -> ConfigError:
    """Return the fault of a field, to be raised or gathered."""
    return ConfigError(code, f"{field} {what}", field)


def all_of(faults: list[AstraError]) -> AstraError:
    """Return one error for all faults found."""
    return faults[0] if len(faults) == 1 else Errors(faults)


def _fault(detail: Any, model: type[BaseModel]) -> ConfigError:
    """Turn pydantic's finding into an error that names the field."""
    where = ".".join(str(part) for part in detail["loc"])
    kind = detail["type"]
    if kind == "extra_forbidden":
        hint = f"Known keys: {', '.join(model.model_fields)}." if len(detail["loc"]) == 1 else ""
        return ConfigError("C020", f"{where} is not a key of a problem file", where, hint)
    if kind == "missing":
        return ConfigError("C020", f"{where} is missing", where)
    if kind == "too_short":
        return ConfigError("C020", f"{where} must have at least one, was {detail['input']!r:.60}", where)
    return ConfigError("C020", f"{where}: {detail['msg']}, was {detail['input']!r:.60}", where)
