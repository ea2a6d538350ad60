"""Kinds of other people's packages: found by their entry points, checked, named in messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.app.config import parse
from engine.app.plugins import is_recorded, registry
from engine.app.source import open_source
from engine.errors import ConfigError, DataError, Errors
from engine.events import Bar
from feeds.live_context import LiveContext
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
