"""Logs: what is written when somebody reads them in the worst minute, and what never is."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from engine.app.live.logs import configure, secrets_of

CANARY = 'canary-"51f0"-\\é\n-secret'
NOON_NS = 1_772_452_800_000_000_000


class Console(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_where_a_program_reads() -> None:
    """A collector must never have to guess; NaN is no JSON."""
    stream = io.StringIO()
    configure(stream, lambda: NOON_NS)
    structlog.get_logger().info("bar taken", symbol="KO", var_usd=float("nan"), ts_close_ns=NOON_NS)
    (line,) = _lines(stream)
    assert line.pop("written").endswith("Z")
    assert line == {
        "event": "bar taken",
        "level": "info",
        "symbol": "KO",
        "ts": "2026-03-02T12:00:00Z",
        "ts_close": "2026-03-02T12:00:00Z",
        "var_usd": None,
    }


def test_lines_are_text_where_a_person_reads() -> None:
    """Braces and quotes are noise to somebody who looks at a terminal in a hurry."""
    stream = Console()
    configure(stream, lambda: NOON_NS)
    structlog.get_logger().warning("feed is silent", minutes=5)
    assert "feed is silent" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_libraries_write_the_same_form() -> None:
    """One odd line of a library breaks the collector of all others."""
    stream = io.StringIO()
    configure(stream, lambda: NOON_NS)
    logging.getLogger("a.library").error("port %d", 8787)
    (line,) = _lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("port 8787", "error", "a.library")


def test_debugging_lines_are_left_out() -> None:
    """Those of a busy minute would hide the one that matters."""
    stream = io.StringIO()
    configure(stream, lambda: NOON_NS)
    structlog.get_logger().debug("chatter")
    logging.getLogger("library").debug("chatter")
    structlog.get_logger().error("matters")
    assert [line["event"] for line in _lines(stream)] == ["matters"]


@pytest.mark.parametrize("stream", [io.StringIO(), Console()])
def test_no_secret_is_ever_written(stream: io.StringIO) -> None:
    """The canary stands for a key: in values, names, nested, in text, in errors, from libraries."""
    configure(stream, lambda: NOON_NS, secrets=secrets_of({"ASTRA_HALT_KEY": CANARY}))
    log = structlog.get_logger()
    log.info(f"connecting with {CANARY}")
    log.info("connecting", note=CANARY, items=[CANARY, {"deep": CANARY}], pair=(CANARY, 1))
    log.info("unknown secrets", password="pw-51f0", halt_key="pw-51f0", more={"Token": "pw-51f0"})  # noqa: S106
    log.info("address", url="redis://engine:pw-51f0@localhost:6379/0")
    logging.getLogger("library").error("cannot log in as %s", CANARY)
    try:
        raise ValueError(f"bad key {CANARY}")  # noqa: TRY301
    except ValueError:
        log.exception("failed")
    written = stream.getvalue()
    assert "failed" in written
    assert "Traceback" in written
    assert "51f0" not in written
    assert "localhost:6379" in written


def test_lines_cannot_be_forged() -> None:
    """A symbol from outside that holds a line break must not look like a line of ours."""
    stream = Console()
    configure(stream, lambda: NOON_NS)
    structlog.get_logger().info("rejected", symbol="KO\n\x1b[2Jhalted", note="\x9b2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    """A new variable for a secret is covered by its name; short values would mask half of every line."""
    file = tmp_path / "halt"
    file.write_text("halt-key-in-file\n")
    urls = tmp_path / "urls"
    urls.write_text("slack://in/a/file\njson://other\n")
    found = secrets_of(
        {
            "ASTRA_HALT_KEY_FILE": str(file),
            "ASTRA_OTHER_KEY_FILE": "nowhere",
            "ASTRA_OPERATOR_KEY": "operator-key",
            "ASTRA_REDIS_PASSWORD": "redis-password",
            "ASTRA_CONSOLE_TOKEN": "abc",
            "ASTRA_APPRISE_URLS": "slack://a/b/c, json://host\nmailto://u:p@host",
            "ASTRA_APPRISE_URLS_FILE": str(urls),
            "ASTRA_LOG_LEVEL": "info",
            "PATH_KEY": "not ours",
        }
    )
    in_variables = ("operator-key", "redis-password", "slack://a/b/c", "json://host", "mailto://u:p@host")
    assert found == ("halt-key-in-file", *in_variables, "slack://in/a/file", "json://other")
