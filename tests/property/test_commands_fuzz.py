"""Any bytes as a command: an answer, no crash, nothing changed, and bounded memory."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app.live.operator_link import Admission
from engine.clock import Clock
from engine.commands import KINDS, CommandBody, Keys, Verifier, message_of, read_message, sign
from engine.controls import AVERSIONS, CAPS, REVERT, VAR_LIMIT
from engine.events import Alert, CommandJudged
from engine.state import to_bytes
from tests.support.core import slice_of
from tests.support.engines import HALT_KEY, OPERATOR_KEY, engine_of

T0_NS = slice_of([1.0], minute=1, session=1).ts_close_ns + 1
KEYS = Keys(OPERATOR_KEY, HALT_KEY)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("kind", "instance", "principal", "issued_ns", "nonce", "args"), json_values),
)
texts = st.text(max_size=200) | json_values.map(json.dumps) | fields.map(json.dumps)
messages = st.binary(max_size=300) | st.builds(
    lambda body, signature: json.dumps({"body": body, "signature": signature}).encode(), texts, texts
)


@settings(max_examples=150, deadline=None)
@given(data=messages)
def test_any_message_is_a_command_or_none(data: bytes) -> None:
    """The decoder of the outside world has two answers."""
    command = read_message(data, T0_NS)
    assert command is None or command.ts_ns == T0_NS


@settings(max_examples=150, deadline=None)
@given(data=messages)
def test_any_message_that_is_admitted_is_refused_and_changes_nothing(data: bytes) -> None:
    """What nobody signed has no effect but two lines of the audit trail, whose texts are bounded."""
    loop, seen = _ENGINE
    before = to_bytes(loop.bus.state())
    command = Admission(KEYS, Clock(start_ns=T0_NS)).admit(data)
    assert command is not None  # the first rubbish is recorded
    assert len(command.body) <= 2_000
    loop.step(command)
    _, _, (judged, alert) = seen.steps.pop()
    assert isinstance(judged, CommandJudged)
    assert isinstance(alert, Alert)
    assert judged.verdict == "refused"
    assert len(alert.text) < 300
    assert alert.text.isprintable()
    assert to_bytes(loop.bus.state()) == before


_ENGINE = engine_of(["A/B"], {})
_ENGINE[0].step(slice_of([100.0, 50.0], minute=1, session=1))


numbers = st.floats() | st.sampled_from([0.0, -1.0, 1e300, 5e-324, 1e-6, 2.0**62, float(T0_NS + 10**9)])
names = st.sampled_from([VAR_LIMIT, *CAPS, *AVERSIONS, REVERT, "x"])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS), args=st.dictionaries(names, numbers, max_size=4), halt_id=st.text(max_size=9)
)
def test_any_signed_command_leaves_an_engine_that_goes_on(kind, args, halt_id) -> None:
    """An operator may ask for anything: limits stay within their bounds, and the next minutes pass."""
    loop, _ = engine_of(
        ["A/B"], {(1, 1): {"A/B": 1}}, allocator="mean_variance", options={"every_min": 2}, scenarios=100
    )
    for minute in (1, 2, 3):
        loop.step(slice_of([100.0, 50.0], minute=minute, session=1))
    ts_ns = slice_of([1.0], minute=3, session=1).ts_close_ns + 1
    body = CommandBody(
        kind=kind,
        instance="test",
        principal="ada",
        issued_ns=ts_ns,
        expires_ns=ts_ns,
        nonce="n",
        reason="r",
        halt_id=halt_id,
        args=args,
    )
    loop.step(sign(body, OPERATOR_KEY, ts_ns))
    controls = loop.bus.controls
    for name, setting in controls.settings.items():
        bound = controls.bounds[name]
        assert bound.low <= setting.value <= bound.high
        assert setting.revert_ns == 0 or ts_ns < setting.revert_ns
    for minute in (4, 5, 6):
        loop.step(slice_of([100.0, 50.0], minute=minute, session=1))
    to_bytes(loop.bus.state())


@settings(max_examples=100, deadline=None)
@given(data=messages)
def test_a_message_survives_its_own_writing(data: bytes) -> None:
    """What was received can be kept and sent again without becoming something else."""
    command = read_message(data, T0_NS)
    if command is not None:
        try:
            again = message_of(command)
        except (msgspec.EncodeError, UnicodeEncodeError):
            raise AssertionError("a text was read that cannot be written") from None
        assert read_message(again, T0_NS) == command


def test_rubbish_is_recorded_up_to_a_rate_and_counted_beyond() -> None:
    """Whoever can send must not be able to fill the disk, nor to hide a real command in the crowd."""
    now_s = [0.0]
    admission = Admission(KEYS, Clock(start_ns=T0_NS), monotonic_s=lambda: now_s[0])
    admitted = [admission.admit(b"rubbish") for _ in range(1_000)]
    assert sum(command is not None for command in admitted) == 10
    assert admission.dropped == 990
    halt = sign(_halt("real"), HALT_KEY, T0_NS)
    assert admission.admit(message_of(halt)).body == halt.body
    assert [admission.admit(message_of(halt)) for _ in range(20)] == [None] * 20  # a recording of it
    now_s[0] = 25.0  # two tokens more
    assert sum(admission.admit(b"rubbish") is not None for _ in range(5)) == 2


def test_signed_commands_are_never_held_up() -> None:
    """A hundred orders in a second are a hundred orders."""
    admission = Admission(KEYS, Clock(start_ns=T0_NS), monotonic_s=lambda: 0.0)
    for k in range(100):
        assert admission.admit(message_of(sign(_halt(f"n{k}"), HALT_KEY, T0_NS))) is not None


def _halt(nonce: str) -> CommandBody:
    return CommandBody(
        kind="halt",
        instance="test",
        principal="ada",
        issued_ns=T0_NS,
        expires_ns=T0_NS,
        nonce=nonce,
        reason="r",
    )


def test_verifier_forgets_nonces_once_they_cannot_count_again() -> None:
    """Memory of nonces is bounded by what is still valid."""
    verifier = Verifier("test", KEYS)
    for k in range(50):
        assert verifier.judge(sign(_halt(f"n{k}"), HALT_KEY, T0_NS))[0] == ""
    later = msgspec.structs.replace(_halt("later"), issued_ns=T0_NS + 1, expires_ns=T0_NS + 2)
    assert verifier.judge(sign(later, HALT_KEY, T0_NS + 1), T0_NS + 1)[0] == ""
    assert list(verifier.state()["used"]) == ["later"]
