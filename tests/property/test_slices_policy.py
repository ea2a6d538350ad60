"""One policy: a live bar, a column of bars and a file are judged alike, and as a plain program would."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.events import Bar, BarSlice
from engine.slices import Slicer
from engine.state import from_bytes, to_bytes
from feeds import files
from feeds.simulated import write_columns
from tests.support.arbitrary_bars import (
    SYMBOLS,
    at,
    flat_bar,
    plain_policy,
    small_sessions,
    tapes,
    verdicts_and_slices,
)
from tests.support.columns import columns_of

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def new_slicer() -> Slicer:
    # No sigmas: the oracle keeps no variance (the widening has its own hand-computed test).
    return Slicer(SYMBOLS, small_sessions(), collar_sigmas=0.0)


def one_by_one(slicer: Slicer, bars: list[Bar]) -> list[object]:
    out: list[object] = []
    for bar in bars:
        out += slicer.offer(bar)
    return out + slicer.finish()


def is_accounted(slicer: Slicer, n_bars: int) -> bool:
    rejected = sum(slicer.rejected.values())
    return slicer.received == n_bars == slicer.accepted + rejected + len(slicer.pending)


@QUICK
@given(tapes())
def test_the_kernel_follows_the_plain_policy(bars: list[Bar]) -> None:
    """The kernel is the policy of docs/maths/bars.md, and nothing is lost."""
    slicer = new_slicer()
    assert verdicts_and_slices(one_by_one(slicer, bars)) == verdicts_and_slices(plain_policy(bars))
    assert is_accounted(slicer, len(bars))


@QUICK
@given(tapes(), st.lists(st.integers(0, 80), max_size=6))
def test_columns_are_judged_like_single_bars(bars: list[Bar], cuts: list[int]) -> None:
    """However a tape is cut into batches, columns give the slices of single bars to the last bit."""
    slicer = new_slicer()
    edges = [0, *sorted(min(cut, len(bars)) for cut in cuts), len(bars)]
    out: list[object] = []
    for start, stop in pairwise(edges):
        out += slicer.offer_columns(columns_of(bars[start:stop]))
    out += slicer.finish()
    assert verdicts_and_slices(out) == verdicts_and_slices(one_by_one(new_slicer(), bars))
    assert is_accounted(slicer, len(bars))


@QUICK
@given(tapes(), st.integers(0, 60))
def test_a_restored_slicer_goes_on_to_the_last_bit(bars: list[Bar], cut: int) -> None:
    """A kill in mid-minute loses nothing: snapshot plus the rest equals the whole."""
    first, second, whole = new_slicer(), new_slicer(), new_slicer()
    out: list[object] = []
    for bar in bars[:cut]:
        out += first.offer(bar)
    second.restore(from_bytes(to_bytes(first.state())))
    out += one_by_one(second, bars[cut:])
    assert verdicts_and_slices(out) == verdicts_and_slices(one_by_one(whole, bars))
    assert to_bytes(second.state()) == to_bytes(whole.state())


@settings(parent=QUICK, max_examples=40)
@given(bars=tapes().filter(len), batch_rows=st.integers(1, 20))
def test_a_file_is_judged_like_single_bars(
    bars: list[Bar], batch_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole columnar path, Parquet and batches included, equals the slicer fed bar by bar."""
    monkeypatch.setattr(files, "sessions_for", lambda *_: small_sessions())
    monkeypatch.setattr(files, "_UNSORTED_FRAC", 2.0)
    path = tmp_path / "bars.parquet"
    write_columns(columns_of(bars), path)
    feed = files.file_bars(
        files.FileOptions(path=path, collar_sigmas=0.0), SYMBOLS, "24/7", batch_rows=batch_rows
    )
    assert verdicts_and_slices(list(feed.slices())) == verdicts_and_slices(one_by_one(new_slicer(), bars))
    assert feed.received == feed.n_rows == len(bars)


@QUICK
@given(st.permutations([(m, s) for m in range(1, 5) for s in range(3)]))
def test_order_within_a_minute_does_not_matter(cells: list[tuple[int, int]]) -> None:
    """Rows of one minute may arrive in any order: the slices have the same bytes."""
    prices = np.array([[100.0, 50.0, 20.0], [101.0, 65.0, 20.1], [99.0, 64.0, 20.0], [100.0, 66.0, 30.0]])
    shuffled = sorted(cells, key=lambda cell: cell[0])

    def run(order: list[tuple[int, int]]) -> list[bytes]:
        bars = [flat_bar(at(m), SYMBOLS[s], float(prices[m - 1, s])) for m, s in order]
        return [item.bars.tobytes() for item in one_by_one(new_slicer(), bars) if isinstance(item, BarSlice)]

    assert run(shuffled) == run(sorted(cells))
