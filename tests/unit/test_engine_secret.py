"""Secrets: from a variable, or from a private file that another variable names."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.app.config.addresses import mqtt_link, redis_link
from engine.app.config.load import Config, load
from engine.errors import CommandError
from engine.secret import secret

CONFIG = """
[feed]
path = "bars.csv"
[redis]
url = "redis://127.0.0.1:1"
[mqtt]
host = "127.0.0.1"
[[strategy]]
kind = "kalman_pairs"
pairs = ["A/B"]
"""


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Return a file of mode 0600."""
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    return path


def test_a_file_is_as_good_as_a_variable(private: Path) -> None:
    """A service manager hands over files; a newline at the end is the editor's, one in between is not."""
    private.write_text("xyz zy\nmore\r\n")
    assert secret("N", {"N_FILE": str(private)}) == "xyz zy\nmore"
    assert secret("N", {"N": "xyz zy"}) == "xyz zy"
    assert secret("N", {"N": "", "N_FILE": ""}) == secret("N", {}) == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused(private: Path, mode: int) -> None:
    """A secret that the group may read is everybody's on a shared machine."""
    private.write_text("xyzzy")
    private.chmod(mode)
    with pytest.raises(CommandError, match=f"its owner alone, was of mode {mode:04o}") as caught:
        secret("N", {"N_FILE": str(private)})
    assert (caught.value.code, caught.value.where) == ("O010", "N_FILE")


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe", b"x" * ((1 << 14) + 1)])
def test_a_file_without_a_secret_is_refused(private: Path, data: bytes) -> None:
    """An empty password would quietly be none; the message never shows what was read."""
    private.write_bytes(data)
    with pytest.raises(CommandError, match=r"holds no secret$"):
        secret("N", {"N_FILE": str(private)})


def test_a_secret_given_twice_or_nowhere_is_refused(private: Path) -> None:
    """Which of two passwords counts must not be a matter of taste, and a missing file is no empty one."""
    with pytest.raises(CommandError, match="N and N_FILE are both set"):
        secret("N", {"N": "x", "N_FILE": str(private)})
    with pytest.raises(CommandError, match="cannot read the secret file /nowhere/at/all"):
        secret("N", {"N_FILE": "/nowhere/at/all"})


def test_links_take_their_passwords_from_files(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same way for every secret: Redis, the broker, keys, token, addresses."""
    config = _config(private.parent)
    private.write_text("file-password\n")
    for name in ("ASTRA_REDIS_PASSWORD", "ASTRA_MQTT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", str(private))
    redis, mqtt = redis_link(config), mqtt_link(config)
    assert redis is not None
    assert mqtt is not None
    assert (redis.password, mqtt.password) == ("file-password", "file-password")


def _config(folder: Path) -> Config:
    (folder / "astra.toml").write_text(CONFIG)
    return load(folder / "astra.toml")
