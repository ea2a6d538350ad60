"""Simulated bars: the same seed gives the same bytes, sound bars, and the faults that were asked for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.events import CLOSE, HIGH, LOW, OPEN, VOLUME, BarSlice, Reject
from feeds import REGISTRY
from feeds.context import FeedContext
from feeds.faults import Faults
from feeds.files import FileOptions, file_bars, fingerprint
from feeds.recorded import RecordedBars
from feeds.simulated import SimulatedOptions, sessions_of, simulate, simulated_bars, write

SYMBOLS = ("JPM", "C", "KO", "PEP")


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    """A sample that changes between machines or runs is no sample."""
    options = SimulatedOptions(sessions=2)
    first, again = (simulate(options, sessions_of(options, "XNYS")).values.tobytes() for _ in range(2))
    other = SimulatedOptions(sessions=2, seed=8)
    assert first == again != simulate(other, sessions_of(other, "XNYS")).values.tobytes()


def test_first_closes_can_be_given() -> None:
    """An example that names real prices begins at them; returns stay those of the seed."""
    plain, given = SimulatedOptions(sessions=1), SimulatedOptions(sessions=1, price_usd={"C": 70.0})
    sessions = sessions_of(plain, "XNYS")
    drawn, moved = (
        simulate(options, sessions, SYMBOLS).values[3].reshape(-1, 4) for options in (plain, given)
    )
    assert moved[0, 1] == 70.0
    assert np.allclose(moved[:, 1] / moved[0, 1], drawn[:, 1] / drawn[0, 1], rtol=1e-5)
    assert (moved[:, [0, 2, 3]] == drawn[:, [0, 2, 3]]).all()
    with pytest.raises(DataError, match="price_usd names XYZ, which is not simulated"):
        simulate(SimulatedOptions(price_usd={"XYZ": 1.0}), sessions, SYMBOLS)


def test_bars_are_sound_and_prices_and_volumes_realistic() -> None:
    """The clean tape has nothing to reject, and a $1M book finds its volume in every minute."""
    feed = simulated_bars(SimulatedOptions(sessions=3), SYMBOLS, "XNYS")
    values = np.stack([item.bars for item in feed.slices() if isinstance(item, BarSlice)])
    assert values.shape == (3 * 390, 5, 4)
    assert feed.slicer.accepted == feed.received == feed.n_rows == 3 * 390 * 4
    assert values[:, LOW].min() > 20.0
    assert values[:, HIGH].max() < 400.0
    assert (values[:, HIGH] >= values[:, [OPEN, CLOSE]].max(axis=1)).all()
    traded_usd = values[:, CLOSE] * values[:, VOLUME]
    assert traded_usd.min() > 1_000_000.0
    # Busy at the open and at the close, quiet at noon.
    day = traded_usd[:390].mean(axis=1)
    assert day[:15].mean() > 1.5 * day[180:210].mean() < day[-15:].mean()


def test_a_pair_is_tied_and_strangers_are_not() -> None:
    """Y − βx must come back within a session: its lag-1 autocorrelation is that of a 45-minute half-life."""
    options = SimulatedOptions(sessions=40, half_life_min=45.0, beta_daily=0.0)
    columns = simulate(options, sessions_of(options, "XNYS"), SYMBOLS)
    log_close = np.log(columns.values[CLOSE].reshape(-1, 4))

    def residual(y: int, x: int) -> np.ndarray:
        design = np.stack([log_close[:, x], np.ones(len(log_close))], axis=1)
        fitted = np.linalg.lstsq(design, log_close[:, y], rcond=None)[0]
        return log_close[:, y] - design @ fitted

    spread, stranger = residual(0, 1), residual(0, 3)
    assert np.corrcoef(spread[:-1], spread[1:])[0, 1] == pytest.approx(0.5 ** (1 / 45), abs=0.004)
    assert spread.std() == pytest.approx(options.spread_frac, rel=0.15)
    assert stranger.std() > 3.0 * spread.std()


def test_faults_come_at_their_rates_and_all_are_accounted_for() -> None:
    """Each kind of fault ends under the verdict that the policy has for it."""
    faults = Faults(
        gap_frac=0.01,
        duplicate_frac=0.02,
        conflict_frac=0.01,
        late_frac=0.01,
        fat_finger_frac=0.002,
        nan_frac=0.01,
    )
    feed = simulated_bars(SimulatedOptions(sessions=5, faults=faults), SYMBOLS, "XNYS")
    list(feed.slices())
    slicer, n = feed.slicer, 5 * 390 * 4
    assert slicer.rejected[Reject.DUPLICATE] == pytest.approx(0.02 * n, rel=0.3)
    assert slicer.rejected[Reject.CONFLICT] == pytest.approx(0.01 * n, rel=0.4)
    assert slicer.rejected[Reject.LATE] == pytest.approx(0.01 * n, rel=0.4)
    assert slicer.rejected[Reject.MALFORMED] == pytest.approx(0.01 * n, rel=0.4)
    assert slicer.rejected[Reject.COLLAR] == pytest.approx(0.002 * n, rel=0.8)
    rejected = sum(slicer.rejected.values())
    assert feed.received == feed.n_rows == slicer.accepted + rejected + len(slicer.pending)


def test_an_unadjusted_split_confirms_itself() -> None:
    """One held bar, and the new price level is accepted."""
    feed = simulated_bars(SimulatedOptions(sessions=2, faults=Faults(split=True)), SYMBOLS, "XNYS")
    slices = [item for item in feed.slices() if isinstance(item, BarSlice)]
    assert feed.slicer.accepted == feed.n_rows
    assert sum(bool(slice_.suspect) for slice_ in slices) == 1
    assert slices[-1].bars[CLOSE, 0] / slices[0].bars[CLOSE, 0] == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz", "bars.parquet"])
def test_written_files_give_the_same_slices_and_bytes(tmp_path: Path, name: str) -> None:
    """What `astra data synth` writes is what the feed plays, faults included; the bytes repeat."""
    faults = Faults(duplicate_frac=0.01, nan_frac=0.01, fat_finger_frac=0.01, gap_frac=0.01)
    options = SimulatedOptions(sessions=1, faults=faults)
    feed = simulated_bars(options, SYMBOLS, "XNYS")
    path = tmp_path / name
    assert write(options, path, symbols=SYMBOLS) == feed.n_rows
    read = file_bars(FileOptions(path=path), SYMBOLS, "XNYS")
    played = [item.bars.tobytes() for item in feed.slices() if isinstance(item, BarSlice)]
    assert [item.bars.tobytes() for item in read.slices() if isinstance(item, BarSlice)] == played
    assert read.slicer.rejected == feed.slicer.rejected
    before = fingerprint(path)
    write(options, path, symbols=SYMBOLS)
    assert fingerprint(path) == before


def test_the_span_of_a_run_cuts_the_tape() -> None:
    """--from and --to mean the same for simulated bars as for files."""
    options = SimulatedOptions(sessions=2)
    second = int(sessions_of(options, "XNYS").open_ns[1])
    plugin = REGISTRY["simulated"]
    feed = plugin.build(options, FeedContext(SYMBOLS, "XNYS", from_ns=second, to_ns=second + 120_000_000_000))
    assert isinstance(feed, RecordedBars)
    assert len(list(feed.slices())) == 2
    assert feed.n_rows == 8


def test_a_short_last_bar_trades_as_long_as_it_is() -> None:
    """Bars of 60 minutes end with one of 30: the volume of 60 would promise twice the liquidity."""
    options = SimulatedOptions(sessions=40)
    hours = simulate(options, sessions_of(options, "XNYS", 60), SYMBOLS).values
    traded_usd = (hours[3] * hours[4]).reshape(40, 7, -1).sum(axis=(0, 2))
    halves = simulate(options, sessions_of(options, "XNYS", 30), SYMBOLS).values
    last_usd = (halves[3] * halves[4]).reshape(40, 13, -1).sum(axis=(0, 2))[-1]
    assert traded_usd[-1] == pytest.approx(last_usd, rel=0.1)


def test_odd_universes_and_named_pairs() -> None:
    """A single name is simulated alone; the first session is on or after the start."""
    options = SimulatedOptions(sessions=1, start=dt.date(2026, 1, 3))
    sessions = sessions_of(options, "XNYS")
    assert sessions.day.tolist() == [20_458]  # Monday 2026-01-05
    assert simulate(options, sessions, ("A", "B", "C")).names == ("A", "B", "C")
    named = SimulatedOptions(sessions=1, pairs=("V/MA",))
    assert simulate(named, sessions).names == ("V", "MA")
    with pytest.raises(DataError, match="not simulated: KO"):
        simulated_bars(named, ("V", "KO"), "XNYS")
    with pytest.raises(DataError, match="each symbol once"):
        simulate(SimulatedOptions(pairs=("V/MA", "V/KO")), sessions)
    with pytest.raises(DataError, match="no known format"):
        write(named, Path("bars.xlsx"))
