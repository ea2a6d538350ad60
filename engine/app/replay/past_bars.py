"""The bars that a run saw: of a replay those of its feed, of a live run those in its journal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from engine.app.assembly import timetable
from engine.app.config.load import Config, load
from engine.app.config.tables import FeedTable
from engine.app.replay.journal_tools import check_config, rebuild
from engine.app.replay.run_files import read_past_run
from engine.app.source import open_source
from engine.clock import wall_ns
from engine.disk import OS_DISK
from engine.errors import DataError, InvariantError
from engine.events import Bar, Record, Tick
from engine.journal import JournalReader
from engine.journal_format import segments
from feeds.files import FileOptions

_JOURNAL: Final = "journal "


class PastBars(Protocol):
    """Bars of a run, judged as it judged them."""

    @property
    def first_day(self) -> int:
        """Day of the first session, since 1970-01-01: what is known before it is history."""
        ...

    def records(self) -> AsyncIterator[Record]:
        """Return slices and verdicts in order, from the beginning."""
        ...


class JournalBars:
    """The bars in the journal of a live run.

    Parameters
    ----------
    root : Path
        Folder that holds ``journal``.
    config : Config
        Under which it was written.

    Raises
    ------
    JournalError
        J011 for another configuration, J014 if the journal does not go back to its beginning.
    """

    def __init__(self, root: Path, config: Config) -> None:
        self._config, self._reader = config, JournalReader(root / "journal")
        check_config(self._reader.identity, config, root)
        self._until_ns = wall_ns()
        self.first_day = timetable(config, self._reader.identity.origin_day, self._until_ns).first_day

    async def records(self) -> AsyncIterator[Record]:
        """Yield slices and verdicts, minute by minute as each was over."""
        intake = rebuild(self._config, self._reader.identity, self._until_ns).bus.intake
        if intake is None:
            raise InvariantError("an engine was built without an intake for the bars of a live run")
        for _, record in self._reader:
            if isinstance(record, Bar):
                intake.offer(record)
            elif isinstance(record, Tick):
                intake.advance(record.ts_ns)
            while closed := intake.close_minute():
                for item in closed:
                    yield item


def past_bars(folder: Path, data: Path | None) -> tuple[Config, PastBars]:
    """Return the configuration of a finished run, and its bars.

    Parameters
    ----------
    folder : Path
        Run folder of a replay, or one that was made of the journal of a live run.
    data : Path or None
        Where the bars are now: recorded ones, or of a live run its state folder too. By default they are
        looked for where the configuration says: the feed, and for a live run ``[daemon] state_dir``.

    Raises
    ------
    DataError
        D011 if it is no run folder, D012 if the bars have changed since, or are not there any more.
    JournalError
        If the journal of a live run cannot be read.
    """
    epoch = _epoch_of(folder)
    if not epoch:
        config = read_past_run(folder, data).config
        return config, open_source(config)
    config = load(folder / "config.toml")
    root = config.daemon.state_dir if data is None else data
    for place in (root, root / "archive" / epoch):
        found = segments(place / "journal", OS_DISK) if (place / "journal").is_dir() else []
        if found and found[-1].header.identity.epoch == epoch:
            return config, JournalBars(place, config)
    if data is not None and not (data / "journal").is_dir():
        feed = FeedTable.model_construct(kind="files", options=FileOptions(path=data))
        recorded = config.model_copy(update={"feed": feed})
        return recorded, open_source(recorded)
    hint = "Name the state folder of the live run with --data, or a file of the bars that it saw."
    what = f"there is no journal of the live run {epoch} in {root}, and with it none of its bars"
    raise DataError("D012", what, str(folder), hint)


def _epoch_of(folder: Path) -> str:
    """Return the epoch of the journal that a run folder was made of; empty for any other folder."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        reason, path = run["exit_reason"], str(run["data"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return path.removeprefix(_JOURNAL) if reason == "exported" and path.startswith(_JOURNAL) else ""
