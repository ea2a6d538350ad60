"""Live kinds in the configuration: known, checked, and refused where there is nothing to replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import feeds
from engine.app.config.load import parse
from engine.app.config.plugins import is_recorded, registry
from engine.app.config.resolved import document_of
from engine.app.config.schema import json_schema
from engine.app.source import open_source
from engine.errors import AstraError, DataError
from tests.support.publish import live_context

TOML = """[feed]
kind = "redis_stream"
begin = "oldest"

[redis]
url = "redis://127.0.0.1:6379"

[[strategy]]
kind = "kalman_pairs"
pairs = ["AAA/BBB"]
"""


def test_a_live_kind_is_configured_like_any_other() -> None:
    """One file serves ``astra run`` and everything that looks at the configuration."""
    config = parse(TOML, Path())
    shown = document_of(config)["feed"]
    assert shown == {
        "kind": "redis_stream",
        "stream": "astra:bars",
        "begin": "oldest",
        "collar_frac": 0.2,
        "collar_sigmas": 10.0,
    }
    assert '"const": "redis_stream"' in json.dumps(json_schema()["properties"]["feed"])


@pytest.mark.parametrize(("right", "wrong"), [("begin", "begun"), ("redis_stream", "redis_streem")])
def test_a_mistyped_key_or_kind_of_a_live_feed_is_refused(right: str, wrong: str) -> None:
    """The check of spelling does not stop at what a replay can read."""
    with pytest.raises(AstraError, match=wrong) as caught:
        parse(TOML.replace(right, wrong), Path())
    assert f'did you mean "{right}"?' in caught.value.detail


def test_a_live_kind_cannot_be_replayed() -> None:
    """There is nothing to replay yet; the error says what to do instead."""
    with pytest.raises(DataError, match="streams live") as caught:
        open_source(parse(TOML, Path()))
    assert caught.value.code == "D030"
    assert "astra run" in caught.value.detail
    assert "--data" in caught.value.detail


def test_recorded_kinds_serve_both() -> None:
    """What can be replayed is replayed as before, and can be rehearsed."""
    assert {kind: is_recorded(kind) for kind in ("files", "simulated", "mqtt", "redis_stream")} == {
        "files": True,
        "simulated": True,
        "mqtt": False,
        "redis_stream": False,
    }
    for kind, plugin in feeds.REGISTRY.items():
        assert registry("feeds")[kind] is plugin
        assert registry("live_feeds")[kind].options is plugin.options
    assert set(registry("live_feeds")) <= set(registry("feeds"))


@pytest.mark.parametrize(("kind", "table"), [("mqtt", "mqtt"), ("redis_stream", "redis")])
def test_a_feed_without_its_server_says_what_is_missing(kind: str, table: str) -> None:
    """A forgotten table must be told before anything runs, not by a feed that stays silent."""
    plugin = feeds.LIVE[kind]
    with pytest.raises(DataError, match=rf"no \[{table}\] table") as caught:
        plugin.build(plugin.options(), live_context(None))
    assert caught.value.code == "D031"
