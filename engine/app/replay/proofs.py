"""Proofs about runs: that one repeats, that its folder holds what it gave, that no signal looks ahead."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from engine.app.build import installed_version
from engine.app.config.load import Config
from engine.app.config.tables import AllocatorTable, BookTable
from engine.app.replay import run_files
from engine.app.replay.run import replay
from engine.app.replay.run_contents import changed_config, changes, further_files, version_in
from engine.app.source import Source, open_source
from engine.app.wiring import build_loop, read_history
from engine.clock import instant
from engine.commands import Keys
from engine.errors import DataError
from engine.events import BarSlice, Event, Record, Signal
from engine.journal import JournalReader

_LOOKAHEAD_CUTS: Final = 6


def verify(folder: Path, data: Path | None) -> dict[str, Any]:
    """Replay a run folder again, in a scratch folder; compare the digests, and what the files hold.

    A journal that the run kept is replayed too: its recorded answers must give every event again.

    Parameters
    ----------
    folder : Path
        A run folder.
    data : Path or None
        Where the bars are now, if they have moved.

    Returns
    -------
    dict
        ``digest``, ``expected_digest``; ``signals`` and ``fills``, since a digest over none proves little;
        ``changed``, what the folder holds and the run does not give, as text; with a journal also
        ``journal_digest`` and ``expected_journal_digest``. ``is_equal`` covers all of it. ``further_files``,
        what lies there and is of no run, speaks neither for it nor against it.

    Raises
    ------
    AstraError
        If the folder is incomplete, or the bars are not those of the run.
    """
    from engine.app.terminal import Silent

    past = run_files.read_past_run(folder, data)
    with tempfile.TemporaryDirectory(prefix="astra-verify-") as scratch:
        again = Path(scratch) / "again"
        argv = ["verify", str(folder)]
        result = replay(past.config, out=again, commands=past.commands, argv=argv, listener=Silent())
        digest = result.summary["digest"]
        changed = changes(folder, again) if digest == past.digest else changed_config(folder)
    answer = {
        "digest": digest,
        "expected_digest": past.digest,
        "signals": result.summary["signals"],
        "fills": result.summary["fills"],
        "changed": changed,
        "further_files": further_files(folder),
        "is_equal": digest == past.digest and not changed,
    }
    if digest != past.digest and version_in(folder) != installed_version():
        answer["hint"] = (
            f"the run is one of version {version_in(folder)}, and this is {installed_version()}: a later "
            "version may decide otherwise; repeat it with its own"
        )
    elif past.commands is not None and digest != past.digest:
        answer["hint"] = "the run obeyed operator commands: are the keys in the environment those it had?"
    if past.journal_digest is not None:
        repeated = _journal_digest(past, folder / "journal")
        answer |= {"journal_digest": repeated, "expected_journal_digest": past.journal_digest}
        answer["is_equal"] = answer["is_equal"] and repeated == past.journal_digest
    return answer


def _journal_digest(past: run_files.PastRun, folder: Path) -> str:
    """Replay a journal: no bar is taken from the tape, and nothing is solved again."""
    config = past.config
    history = None
    if config.risk.history is not None:  # only then does it matter on which day the tape begins
        history = read_history(config.risk.history, config.symbols, open_source(config).first_day)
    loop = build_loop(config, history, Keys(), lambda *_: None)
    return loop.replay_journal(JournalReader(folder))


def lookahead(config: Config) -> dict[str, Any]:
    """Run the strategies on truncated tapes: a signal of the past that changes has seen the future.

    Returns
    -------
    dict
        ``is_equal`` (None when nothing could be compared), ``signals`` of the whole tape, ``compared`` (how
        many of them lie before the last cut), ``cuts`` (instants of truncation), ``changed`` (the first
        signals that differ, as text; empty when there is no look-ahead).
    """
    source = open_source(config)
    history = read_history(config.risk.history, config.symbols, source.first_day)
    stamps: list[int] = []
    whole = _signals(config, source, history, stamps)
    if not stamps:
        raise DataError("D001", "the tape has no slice", source.name)
    cuts = [stamps[len(stamps) * k // (_LOOKAHEAD_CUTS + 1)] for k in range(1, _LOOKAHEAD_CUTS + 1)]
    changed: list[str] = []
    for cut_ns in cuts:
        past = [signal for signal in whole if signal.ts_ns <= cut_ns]
        seen = _signals(config, open_source(config, last_ns=cut_ns), history, [])
        if seen != past:
            odd = [signal for signal in (*past, *seen) if (signal in past) != (signal in seen)]
            changed.append(f"cut at {instant(cut_ns)}: {odd[0] if odd else 'order differs'}")
    compared = sum(signal.ts_ns <= cuts[-1] for signal in whole)
    return {
        "is_equal": not changed if compared or changed else None,
        "signals": len(whole),
        "compared": compared,
        "cuts": [instant(cut_ns) for cut_ns in cuts],
        "changed": changed,
    }


def _signals(config: Config, source: Source, history: Any, stamps: list[int]) -> list[Signal]:
    """Run strategies alone over a tape."""
    found: list[Signal] = []

    def note(_seq: int, record: Record, events: list[Event]) -> None:
        if type(record) is BarSlice:
            stamps.append(record.ts_close_ns)
        found.extend(event for event in events if type(event) is Signal)

    signals_only = config.model_copy(
        update={"allocator": AllocatorTable(kind="none"), "book": BookTable(equity_usd=1.0)}
    )
    loop = build_loop(signals_only, history, Keys(), note)
    asyncio.run(loop.run(source.records()))
    return found
