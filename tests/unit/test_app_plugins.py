"""Kinds of other people's packages: found by their entry points, checked, named in messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.app.config.load import parse
from engine.app.config.plugins import is_recorded, registry
from engine.app.config.risk import risk_models
from engine.app.config.schema import json_schema
from engine.app.report.risk import var_method
from engine.app.source import open_source
from engine.app.wiring import build_loop
from engine.commands import Keys
from engine.errors import ConfigError, DataError, Errors
from engine.events import Bar
from feeds.live_context import LiveContext
from risk import REGISTRY
from tests.support.books import market
from tests.support.publish import live_context, receive

MODULE = """
from pydantic import BaseModel, ConfigDict

from engine.events import Bar
from engine.ports import Arrival, Plugin


class Options(BaseModel):
    model_config = ConfigDict(extra="{extra}", frozen=True)
    bars: int = 2


class Bars:
    def __init__(self, options, context):
        self._count, self._symbol = options.bars, context.symbols[0]

    async def arrivals(self, after):
        for k in range(int(after or 0), self._count):
            yield [Arrival(Bar((k + 1) * 60_000_000_000, self._symbol, 1.0, 1.0, 1.0, 1.0, 1.0), str(k + 1))]


PLUGIN = Plugin(Options, Bars)
"""
TOML = '[feed]\nkind = "{kind}"\n[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Entry points are read once a process: these are forgotten again."""
    registry.cache_clear()
    yield
    registry.cache_clear()
    sys.modules.pop("acme_bars", None)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entries: str, extra: str = "forbid") -> None:
    """Put a package on the path as an installer would."""
    (folder / "acme_bars.py").write_text(MODULE.replace("{extra}", extra))
    about = folder / "acme_bars-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bars\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()


async def test_a_live_feed_of_a_package_is_configured_and_runs(tmp_path, monkeypatch) -> None:
    """Whoever has bars elsewhere must not have to change Astra."""
    install(tmp_path, monkeypatch, "[astra.live_feeds]\nacme = acme_bars:PLUGIN\n")
    config = parse(TOML.format(kind="acme"), tmp_path)
    assert not is_recorded("acme")
    context: LiveContext = live_context(None)
    feed = registry("live_feeds")["acme"].build(config.feed.options, context)
    taken = await receive(feed, 2)
    assert [(type(one.record), one.position) for one in taken] == [(Bar, "1"), (Bar, "2")]
    assert [one.position for one in await receive(feed, 1, after="1")] == ["2"]


def test_a_live_feed_of_a_package_cannot_be_replayed(tmp_path, monkeypatch) -> None:
    """It is refused as a live feed of Astra's own is, and a mistyped key of it too."""
    install(tmp_path, monkeypatch, "[astra.live_feeds]\nacme = acme_bars:PLUGIN\n")
    with pytest.raises(DataError, match='"acme" streams live') as caught:
        open_source(parse(TOML.format(kind="acme"), tmp_path))
    assert caught.value.code == "D030"
    with pytest.raises(Errors, match="barz") as mistyped:
        parse(TOML.format(kind='acme"\nbarz = "3'), tmp_path)
    assert mistyped.value.code == "C001"


def test_recorded_bars_of_a_package_cannot_run_live_by_themselves(tmp_path, monkeypatch) -> None:
    """Nobody has said how they are paced: that is a message, and no traceback."""
    install(tmp_path, monkeypatch, "[astra.feeds]\nacme = acme_bars:PLUGIN\n")
    assert is_recorded("acme")
    plugin = registry("live_feeds")["acme"]
    with pytest.raises(DataError, match="names no live feed") as caught:
        plugin.build(plugin.options(), live_context(None))
    assert caught.value.code == "D035"


@pytest.mark.parametrize(
    ("entry", "extra", "why"),
    [
        ("mqtt = acme_bars:PLUGIN", "forbid", "its name is taken"),
        ("acme = acme_bars:Options", "forbid", "not an engine.ports.Plugin"),
        ("acme = acme_bars:ABSENT", "forbid", "AttributeError"),
        ("acme = acme_bars:PLUGIN", "ignore", "accept unknown keys"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named(tmp_path, monkeypatch, entry, extra, why) -> None:
    """A broken package must not take the configuration down with a traceback, nor be passed over."""
    install(tmp_path, monkeypatch, f"[astra.live_feeds]\n{entry}\n", extra)
    with pytest.raises(ConfigError, match=why) as caught:
        registry("live_feeds")
    assert caught.value.code == "C009"


MODELS = """
from pydantic import BaseModel, ConfigDict

from engine.ports import Plugin
from risk.var import EllipticalVar, GaussianVarOptions, VarOptions


class Wider(GaussianVarOptions):
    stretch: float = 1.5

    def law(self):
        law = super().law()
        return type(law)(law.quantile * self.stretch, law.density, law.shortfall * self.stretch)


class Taken(VarOptions):
    history: int = 3


class Bare(BaseModel):
    model_config = ConfigDict(extra="forbid")


def build(options, symbols):
    return EllipticalVar(options, len(symbols))


WIDER, TAKEN, BARE = (Plugin(options, build) for options in (Wider, Taken, Bare))
"""


def test_a_risk_model_of_a_package_measures_a_run(tmp_path, monkeypatch) -> None:
    """Its options stand in [risk], a mistyped one is refused, and VaR is what it says."""
    install(tmp_path, monkeypatch, "[astra.risk_models]\nwider = acme_bars:WIDER\n")
    (tmp_path / "acme_bars.py").write_text(MODELS)
    text = TOML.format(kind="simulated") + '[risk]\nmodel = "wider"\nstretch = {stretch}\n'
    var_usd = []
    for toml in (TOML.format(kind="simulated"), text.format(stretch=2.0)):
        desk = build_loop(parse(toml, tmp_path), None, Keys(), lambda *_: None).bus.desk
        assert desk is not None
        desk.risk.market = market(1e-4 * np.eye(2))
        var_usd.append(desk.risk.measure(np.array([1e6, 0.0])).var_analytic_usd)
    assert var_usd[1] == pytest.approx(2.0 * var_usd[0], rel=1e-12)
    with pytest.raises(Errors, match="stretched"):
        parse(text.format(stretch="1.0\nstretched = 2"), tmp_path)
    branches = json_schema()["properties"]["risk"]["oneOf"]
    assert [branch["title"] for branch in branches] == [*REGISTRY, "wider"]
    assert "“wider” of another package" in var_method({"risk": {"model": "wider"}})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("odd = acme_bars:TAKEN", "a key of .risk. already: history"),
        ("odd = acme_bars:BARE", "lack those of all"),
    ],
)
def test_a_risk_model_that_could_not_stand_in_risk_is_refused(tmp_path, monkeypatch, entry, why) -> None:
    """One key with two meanings would be read as either."""
    install(tmp_path, monkeypatch, f"[astra.risk_models]\n{entry}\n")
    (tmp_path / "acme_bars.py").write_text(MODELS)
    with pytest.raises(ConfigError, match=why) as caught:
        risk_models()
    assert caught.value.code == "C009"


@pytest.mark.parametrize(
    ("kind", "is_weighed"), [("direct", False), ("none", False), ("mean_variance", True)]
)
def test_returns_are_forecast_for_those_who_weigh_them(tmp_path: Path, kind: str, is_weighed: bool) -> None:
    """Forecasts are the dearest part of a small trade; an allocator that reads them must get them all."""
    toml = f'feed = {{ path = "b.csv" }}\nallocator = {{ kind = "{kind}" }}\n'
    toml += '[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'
    strategy = build_loop(parse(toml, tmp_path), None, Keys(), lambda *_: None).bus.strategies[0]
    assert np.isfinite(strategy.outlook().expected_return_frac).tolist() == [is_weighed]
