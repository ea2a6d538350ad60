"""The configuration: every table, key, default and bound, and how a file becomes a checked ``Config``.

Tables that name a ``kind`` (``[feed]``, ``[[strategy]]``, ``[allocator]``) hold the options of that plug-in
beside it. Values are strict: ``"150000"`` is no number and ``true`` is no 1. Keys of secrets do not exist:
secrets come from the environment.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PrivateAttr, ValidationError

from engine.app.config import arguments as config_arguments
from engine.app.config import errors as config_errors
from engine.app.config import presets
from engine.app.config.errors import Fault, Source
from engine.app.config.faults import faults_of
from engine.app.config.plugins import registry
from engine.app.config.repo import repo_faults
from engine.app.config.risk import owners_in_risk, table_of
from engine.app.config.tables import (
    DAEMON,
    PLAIN,
    AlertsTable,
    AllocatorTable,
    BookTable,
    ConsoleTable,
    CostsTable,
    DaemonTable,
    FeedTable,
    FundingTable,
    InstrumentTable,
    MqttTable,
    OperatorTable,
    OutputTable,
    RedisTable,
    RiskTable,
    StrategyTable,
    Table,
    UniverseTable,
)
from engine.app.config.toml_text import Path_
from engine.errors import ConfigError
from engine.layout import ACCOUNT_CURRENCY

_CAPITAL_FRAC_MAX = 20.0
#: Keys that hold paths: a relative one starts from the folder of the configuration file.
PATH_KEYS = ("path", "dir", "history", "deals", "repo", "state_dir", "ca_file", "cert_file", "key_file")


class Config(Table):
    """A whole, checked configuration."""

    feed: FeedTable
    universe: UniverseTable
    book: BookTable
    costs: CostsTable
    funding: FundingTable
    strategy: tuple[StrategyTable, ...]
    allocator: AllocatorTable
    risk: RiskTable
    output: OutputTable
    operator: OperatorTable
    instruments: dict[str, InstrumentTable]
    daemon: DaemonTable
    redis: RedisTable | None = None
    mqtt: MqttTable | None = None
    alerts: AlertsTable | None = None
    console: ConsoleTable | None = None
    _source: Source = PrivateAttr()

    @property
    def source(self) -> Source:
        """The text it was read from: gives any later fault its line."""
        return self._source

    @property
    def symbol_paths(self) -> dict[str, Path_]:
        """Path of the first value that names each symbol, in order of appearance."""
        found: dict[str, Path_] = {
            symbol: ("universe", "symbols", i) for i, symbol in enumerate(self.universe.symbols)
        }
        for k, strategy in enumerate(self.strategy):
            for path, symbol in _symbols_in(strategy.options):
                found.setdefault(symbol, ("strategy", k, *path))
        for symbol in self.book.positions:
            found.setdefault(symbol, ("book", "positions", symbol))
        return found

    @property
    def symbols(self) -> tuple[str, ...]:
        """The universe, in the order of every slice."""
        return tuple(self.symbol_paths)


#: Tables with a ``kind``: group of plug-ins, own keys, default kind.
KINDED: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "feed": ("feeds", ("kind",), "files"),
    "strategy": ("strategies", ("kind", "name", "capital_frac"), None),
    "allocator": ("allocators", ("kind",), "mean_variance"),
}


def load(
    path: Path,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    typed_as: Mapping[str, str] | None = None,
) -> Config:
    """Read and check a configuration file.

    Parameters
    ----------
    path : Path
    overrides : sequence of str
        ``section.key=value``, as after ``--set``.
    data : Path or None
        Bars to read in the place of those of ``[feed]``, whatever its kind.
    typed_as : mapping of str to str, optional
        Overrides that were not typed as ``--set``, and as what.

    Raises
    ------
    ConfigError
        C015 if it is not TOML, C008 if it does not exist, C010 for a bad override.
    Errors
        Everything else that is wrong, at once, in the order of the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors may mark UTF-8 at its beginning
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise config_errors.no_config(path) from None
    except UnicodeDecodeError as error:
        raise ConfigError("C015", f"{path} is not UTF-8 text", str(path), str(error)) from None
    return parse(text, path.parent.resolve(), _shown(path), overrides, data, typed_as)


def parse(
    text: str,
    folder: Path,
    name: str = "astra.toml",
    overrides: Sequence[str] = (),
    data: Path | None = None,
    typed_as: Mapping[str, str] | None = None,
) -> Config:
    """Check a configuration given as text; relative paths start from ``folder``. Raises as ``load``."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise config_errors.toml_syntax(name, text, str(error)) from None
    given = config_arguments.apply(document, overrides, data, typed_as or {})
    source = Source.read(name, text, given | presets.fill_in(document))
    _anchor(document, folder)
    faults: list[Fault] = []
    tables = dict(_tables(document, faults))
    config_errors.raise_all(source, faults)
    config = Config.model_construct(**tables)
    config._source = source
    config_errors.raise_all(source, _contradictions(config))
    return config


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _anchor(document: dict[str, Any], folder: Path) -> None:
    """Make paths absolute, so that a plug-in never asks where the configuration stood."""
    strategies = document.get("strategy")
    tables: list[Any] = [document.get(name) for name in ("feed", "output", "risk", *DAEMON)]
    for table in tables + (strategies if isinstance(strategies, list) else []):
        for key in PATH_KEYS if isinstance(table, dict) else ():
            if isinstance(table.get(key), str):
                # Path.expanduser raises where there is no such user, this leaves the text as it is.
                table[key] = str(folder / os.path.expanduser(table[key]))  # noqa: PTH111
    for name, key, default in (("output", "dir", "runs"), ("daemon", "state_dir", "state")):
        table = document.setdefault(name, {})
        if isinstance(table, dict):
            table.setdefault(key, str(folder / default))


def _tables(document: dict[str, Any], faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    """Check table by table, so that one fault hides no other."""
    known = [*Config.model_fields]
    faults += [
        config_errors.unknown_key((name,), known, {}) for name in document if name not in Config.model_fields
    ]
    for name in (*PLAIN, *DAEMON):
        if name in document or name in PLAIN:
            table = document.get(name, {})
            yield name, _checked(table_of(name, table), table, (name,), faults)
        else:
            yield name, None
    yield "instruments", _instruments(document.get("instruments", {}), faults)
    yield "feed", _kinded("feed", document.get("feed", {}), ("feed",), faults)
    yield "allocator", _kinded("allocator", document.get("allocator", {}), ("allocator",), faults)
    yield "strategy", _strategies(document.get("strategy"), faults)


def _checked(model: type[BaseModel], table: Any, path: Path_, faults: list[Fault]) -> Any:
    if not isinstance(table, Mapping):
        faults.append(Fault("C003", path, f"{config_errors.dotted(path)} must be a table"))
        return None
    try:
        # JSON input lets strict mode take lists for tuples and texts for paths, and nothing else.
        return model.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        faults += faults_of(error.errors(), model, table, path, _owners())
        return None


def _instruments(tables: Any, faults: list[Fault]) -> dict[str, InstrumentTable]:
    if not isinstance(tables, Mapping):
        faults.append(Fault("C003", ("instruments",), "instruments must be a table of tables, by symbol"))
        return {}
    return {
        symbol: _checked(InstrumentTable, table, ("instruments", symbol), faults)
        for symbol, table in tables.items()
    }


def _owners() -> dict[str, str]:
    """Table in which each key belongs, for those who wrote it into another."""
    owners: dict[str, str] = {}
    for name, (group, _, _) in KINDED.items():
        for plugin in registry(group).values():
            for key in plugin.options.model_fields:
                owners.setdefault(key, "[[strategy]]" if name == "strategy" else f"[{name}]")
    plain = {key: f"[{name}]" for name, model in PLAIN.items() for key in model.model_fields}
    return owners | plain | owners_in_risk()


def _kinded(name: str, table: Any, path: Path_, faults: list[Fault]) -> Any:
    group, own, default = KINDED[name]
    if not isinstance(table, Mapping):
        faults.append(Fault("C003", path, f"{config_errors.dotted(path)} must be a table"))
        return None
    kind = table.get("kind", default)
    kinds = registry(group)
    known = [*kinds, "none"] if name == "allocator" else [*kinds]
    if kind is None:
        faults.append(
            Fault(
                "C014",
                (*path, "kind"),
                f'missing key "kind" in [[{name}]]',
                "",
                f"Known kinds: {', '.join(known)}",
            )
        )
        return None
    if kind not in known:
        faults.append(config_errors.unknown_kind((*path, "kind"), str(kind), known))
        return None
    options = {key: value for key, value in table.items() if key not in own}
    values: dict[str, Any] = {"kind": kind}
    if kind == "none":
        values["options"] = None
        faults += [config_errors.unknown_key((*path, key), own, {}) for key in options]
    else:
        values["options"] = _checked(kinds[kind].options, options, path, faults)
    return values if name == "strategy" else _TABLE_OF[name].model_construct(**values)


_TABLE_OF: dict[str, type[Table]] = {"feed": FeedTable, "allocator": AllocatorTable}


def _strategies(tables: Any, faults: list[Fault]) -> tuple[StrategyTable, ...]:
    if not isinstance(tables, list) or not tables:
        why = 'Add at least one:\n    [[strategy]]\n    kind = "kalman_pairs"\n    pairs = ["JPM/C"]'
        faults.append(
            Fault("C014", ("strategy",), "there is no [[strategy]] table: nothing would trade", "", why)
        )
        return ()
    found: list[StrategyTable] = []
    used: dict[str, int] = {}
    for k, table in enumerate(tables):
        values = _kinded("strategy", table, ("strategy", k), faults)
        if values is None:
            continue
        name = table.get("name", _free_name(values["kind"], used))
        path: Path_ = ("strategy", k, "name")
        if not isinstance(name, str) or not name.strip():
            faults.append(Fault("C003", path, f"strategy.{k}.name must be a text in quotes, was {name!r}"))
            continue
        if name in used:
            what = f'strategy.{k}.name must be unique, was "{name}" like that of strategy.{used[name]}'
            faults.append(Fault("C011", path, what))
        used[name] = k
        share = table.get("capital_frac")
        if share is not None and not (type(share) in {int, float} and 0.0 < share <= _CAPITAL_FRAC_MAX):
            what = (
                f"strategy.{k}.capital_frac must be above 0 and at most {_CAPITAL_FRAC_MAX:g}, was {share!r}"
            )
            faults.append(Fault("C003", ("strategy", k, "capital_frac"), what))
            continue
        found.append(StrategyTable.model_construct(name=name, capital_frac=share, **values))
    return tuple(found)


def _free_name(kind: str, used: Mapping[str, int]) -> str:
    name, count = kind, 1
    while name in used:
        count += 1
        name = f"{kind}-{count}"
    return name


def _symbols_in(options: BaseModel) -> Iterator[tuple[Path_, str]]:
    """Yield the symbols of ``pairs`` ("Y/X") and ``symbols``: the convention for a strategy's options."""
    for i, pair in enumerate(getattr(options, "pairs", ())):
        for symbol in str(pair).split("/"):
            yield ("pairs", i), symbol.strip()
    for i, symbol in enumerate(getattr(options, "symbols", ())):
        yield ("symbols", i), str(symbol)


def _contradictions(config: Config) -> Iterator[Fault]:
    """Check what no single table can know."""
    first, last = config.universe.first, config.universe.last
    if first and last and _is_after(first, last):
        what = f"universe.first must not be after universe.last, was {first} and {last}"
        yield Fault("C011", ("universe", "first"), what)
    listed = config.universe.symbols
    for symbol, path in config.symbol_paths.items():
        if listed and symbol not in listed:
            near = config_errors.nearest(symbol, listed)
            note = f'did you mean "{near}"?' if near else ""
            yield Fault("C011", path, f'symbol "{symbol}" is not in universe.symbols', note)
    for symbol, table in config.instruments.items():
        if symbol not in config.symbols:
            near = config_errors.nearest(symbol, config.symbols)
            note = f'did you mean "{near}"?' if near else ""
            yield Fault("C011", ("instruments", symbol), f'"{symbol}" is not in the universe', note)
        if table.kind == "future":
            yield from _carried_in_its_price(symbol, table)
        yield from _converted_by_itself(symbol, table)
    if len(set(listed)) < len(listed):
        repeated = sorted({symbol for symbol in listed if listed.count(symbol) > 1})
        yield Fault("C011", ("universe", "symbols"), f"universe.symbols names {', '.join(repeated)} twice")
    options = [(k, table.options) for k, table in enumerate(config.strategy)]
    yield from repo_faults(config.feed.options, options)


def _is_after(first: str, last: str) -> bool:
    """Compare two dates or two instants; a date and an instant are only when the calendar is known."""
    one, other = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return (one.tzinfo is None) == (other.tzinfo is None) and one > other


def _carried_in_its_price(symbol: str, table: InstrumentTable) -> Iterator[Fault]:
    """Refuse of a future what only a position of cash pays and receives."""
    given = {"borrow_bps": table.borrow_bps is not None, "income_frac": table.income_frac != 0.0}
    for key in [key for key, is_given in given.items() if is_given]:
        what = f"instruments.{symbol}.{key} must be left out: {symbol} is a future"
        why = "Nobody borrows a future, and it pays nothing: its carry, dividends included, is in its price."
        yield Fault("C011", ("instruments", symbol, key), what, "", why, is_key=True)


def _converted_by_itself(symbol: str, table: InstrumentTable) -> Iterator[Fault]:
    """Refuse a rate in its own currency: EURUSD times EURUSD is no price."""
    currency = table.currency
    if currency != ACCOUNT_CURRENCY and symbol in {currency + ACCOUNT_CURRENCY, ACCOUNT_CURRENCY + currency}:
        what = f'instruments.{symbol}.currency must be {ACCOUNT_CURRENCY}, was "{currency}"'
        why = f"{symbol} is the rate that turns {currency} into {ACCOUNT_CURRENCY}, and cannot turn itself."
        yield Fault("C011", ("instruments", symbol, "currency"), what, "", why)
