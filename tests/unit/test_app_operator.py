"""Keys, adjustable numbers, and the operator's conversation with a running engine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.app.config.adjustable import controls_of
from engine.app.config.load import load
from engine.app.keys import keys_of
from engine.app.live.operator_link import Admission, from_spool
from engine.app.live.operator_send import verdict_in
from engine.app.live.status_document import Extras, document, encode
from engine.app.main import run
from engine.clock import Clock, wall_ns
from engine.commands import VALID_MAX_NS, Keys, Verifier, read_body
from engine.errors import CommandError, ConfigError
from engine.events import TradingState
from tests.support.core import slice_of
from tests.support.engines import engine_of

OPERATOR, HALT = "operator-key-of-these-tests", "halt-key-of-these-tests"
CONFIG = """
[feed]
path = "bars.csv"
[operator]
instance = "test"
{operator}
[allocator]
kind = "{allocator}"
[[strategy]]
kind = "kalman_pairs"
pairs = ["A/B"]
"""
WAIT_S = 20.0


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a configuration, with both keys in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", OPERATOR)
    monkeypatch.setenv("ASTRA_HALT_KEY", HALT)
    write_config()
    return tmp_path


def write_config(operator: str = "", allocator: str = "mean_variance", more: str = "") -> None:
    """Write astra.toml."""
    Path("astra.toml").write_text(CONFIG.format(operator=operator, allocator=allocator) + more)


# ------------------------------------------------------------------------------------------------ keys


def private(name: str, text: str, mode: int = 0o600) -> str:
    """Write a key file."""
    path = Path(name)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_keys_come_from_variables_or_private_files() -> None:
    """A service manager hands over files, a person types; a newline is no part of a key."""
    file = private("operator.key", OPERATOR + "\n")
    assert keys_of({"ASTRA_OPERATOR_KEY_FILE": file, "ASTRA_HALT_KEY": HALT}) == Keys(
        OPERATOR.encode(), HALT.encode()
    )
    assert keys_of({}) == Keys()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_file_that_others_may_read_is_refused(mode: int) -> None:
    """Whoever reads the key commands the desk."""
    with pytest.raises(CommandError, match="its owner alone") as caught:
        keys_of({"ASTRA_OPERATOR_KEY_FILE": private("k", OPERATOR, mode)})
    assert caught.value.code == "O010"
    assert f"{mode:04o}" in caught.value.what


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"ASTRA_OPERATOR_KEY": "short"}, "O011", "at least 16 bytes, was 5"),
        ({"ASTRA_OPERATOR_KEY": OPERATOR, "ASTRA_HALT_KEY": OPERATOR}, "O011", "the same"),
        ({"ASTRA_HALT_KEY": HALT, "ASTRA_HALT_KEY_FILE": "x"}, "O011", "both set"),
        ({"ASTRA_HALT_KEY_FILE": "absent"}, "O010", "cannot read the secret file absent"),
        ({"ASTRA_HALT_KEY_FILE": "."}, "O010", "cannot read"),
    ],
)
def test_keys_that_protect_nothing_are_refused(environment: dict[str, str], code: str, said: str) -> None:
    """A weak or missing key must be noticed when the engine starts, not when somebody has used it."""
    with pytest.raises(CommandError) as caught:
        keys_of(environment)
    assert (caught.value.code, said in caught.value.what) == (code, True), caught.value.what


def test_an_empty_key_file_is_no_key() -> None:
    """An empty key would otherwise quietly mean that nobody may command."""
    with pytest.raises(CommandError, match="holds no secret"):
        keys_of({"ASTRA_HALT_KEY_FILE": private("k", "\n")})


# ---------------------------------------------------------------------------------- adjustable numbers


def test_without_hard_bounds_nothing_can_be_loosened() -> None:
    """Raising a limit by command is something a desk must have decided beforehand, in its configuration."""
    controls = controls_of(load(Path("astra.toml")))
    assert {name: (c.value, c.low, c.high) for name, c in controls.bounds.items()} == {
        "var_limit_usd": (150_000.0, 1.0, 150_000.0),
        "gross_max_frac": (2.0, 1e-6, 2.0),
        "net_max_frac": (0.05, 1e-6, 0.05),
        "name_max_frac": (1.0, 1e-6, 1.0),
        "risk_aversion": (15.0, 15.0, 1_000.0),
        "trade_aversion": (1.0, 1.0, 1_000.0),
    }


def test_hard_bounds_are_configured() -> None:
    """How far a command may go is written where the limits are."""
    keys = (
        "var_limit_max_usd = 200_000",
        "gross_max_frac_max = 3",
        "risk_aversion_min = 5",
        "trade_aversion_max = 4",
    )
    write_config("\n".join(keys))
    bounds = controls_of(load(Path("astra.toml"))).bounds
    assert (bounds["var_limit_usd"].high, bounds["gross_max_frac"].high) == (200_000.0, 3.0)
    assert (bounds["risk_aversion"].low, bounds["trade_aversion"].high) == (5.0, 4.0)


def test_hard_bounds_that_exclude_the_configured_value_are_refused() -> None:
    """A limit that no command could return to is a mistake in one of the two."""
    write_config("var_limit_max_usd = 100_000")
    with pytest.raises(ConfigError, match="must not exclude") as caught:
        controls_of(load(Path("astra.toml")))
    assert (caught.value.code, caught.value.where) == ("C011", "operator.var_limit_max_usd")


def test_an_allocator_without_caps_offers_none() -> None:
    """What nobody would obey is not offered."""
    write_config(allocator="direct")
    assert list(controls_of(load(Path("astra.toml"))).bounds) == ["var_limit_usd"]


# ------------------------------------------------------------------------------------- the conversation


class Running:
    """An engine in a thread: takes commands from the spool, judges them, writes its status."""

    def __init__(self, state: Path) -> None:
        self.loop, self.seen = engine_of(["A/B"], {}, positions={"A": 1_000.0})
        self.loop.bus._verifier = Verifier("test", Keys(OPERATOR.encode(), HALT.encode()))
        self._state = state
        self._clock = Clock(slice_of([1.0], minute=1, session=1).ts_close_ns, speed=60.0)
        for minute in (1, 2):
            self.loop.step(slice_of([100.0, 50.0], minute=minute, session=1))

    def document(self) -> dict[str, Any]:
        """Return the status document."""
        extras = Extras(
            verdicts=self.loop.status.verdicts,
            instance="test",
            epoch="20260105T143000Z",
            version="0.1",
            clock_ns=self._clock.now_ns(),
            written_ns=wall_ns(),
            speed=60.0,
            feed={"is_connected": True},
            outbox={"redis urgent": 2},
        )
        return document(self.loop, self._clock.now_ns(), extras)

    def write(self) -> None:
        """Write status.json as a whole."""
        draft = self._state / "status.tmp"
        draft.write_bytes(encode(self.document()))
        draft.replace(self._state / "status.json")

    async def serve(self) -> None:
        """Obey until cancelled."""
        admission = Admission(Keys(OPERATOR.encode(), HALT.encode()), self._clock)
        async for record, acknowledge in from_spool(self._state / "commands", admission):
            self.loop.step(record)
            self.write()
            acknowledge()


@pytest.fixture
def engine(here: Path) -> Iterator[Running]:
    """Give a running engine of the configuration."""
    state = here / "state"
    state.mkdir()
    running = Running(state)
    running.write()
    ends: list[Callable[[], object]] = []
    began = threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(running.serve())
        ends.append(lambda: asyncio_loop.call_soon_threadsafe(task.cancel))
        asyncio_loop = asyncio.get_running_loop()
        began.set()
        await asyncio.wait([task])

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    began.wait(WAIT_S)
    yield running
    ends[0]()
    thread.join(WAIT_S)


def test_halt_and_resume_by_hand(engine: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way of an operator: halt in one word, see why, lift exactly that halt."""
    assert run(["halt"]) == 0
    assert capsys.readouterr().out == f"accepted  halt by {_login()}: operator halt\n"
    assert engine.loop.status.trading_state is TradingState.HALTED
    assert run(["status"]) == 0
    text = capsys.readouterr().out
    halt_id = engine.loop.status.halt_id
    assert "HALTED" in text
    assert f"astra resume --halt-id {halt_id}" in text
    assert run(["resume", "--reason", "checked", "--halt-id", "halt-of-yesterday"]) == 2
    assert f"refused  resume by {_login()}: the halt in force is {halt_id}" in capsys.readouterr().out
    assert run(["resume", "--reason", "checked"]) == 2
    captured = capsys.readouterr()
    assert halt_id in captured.out
    assert "agree to the one shown with --yes" in captured.err
    assert engine.loop.status.trading_state is TradingState.HALTED
    assert run(["resume", "--reason", "checked", "--yes", "--principal", "ada"]) == 0
    assert capsys.readouterr().out == (
        f"in force   {halt_id}  operator {_login()}: operator halt\naccepted  resume by ada: checked\n"
    )
    assert engine.loop.status.trading_state is TradingState.REDUCING
    assert run(["resume", "--reason", "checked", "--yes"]) == 2
    assert "nothing is halted: the state is REDUCING" in capsys.readouterr().err


def test_a_program_gets_the_verdict(engine: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever scripts a halt must not read sentences to know whether it counts."""
    assert run(["halt", "--json", "--reason", "drill"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["kind"], verdict["verdict"], verdict["reason"]) == ("halt", "accepted", "drill")
    assert verdict["nonce"] == engine.loop.status.verdicts[-1].nonce
    assert run(["resume", "--json", "--reason", "checked", "--yes"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["halt_id"] in captured.err
    assert run(["resume", "--json", "--reason", "checked", "--halt-id", "another"]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "refused"


def test_a_stopped_engine_is_said_to_be_stopped_at_once(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Waiting for an answer that cannot come costs the seconds in which somebody must act."""
    loop, _ = engine_of(["A/B"], {})
    now_ns = wall_ns()
    extras = Extras(
        instance="desk", epoch="e", version="v", phase="stopped", clock_ns=now_ns, written_ns=now_ns
    )
    (here / "state").mkdir()
    (here / "state" / "status.json").write_bytes(encode(document(loop, now_ns, extras)))
    assert run(["halt", "--timeout", "600"]) == 5
    assert "error[S035] the engine stopped" in capsys.readouterr().err
    assert len(list((here / "state" / "commands").glob("*.json"))) == 1


def _login() -> str:
    import getpass

    return getpass.getuser()


def test_limits_are_changed_for_a_time_of_the_engine(
    engine: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hours are two hours of the engine's clock, which may play a tape."""
    assert run(["limits", "--reason", "news", "--var-limit-usd", "120000", "--expires", "2h"]) == 0
    setting = engine.loop.bus.controls.settings["var_limit_usd"]
    assert (setting.value, setting.standing) == (120_000.0, 150_000.0)
    now_ns = engine.loop.status.verdicts[-1].ts_ns
    assert setting.revert_ns == pytest.approx(now_ns + 7_200 * 10**9, abs=60 * WAIT_S * 1e9)
    capsys.readouterr()
    assert run(["limits", "--reason", "news", "--gross-max-frac", "1"]) == 2
    assert "'gross_max_frac' is no number of this engine" in capsys.readouterr().out
    assert run(["limits", "--reason", "news"]) == 2
    assert "no limit was named" in capsys.readouterr().err


def test_the_halt_key_alone_halts_and_does_nothing_else(
    engine: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopping needs less privilege than starting again."""
    monkeypatch.delenv("ASTRA_OPERATOR_KEY")
    assert run(["flatten", "--reason", "r"]) == 2
    assert "error[O001]" in capsys.readouterr().err
    monkeypatch.setenv("ASTRA_OPERATOR_KEY", "somebody-elses-operator-key")
    assert run(["flatten", "--reason", "r"]) == 2
    assert "refused  flatten" in capsys.readouterr().out
    assert engine.loop.status.verdicts[-1].reason == "bad_signature"
    assert run(["halt", "--reason", "drill"]) == 0


def test_nobody_answers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script must be able to tell a refusal from silence, and a person what silence means."""
    (here / "state").mkdir()
    assert run(["halt", "--timeout", "0.1"]) == 5
    text = capsys.readouterr().err
    assert "error[S035] nobody answered within 0.1 s; the command was handed over by spool" in text
    assert "is it running" in text
    assert len(list((here / "state" / "commands").glob("*.json"))) == 1
    assert run(["status"]) == 5
    assert "error[S036]" in capsys.readouterr().err


@pytest.mark.parametrize(("speed", "valid_s"), [(1.0, 65), (20.0, 1_300), (6_000.0, 3_600)])
def test_what_is_signed_is_never_valid_for_too_long(here: Path, speed: float, valid_s: int) -> None:
    """A minute of whoever looks at the screen is hours of a tape; an engine obeys no order that old."""
    (here / "state").mkdir()
    status = Running(here / "state").document() | {"speed": speed}
    (here / "state" / "status.json").write_text(json.dumps(status))
    assert run(["halt", "--timeout", "0"]) == 5
    (message,) = (here / "state" / "commands").glob("*.json")
    body = read_body(json.loads(message.read_text())["body"])
    assert body is not None
    valid_ns = body.expires_ns - body.issued_ns
    assert valid_ns <= VALID_MAX_NS
    assert valid_ns / 1e9 == pytest.approx(valid_s)
    assert body.issued_ns >= status["now_ns"] - valid_s * 10**9


@pytest.mark.parametrize(
    ("argv", "more", "code", "said"),
    [
        (["halt"], "", 5, "error[S034] there is no state folder"),
        (["halt", "--via", "redis"], "", 5, "error[S033] [redis] is not configured"),
        (
            ["status"],
            '[redis]\nurl = "redis://127.0.0.1:1"\n',
            5,
            "error[S034] cannot reach the engine by redis",
        ),
        (
            ["halt"],
            '[mqtt]\nhost = "127.0.0.1"\nport = 1\n',
            5,
            "error[S034] cannot reach the engine by mqtt",
        ),
        (["halt", "--at", "2026-01-05T10:00:00Z"], "", 2, "--at needs --commands"),
        (["halt", "--commands", "c.jsonl"], "", 2, "--commands needs --at"),
        (["halt", "--timeout", "-1"], "", 2, "--timeout must be 0 or more"),
        (["halt", "--principal", "e\nve"], "", 2, "is not one that an engine reads"),
    ],
)
def test_a_way_that_is_closed_is_said_at_once(
    argv: list[str], more: str, code: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody who wants to halt must not wait for a server that is not there."""
    write_config(more=more)
    if "principal" in str(argv):
        (here / "state").mkdir()
    assert run(argv) == code
    assert said in capsys.readouterr().err


def test_a_command_in_the_spool_is_whole_and_private(here: Path) -> None:
    """Another user of the machine may neither read nor add commands, nor the engine see half of one."""
    (here / "state").mkdir()
    run(["halt", "--timeout", "0"])
    spool = here / "state" / "commands"
    assert spool.stat().st_mode & 0o777 == 0o700
    [file] = spool.iterdir()
    message = json.loads(file.read_bytes())
    body = json.loads(message["body"])
    assert (body["kind"], body["instance"], f"{body['nonce']}.json") == ("halt", "test", file.name)


def test_the_first_verdict_on_a_nonce_counts() -> None:
    """What is delivered twice is judged twice: accepted, and then replayed."""
    fields = {"ts_ns": 1, "kind": "halt", "principal": "a", "nonce": "n"}
    verdicts = [
        {**fields, "verdict": "accepted", "reason": "r"},
        {**fields, "verdict": "refused", "reason": "replayed"},
    ]
    found = verdict_in({"verdicts": verdicts}, "n")
    assert found is not None
    assert found.verdict == "accepted"
    assert verdict_in({"verdicts": verdicts}, "other") is None
