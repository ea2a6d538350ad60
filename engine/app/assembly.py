"""From a configuration and a state folder to a recovered engine, ready for its next record."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from engine.app.build import build_text
from engine.app.config.load import Config
from engine.app.config.plugins import is_recorded
from engine.app.config.resolved import config_hash
from engine.app.live.epochs import end_epoch
from engine.app.live.state_folder import StateFolder
from engine.app.source import fingerprint_of, further_files, open_source, span_of
from engine.app.wiring import build_loop, read_history
from engine.clock import Clock, wall_ns
from engine.commands import Keys
from engine.errors import DataError
from engine.events import DAY_NS, MINUTE_NS, Event, Nanos, Record
from engine.journal import JournalWriter
from engine.journal_format import Identity
from engine.loop import Loop
from engine.ports import Effect, Feed
from engine.recovery import Recovered, identity_of, recover
from engine.sessions import Sessions
from engine.snapshots import SnapshotStore
from feeds.calendars import sessions_for

#: How far the sessions of a live run reach; a restart within that time loads later ones.
_AHEAD_DAYS: Final = (365, 90, 30, 5)
#: Sessions before the start, for bars that come late; a recorded stream may be of any time.
_BEFORE_DAYS: Final = 10
_RECORDED_DAYS: Final = 20 * 365


class Assembly(msgspec.Struct):
    """A recovered engine and what it was told about its past.

    Parameters
    ----------
    loop, journal, snapshots, sessions, clock
        Its parts.
    identity : Identity
        Of the epoch.
    tape : Feed or None
        The file or simulation that plays the part of a live feed; None for a feed that is live.
    recovered : Recovered
        What was found on disk.
    effects : list of Effect
        Of the records after the snapshot: they may have been delivered, or not.
    """

    loop: Loop
    journal: JournalWriter
    snapshots: SnapshotStore
    sessions: Sessions
    clock: Clock
    identity: Identity
    tape: Feed | None
    recovered: Recovered
    effects: list[Effect]


class Timetable(msgspec.Struct, frozen=True):
    """Which minutes a live run has, and what was known before them.

    Parameters
    ----------
    tape : Feed or None
        The file or simulation that plays the part of a live feed; None for a feed that is live.
    sessions : Sessions
        From the first day of the epoch: ordinals of minutes count from there.
    first_day : int
        Daily closes before it are history, days since 1970-01-01.
    origin_day : int
        What the journal must say for the same timetable to be made again.
    """

    tape: Feed | None
    sessions: Sessions
    first_day: int
    origin_day: int


def timetable(config: Config, origin_day: int | None, until_ns: Nanos) -> Timetable:
    """Return the timetable of an epoch.

    Parameters
    ----------
    config : Config
    origin_day : int or None
        First day of the epoch's sessions; None for an epoch that begins now.
    until_ns : int
        Sessions reach a year beyond it.
    """
    if is_recorded(config.feed.kind):
        source = open_source(config)
        return Timetable(source.feed, source.feed.sessions, source.first_day, source.first_day)
    days_before = _RECORDED_DAYS if config.daemon.clock == "bars" else _BEFORE_DAYS
    until_day = until_ns // DAY_NS
    origin_day = until_day - days_before if origin_day is None else origin_day
    sessions = _sessions(config.universe.calendar, origin_day, until_day, config.universe.bar_min)
    # A recorded stream is of another time than this: only the configuration can say what was before it.
    first_ns, _ = span_of(config)
    first_day = origin_day + days_before if first_ns is None else first_ns // DAY_NS
    return Timetable(None, sessions, first_day, origin_day)


def _sessions(calendar: str, first_day: int, until_day: int, bar_min: int) -> Sessions:
    """Load sessions ahead; some exchanges publish theirs for less than a year."""
    for ahead_days in _AHEAD_DAYS[:-1]:
        try:
            return sessions_for(calendar, first_day, until_day + ahead_days, bar_min)
        except DataError:
            continue
    return sessions_for(calendar, first_day, until_day + _AHEAD_DAYS[-1], bar_min)


def assemble(
    config: Config,
    state: StateFolder,
    keys: Keys,
    *,
    speed: float,
    lead_min: int,
    new_epoch: bool,
    accept_version: bool,
) -> Assembly:
    """Build an engine and bring it to where its journal ends.

    Parameters
    ----------
    config : Config
    state : StateFolder
        Held by this process.
    keys : Keys
        Verify operator commands.
    speed : float
        Of a tape; a live feed keeps real time.
    lead_min : int
        Minutes of a tape that are sent at once.
    new_epoch : bool
        Put an existing journal aside first.
    accept_version : bool
        Go on with a journal that another build wrote.

    Raises
    ------
    AstraError
        For bars, history or a journal that cannot be used.
    """
    now_ns = wall_ns()
    if new_epoch:
        end_epoch(state, now_ns)
    known = identity_of(state.root)
    times = timetable(config, known.origin_day if known is not None else None, now_ns)
    history = read_history(config.risk.history, config.symbols, times.first_day)
    identity = Identity(
        hash_of(config),
        build_text(),
        known.epoch if known is not None else state.new_epoch(now_ns),
        times.origin_day,
    )
    effects: list[Effect] = []

    def keep(seq: int, _record: Record, events: list[Event]) -> None:
        effects.extend(Effect(seq, index, event) for index, event in enumerate(events))

    loop = build_loop(config, history, keys, keep, sessions=times.sessions)
    recovered = recover(state.root, loop, identity, is_version_accepted=accept_version)
    journal = JournalWriter(
        state.journal,
        identity,
        segment_bytes=int(config.daemon.segment_mb * (1 << 20)),
        continue_from=recovered.tail,
    )
    loop.journal = journal
    return Assembly(
        loop,
        journal,
        SnapshotStore(state.snapshots, identity),
        times.sessions,
        _clock(times.tape, loop, speed, lead_min),
        identity,
        times.tape,
        recovered,
        effects,
    )


def _clock(tape: Feed | None, loop: Loop, speed: float, lead_min: int) -> Clock:
    """Play a tape from where it was left, as if that were now."""
    if tape is None:
        return Clock()
    start_ns = max(tape.first_ns + (lead_min - 1) * MINUTE_NS, loop.status.ts_ns)
    return Clock(start_ns, speed)


def hash_of(config: Config) -> str:
    """Hash the configuration, the files it names, and the tape: they decide every later bit."""
    digest = hashlib.sha256(f"{config_hash(config)} {config.daemon.clock}".encode())
    if is_recorded(config.feed.kind):
        digest.update(fingerprint_of(config).encode())
    history = [] if config.risk.history is None else [config.risk.history]
    for path in (*history, *further_files(config)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
