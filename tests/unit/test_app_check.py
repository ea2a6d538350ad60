"""What ``astra check`` says of a live run: where, who, and who hears of it; never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.app.checks.check import check_all
from engine.app.config.load import parse

STRATEGY = '[[strategy]]\nkind = "zscore_pairs"\npairs = ["A/B"]\n'
LIVE = '[feed]\nkind = "mqtt"\n' + STRATEGY
SIMULATED = '[feed]\nkind = "simulated"\nsessions = 1\n' + STRATEGY
KEY = "a-key-for-this-test"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = ("ASTRA_REDIS_PASSWORD", "ASTRA_MQTT_PASSWORD")
    for name in ("ASTRA_OPERATOR_KEY", "ASTRA_HALT_KEY", "ASTRA_APPRISE_URLS", *passwords):
        for variable in (name, f"{name}_FILE"):
            monkeypatch.delenv(variable, raising=False)


def checked(text: str, folder: Path) -> dict[str, str]:
    """Return what is said of each part, by its name."""
    lines = [str(one).split(maxsplit=1) for one in check_all(parse(text, folder))]
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_a_live_run_says_where_its_state_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts it in the wrong folder begins anew instead of going on."""
    monkeypatch.chdir(tmp_path)
    assert checked(LIVE, tmp_path)["state"] == "folder          ok   state, a live run begins there"
    (tmp_path / "state/journal").mkdir(parents=True)
    (tmp_path / "state/journal/00000001.journal").write_bytes(b"")
    said = checked(LIVE + '[daemon]\nstate_dir = "state"\n', tmp_path)["state"]
    assert said == "folder          ok   state, a live run goes on with its journal"


def test_keys_are_named_by_their_role_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that obeys nobody is found before it runs; no value is ever shown."""
    text = SIMULATED + '[operator]\ninstance = "desk"\n'
    assert checked(text, tmp_path)["keys"].startswith("off")
    monkeypatch.setenv("ASTRA_HALT_KEY", KEY)
    assert checked(text, tmp_path)["keys"] == "mind halt alone: nobody can resume"
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", f"{KEY}-2")
    assert checked(text, tmp_path)["keys"] == "ok   operator and halt"
    assert KEY not in "\n".join(map(str, check_all(parse(text, tmp_path))))


def test_feed_and_sinks_are_named_without_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is configured is seen at a glance: a server that was forgotten, an address that was mistyped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASTRA_APPRISE_URLS", "json://me:hidden@a json://b")
    servers = '[redis]\nurl = "redis://u:hidden@10.0.0.1:6380"\n[mqtt]\nhost = "broker"\n'
    text = LIVE + servers + "[alerts]\nrequired = true\n"
    said = checked(text, tmp_path)
    assert said["data"] == "live mqtt at broker:1883, bars as they come: only for astra run"
    assert said["alerts"] == (
        "ok   file state/alerts.jsonl, redis 10.0.0.1:6380, mqtt broker:1883, people at 2 addresses; required"
    )
    assert "hidden" not in "\n".join(map(str, check_all(parse(text, tmp_path))))
    assert checked(LIVE, tmp_path)["data"].startswith("live mqtt of a server that --with-servers starts")


def test_a_replay_hears_nothing_of_keys(tmp_path: Path) -> None:
    """What only ``astra run`` reads is no concern of somebody who replays a file."""
    said = checked(SIMULATED, tmp_path)
    assert "keys" not in said
    assert said["redis"].startswith("off")


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ('[redis]\nurl = "redis://10.0.0.1"\n', "to 10.0.0.1:6379 in the clear: rediss:// and ca_file"),
        ('[redis]\nurl = "rediss://10.0.0.1"\n', ""),
        ('[redis]\nurl = "redis://127.0.0.1"\n', ""),
        ('[mqtt]\nhost = "broker"\n', "to broker:1883 in the clear: [mqtt] ca_file"),
        ('[mqtt]\nhost = "broker"\nca_file = "ca.pem"\n', ""),
        ('[mqtt]\nhost = "localhost"\n', ""),
    ],
)
def test_a_password_in_the_clear_is_minded(
    servers: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it on the way may send bars, and read the book."""
    assert "password" not in checked(LIVE + servers, tmp_path)
    for name in ("ASTRA_REDIS_PASSWORD", "ASTRA_MQTT_PASSWORD"):
        monkeypatch.setenv(name, "hidden-from-all")
    assert checked(LIVE + servers, tmp_path).get("password", "").removeprefix("mind ") == said


@pytest.mark.parametrize(
    ("feed", "daemon", "is_minded"),
    [
        ("", "", True),  # the defaults, 10 s and 5 s
        ("", "grace_s = 10", True),
        ("", "grace_s = 45", False),
        ("delay_min = 15", "grace_s = 45", True),
        ("delay_min = 15", 'clock = "bars"', False),
    ],
)
def test_a_polled_feed_slower_than_the_clock_is_minded(
    feed: str, daemon: str, is_minded: bool, tmp_path: Path
) -> None:
    """Every bar of such a run is late, and a book that is held goes stale."""
    text = f'[feed]\nkind = "yahoo"\n{feed}\n[daemon]\n{daemon}\n{STRATEGY}'
    assert ("grace" in checked(text, tmp_path)) is is_minded
