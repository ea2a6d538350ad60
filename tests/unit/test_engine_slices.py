"""The slicer: every verdict, the collar, and when a minute closes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import slices_kernel as policy
from engine.errors import InvariantError
from engine.events import CLOSE, MINUTE_NS, Bar, BarConfirmed, BarRejected, BarSlice, BarSuspended, Reject
from engine.sessions import Sessions
from engine.slices import COLLAR_HALF_LIFE_BARS, Slicer
from tests.support.arbitrary_bars import DAY, SYMBOLS, at, flat_bar, small_sessions
from tests.support.columns import columns_of


def new_slicer(**options: object) -> Slicer:
    return Slicer(SYMBOLS, small_sessions(), **options)  # type: ignore[arg-type]


def offered(slicer: Slicer, *bars: Bar) -> list[object]:
    return [item for bar in bars for item in slicer.offer(bar)]


def reasons(items: list[object]) -> list[Reject]:
    return [item.reason for item in items if isinstance(item, BarRejected)]


def test_a_minute_closes_when_a_later_one_begins() -> None:
    """One minute, one message, with NaN where a symbol has no bar."""
    slicer = new_slicer()
    assert offered(slicer, flat_bar(at(2), "A", 100.0), flat_bar(at(2), "C", 30.0)) == []
    (slice_,) = slicer.offer(flat_bar(at(3), "B", 50.0))
    assert isinstance(slice_, BarSlice)
    assert (slice_.ts_close_ns, slice_.session, slice_.minute) == (at(2), DAY, 2)
    assert (slice_.accepted, slice_.suspect) == (2, ())
    np.testing.assert_array_equal(slice_.bars[CLOSE], [100.0, math.nan, 30.0])
    assert slicer.finish()[0].ts_close_ns == at(3)  # type: ignore[union-attr]


def test_minutes_without_a_bar_make_empty_slices_but_nights_do_not() -> None:
    """Rules that count minutes fire on slices, so silence must be seen; a night is no silence."""
    slicer = new_slicer()
    slicer.offer(flat_bar(at(5), "A", 100.0))
    out = slicer.offer(flat_bar(at(1_442), "A", 100.0))
    assert [item.ts_close_ns for item in out] == [at(5), at(6), at(7), at(1_441)]
    assert [item.accepted for item in out if isinstance(item, BarSlice)] == [1, 0, 0, 0]
    assert all(np.isnan(item.bars).all() for item in out[1:] if isinstance(item, BarSlice))


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        (flat_bar(at(1), "Z", 100.0), Reject.UNKNOWN_SYMBOL),
        (Bar(at(1), "A", NAN, 1.0, 1.0, 1.0, 1.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, INF, 1.0, 1.0, 1.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, 1.0, 0.0, 1.0, 1.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, 1.0, 1.0, -1.0, 1.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, 1.0, 1.0, 1.0, -1.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, 1.0, 1.0, 1.0, NAN), Reject.MALFORMED),
        (flat_bar(at(1) + 1, "A", 100.0), Reject.MALFORMED),
        (flat_bar(-1, "A", 100.0), Reject.MALFORMED),
        (flat_bar(1 << 70, "A", 100.0), Reject.MALFORMED),
        (Bar(at(1), "A", 1.0, 0.9, 1.1, 1.0, 1.0), Reject.INCONSISTENT),
        (Bar(at(1), "A", 1.2, 1.1, 0.9, 1.0, 1.0), Reject.INCONSISTENT),
        (Bar(at(1), "A", 1.0, 1.1, 0.9, 0.8, 1.0), Reject.INCONSISTENT),
        (flat_bar(at(0), "A", 100.0), Reject.OFF_SESSION),
        (flat_bar(at(8), "A", 100.0), Reject.OFF_SESSION),
        (flat_bar(at(5_000), "A", 100.0), Reject.OFF_SESSION),
    ],
)
def test_a_bar_that_is_wrong_by_itself_is_rejected(bar: Bar, reason: Reject) -> None:
    """A bad bar is named, counted, kept for the quarantine, and moves nothing."""
    slicer = new_slicer()
    before = slicer.state()["levels"].tobytes()
    assert slicer.offer(bar) == [BarRejected(bar.ts_close_ns, bar.symbol, reason, 1, bar)]
    assert slicer.rejected[reason] == slicer.received == 1
    assert slicer.state()["levels"].tobytes() == before
    assert slicer.finish() == []


def test_zero_volume_and_a_bar_without_range_are_sound() -> None:
    """Quiet minutes exist."""
    slicer = new_slicer()
    assert slicer.offer(flat_bar(at(1), "A", 100.0, volume=0.0)) == []
    assert slicer.accepted == 1


def test_repeats_of_the_open_and_of_the_last_minute() -> None:
    """A redelivery is a duplicate, other content for the same minute a conflict; the first stands."""
    slicer = new_slicer()
    first, other = flat_bar(at(1), "A", 100.0), flat_bar(at(1), "A", 101.0)
    offered(slicer, first)
    assert reasons(offered(slicer, first, other)) == [Reject.DUPLICATE, Reject.CONFLICT]
    (slice_,) = slicer.offer(flat_bar(at(2), "B", 50.0))
    assert slice_.bars[CLOSE, 0] == 100.0  # type: ignore[union-attr]
    # Minute 1 is closed now: its bars are known, its empty slots are not filled any more.
    late = flat_bar(at(1), "B", 50.0)
    assert reasons(offered(slicer, first, other, late)) == [Reject.DUPLICATE, Reject.CONFLICT, Reject.LATE]
    slicer.offer(flat_bar(at(3), "B", 50.0))
    assert reasons(offered(slicer, first, other)) == [Reject.LATE, Reject.LATE]


def test_the_slot_of_a_rejected_bar_stays_free() -> None:
    """A corrected message within the minute is welcome when the first one was nothing."""
    slicer = new_slicer()
    offered(slicer, Bar(at(1), "A", NAN, 1.0, 1.0, 1.0, 1.0), flat_bar(at(1), "A", 100.0))
    assert slicer.finish()[0].bars[CLOSE, 0] == 100.0  # type: ignore[union-attr]


def test_a_minute_is_judged_whole_and_closed() -> None:
    """Live bars of a minute come together: verdicts first, in universe order, then exactly one slice."""
    slicer = new_slicer()
    assert slicer.next_ns == 0  # nothing was known yet, so nothing is due
    (slice_,) = slicer.close_minute(at(2), {2: flat_bar(at(2), "C", 30.0), 0: flat_bar(at(2), "A", 100.0)})
    assert isinstance(slice_, BarSlice)
    np.testing.assert_array_equal(slice_.bars[CLOSE], [100.0, math.nan, 30.0])
    assert slicer.next_ns == at(3)
    jumps = {2: flat_bar(at(3), "C", 90.0), 0: flat_bar(at(3), "A", 300.0)}
    *held, slice_ = slicer.close_minute(at(3), jumps)
    assert [(type(item), item.symbol) for item in held] == [(BarSuspended, "A"), (BarSuspended, "C")]
    assert isinstance(slice_, BarSlice)
    assert (slice_.accepted, slice_.suspect) == (0, (0, 2))
    assert [item.ts_close_ns for item in slicer.close_minute(at(4), {})] == [at(4)]
    assert reasons(offered(slicer, flat_bar(at(4), "A", 100.0))) == [Reject.LATE]
    assert slicer.finish() == []


def test_the_next_minute_skips_the_night_and_ends_with_the_sessions() -> None:
    """What is due after a session's last minute is the first one of the next session."""
    slicer = new_slicer()
    slicer.close_minute(at(7), {0: flat_bar(at(7), "A", 100.0)})
    assert slicer.next_ns == at(1_441)
    last = at(1_449)
    while slicer.next_ns:
        (slice_,) = slicer.close_minute(slicer.next_ns, {})
    assert slice_.ts_close_ns == last


def test_a_slot_is_given_to_sound_bars_of_open_minutes_only() -> None:
    """What has no slot is refused at once; what has one can wait to be judged with its minute."""
    slicer = new_slicer()
    slicer.close_minute(at(2), {0: flat_bar(at(2), "A", 100.0)})
    assert slicer.slot_of(flat_bar(at(3), "B", 1.0)) == 1
    assert slicer.slot_of(flat_bar(at(1_441), "C", 1.0)) == 2
    refused = [
        flat_bar(at(3), "Z", 1.0),
        flat_bar(at(3), "B", math.nan),
        flat_bar(at(3) + 1, "B", 1.0),
        Bar(at(3), "B", 1.0, 0.9, 1.1, 1.0, 1.0),
        flat_bar(at(2), "B", 1.0),
        flat_bar(at(8), "B", 1.0),
        flat_bar(-at(3), "B", 1.0),
        flat_bar(1 << 70, "B", 1.0),
    ]
    assert [slicer.slot_of(bar) for bar in refused] == [None] * len(refused)


# ------------------------------------------------------------------------------------------- the collar


def test_a_fat_finger_is_held_and_then_rejected() -> None:
    """One bad print changes no price: its slot is NaN, the symbol is suspect, the next bar clears it."""
    slicer = new_slicer()
    bad = flat_bar(at(2), "A", 10_000.0)
    out = offered(slicer, flat_bar(at(1), "A", 100.0), bad, flat_bar(at(3), "B", 50.0))
    assert out[1] == BarSuspended(at(2), "A", 100.0, 10_000.0)
    slice_2 = out[2]
    assert isinstance(slice_2, BarSlice)
    assert (slice_2.suspect, slice_2.accepted) == ((0,), 0)
    assert np.isnan(slice_2.bars[:, 0]).all()
    assert slicer.pending == {0: bad}
    out = offered(slicer, flat_bar(at(4), "A", 101.0), flat_bar(at(5), "A", 101.0))
    assert isinstance(out[0], BarSlice)
    assert out[0].suspect == (0,)  # minute 3: still unresolved
    assert out[1] == BarRejected(at(2), "A", Reject.COLLAR, 1, bad)
    assert isinstance(out[2], BarSlice)
    assert (out[2].suspect, out[2].bars[CLOSE, 0]) == ((), 101.0)
    assert slicer.received == 5 == slicer.accepted + slicer.rejected[Reject.COLLAR]


def test_a_crash_confirms_itself() -> None:
    """A real fall is accepted on the next bar; the held bar counts, but is never dispatched back in time."""
    slicer = new_slicer()
    out = offered(slicer, flat_bar(at(1), "A", 100.0), flat_bar(at(2), "A", 70.0), flat_bar(at(3), "A", 68.0))
    assert out[-1] == BarConfirmed(at(2), "A")
    assert slicer.finish()[0].bars[CLOSE, 0] == 68.0  # type: ignore[union-attr]
    assert (slicer.accepted, slicer.pending) == (3, {})


def test_outside_of_both_is_held_anew() -> None:
    """A wild price is no evidence for another wild price."""
    slicer = new_slicer()
    out = offered(slicer, *(flat_bar(at(m), "A", p) for m, p in [(1, 100.0), (2, 10_000.0), (3, 500.0)]))
    assert reasons(out) == [Reject.COLLAR]
    assert out[-1] == BarSuspended(at(3), "A", 100.0, 500.0)
    assert list(slicer.pending) == [0]


@pytest.mark.parametrize(("price", "verdict"), [(119.0, BarConfirmed), (102.0, BarRejected)])
def test_within_both_collars_the_nearer_price_decides(price: float, verdict: type) -> None:
    """121 then 119 is a jump that stayed; 121 then 102 one that went away; both are within 20% of both."""
    slicer = new_slicer()
    out = offered(slicer, *(flat_bar(at(m), "A", p) for m, p in [(1, 100.0), (2, 121.0), (3, price)]))
    assert isinstance(out[-1], verdict)
    assert slicer.pending == {}


def test_the_open_is_measured_too() -> None:
    """A bar that opens far away and closes back where it was is just as suspect."""
    slicer = new_slicer()
    slicer.offer(flat_bar(at(1), "A", 100.0))
    out = slicer.offer(Bar(at(2), "A", 130.0, 130.0, 100.0, 100.0, 1.0))
    assert isinstance(out[-1], BarSuspended)


def test_exactly_at_the_collar_is_inside() -> None:
    """`more than` means more than: 25% of 100 is exact in binary."""
    slicer = new_slicer(collar_frac=0.25)
    assert reasons(offered(slicer, flat_bar(at(1), "A", 100.0), flat_bar(at(2), "A", 125.0))) == []
    assert slicer.accepted == 2


def test_a_wild_symbol_has_a_wider_collar() -> None:
    """10 sigma of the symbol's own minutes: after a return of r, σ = √(1 − 2^(−1/60)) |r|."""
    decay = 1.0 - 0.5 ** (1.0 / COLLAR_HALF_LIFE_BARS)
    width = 10.0 * math.sqrt(decay) * 0.19
    assert 0.20 < width < 0.21  # so the case below lies between the two widths
    quiet, wild = new_slicer(collar_sigmas=0.0), new_slicer()
    for slicer in (quiet, wild):
        offered(slicer, flat_bar(at(1), "A", 100.0), flat_bar(at(2), "A", 119.0))
        slicer.offer(flat_bar(at(3), "A", 119.0 * 1.2005))
    assert list(quiet.pending) == [0]
    assert wild.pending == {}


def test_pending_at_the_end_stays_pending() -> None:
    """Nobody knows whether the last bar was true: it is neither accepted nor rejected."""
    slicer = new_slicer()
    offered(slicer, flat_bar(at(1), "A", 100.0), flat_bar(at(2), "A", 300.0))
    assert slicer.finish()[0].suspect == (0,)  # type: ignore[union-attr]
    assert (slicer.received, slicer.accepted, len(slicer.pending)) == (2, 1, 1)


def test_repeats_of_a_held_bar() -> None:
    """A redelivered jump does not confirm itself: only a later minute does."""
    slicer = new_slicer()
    held = flat_bar(at(2), "A", 300.0)
    offered(slicer, flat_bar(at(1), "A", 100.0), held)
    again = offered(slicer, held, flat_bar(at(2), "A", 301.0))
    assert reasons(again) == [Reject.DUPLICATE, Reject.CONFLICT]
    assert slicer.pending == {0: held}


# ------------------------------------------------------------------------------------ columns and state


def test_columns_count_strangers_by_symbol() -> None:
    """A file of 8,000 symbols for a universe of 2 must not make an event of every row."""
    slicer = new_slicer()
    bars = [flat_bar(at(m), s, 100.0) for m in range(5) for s in ("A", "Y", "Z")]
    out = list(slicer.offer_columns(columns_of(bars)))
    expected = {
        ("Y", Reject.UNKNOWN_SYMBOL): 5,
        ("Z", Reject.UNKNOWN_SYMBOL): 5,
        ("A", Reject.OFF_SESSION): 1,
    }
    found = {(item.symbol, item.reason): item.count for item in out if isinstance(item, BarRejected)}
    assert found == expected
    assert (slicer.received, slicer.accepted) == (15, 4)


def test_a_reference_is_that_of_its_time() -> None:
    """In a batch, the event about a jump names the close before it, not the last one of the batch."""
    slicer = new_slicer()
    prices = [(1, 100.0), (2, 300.0), (3, 290.0), (4, 280.0)]
    out = list(slicer.offer_columns(columns_of([flat_bar(at(m), "A", p) for m, p in prices])))
    assert [item for item in out if isinstance(item, BarSuspended)] == [
        BarSuspended(at(2), "A", 100.0, 300.0)
    ]


def test_undecodable_bytes_are_counted() -> None:
    """Bytes that never became a bar are received and rejected all the same."""
    slicer = new_slicer()
    rejected = BarRejected(0, "", Reject.UNDECODABLE, 3)
    assert slicer.note(rejected) is rejected
    assert slicer.received == 3 == slicer.rejected[Reject.UNDECODABLE]


def test_the_state_of_another_universe_is_refused() -> None:
    """Columns of other symbols would be mixed up in silence."""
    with pytest.raises(InvariantError):
        Slicer(("A",), small_sessions()).restore(new_slicer().state())


def test_the_kernel_equals_its_python_twin() -> None:
    """Compiled and interpreted policy agree to the last bit, jumps and nonsense included."""
    rng = np.random.Generator(np.random.Philox(1))
    n_rows = 400
    ts = np.array([at(int(m)) for m in np.sort(rng.integers(0, 10, n_rows))], np.int64)
    symbol = rng.integers(-1, 3, n_rows)
    close = 100.0 * np.exp(0.15 * rng.standard_normal(n_rows))
    values = np.stack([close, close * 1.01, close * 0.99, close, np.ones(n_rows)])
    values[1, ::17] = np.nan

    def run(judge: object) -> list[bytes]:
        slicer = new_slicer()
        block, counts = np.full((16, 5, 3), np.nan), np.zeros(16, np.int64)
        verdicts, references = np.zeros((2, n_rows), np.int64), np.zeros(n_rows)
        memory = (slicer._clock, slicer._marks, slicer._levels, block, counts, verdicts, references)
        stop = judge(0, ts, symbol, values, slicer.sessions.table, slicer._collar, *memory)  # type: ignore[operator]
        assert stop == n_rows
        return [array.tobytes() for array in memory]

    compiled = run(policy.judge)
    assert compiled == run(policy.judge.py_func)
    assert len(set(compiled[5][: n_rows * 8])) > 1


def test_a_gap_longer_than_a_block_is_cut_into_pieces() -> None:
    """Empty minutes come in bounded memory, and all of them."""
    from engine.sessions import Sessions

    year = Sessions(np.array([DAY]), np.array([at(0)]), np.array([at(50_000)]))
    for n_symbols in (1, 3):
        slicer = Slicer(SYMBOLS[:n_symbols], year)
        bars = [flat_bar(at(1), "A", 1.0), flat_bar(at(40_000), "A", 1.0)]
        out = [*slicer.offer_columns(columns_of(bars)), *slicer.finish()]
        assert [item.ts_close_ns for item in out] == [at(m) for m in range(1, 40_001)]
        assert sum(item.accepted for item in out if isinstance(item, BarSlice)) == 2
        assert (at(2) - at(1)) == MINUTE_NS


@pytest.mark.parametrize(("bar_min", "has_sigma"), [(120, True), (240, False), (1440, False)])
@pytest.mark.parametrize("gap_min", [0, 1_200])
def test_bars_of_whole_sessions_have_no_sigma(bar_min: int, has_sigma: bool, gap_min: int) -> None:
    """Closes of weekdays are 1,440 minutes apart: a σ of them would forget each weekend's step alone."""
    day = np.arange(4)
    opens_ns = (10_000 + day * (240 + gap_min)) * MINUTE_NS
    sessions = Sessions(day, opens_ns, opens_ns + 240 * MINUTE_NS, bar_min)
    slicer = Slicer(("A",), sessions)
    for ordinal in range(sessions.n_bars):
        slicer.offer(flat_bar(sessions.end_of(ordinal), "A", 100.0 + ordinal))
    variance = slicer.state()["levels"][policy.VARIANCE, 0]
    assert bool(variance > 0.0) is has_sigma
