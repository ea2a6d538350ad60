"""The table [risk]: the keys of all models, and beside them the options of the one that ``model`` names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, create_model

from engine.app.config.plugins import registry
from engine.app.config.tables import DAEMON, PLAIN, RiskTable, Table
from engine.errors import ConfigError
from engine.oversight import RiskModel
from engine.ports import Plugin
from risk import REGISTRY
from risk.var import VarOptions

#: Keys of [risk] that mean the same whatever the model.
_OF_ALL = set(RiskTable.model_fields) - set(VarOptions.model_fields)


def risk_models() -> dict[str, Plugin[RiskModel]]:
    """Return every risk model by name: Astra's own in their order, then those of other packages.

    Raises
    ------
    ConfigError
        C009 as ``engine.app.config.plugins.registry``, and for a model whose options do not extend
        ``risk.var.VarOptions``, or use what is a key of [risk] already.
    """
    models = {**REGISTRY, **registry("risk_models")}  # the first of both decides the order
    for name, plugin in models.items():
        _check(name, plugin.options)
    return models


def _check(name: str, options: type[BaseModel]) -> None:
    """Refuse options that could not stand in [risk]."""
    where = f"{options.__module__}.{options.__qualname__}"
    if not issubclass(options, VarOptions):
        hint = "Derive them from risk.var.VarOptions: every model has a confidence and a horizon."
        raise ConfigError("C009", f'the options of the risk model "{name}" lack those of all', where, hint)
    taken = ", ".join(sorted(_OF_ALL & set(options.model_fields)))
    if taken:
        what = f'the options of the risk model "{name}" use what is a key of [risk] already: {taken}'
        raise ConfigError("C009", what, where, "Give them another name: both stand in one table.")


def risk_tables() -> dict[str, type[RiskTable]]:
    """Return what [risk] is checked against, by model: the keys of all, and the options of that one."""
    models = risk_models()
    return {name: _table(name, plugin.options, tuple(models)) for name, plugin in models.items()}


@cache
def _table(name: str, options: type[BaseModel], names: tuple[str, ...]) -> type[RiskTable]:
    model = RiskTable.model_fields["model"]
    choice: Any = (
        Literal.__getitem__(names),
        Field(default=model.default, description=model.description),
    )
    bases = cast("Any", (RiskTable, options))
    made: type[RiskTable] = create_model(
        f"RiskTable_{name}", __base__=bases, __doc__=RiskTable.__doc__, model=choice
    )
    return made


def table_of(name: str, document: Any) -> type[Table]:
    """Return what a table of this name is checked against; of [risk] its ``model`` decides."""
    if name != "risk":
        return PLAIN[name] if name in PLAIN else DAEMON[name]
    tables = risk_tables()
    model = document.get("model") if isinstance(document, Mapping) else None
    return tables.get(model if isinstance(model, str) else "", tables["gaussian"])


def owners_in_risk() -> dict[str, str]:
    """Say of each key of [risk] where it belongs: those of some models only, with these models."""
    tables = risk_tables()
    owners: dict[str, str] = {}
    for key in dict.fromkeys(key for table in tables.values() for key in table.model_fields):
        models = [f'"{name}"' for name, table in tables.items() if key in table.model_fields]
        owners[key] = "[risk]" if len(models) == len(tables) else f"[risk] with model = {' or '.join(models)}"
    return owners
