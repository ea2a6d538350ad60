"""What the edge of a live run adds to the log: bars, the ticks that close minutes, and reasons to halt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.app.live.inbox import Inbox
from engine.app.live.losses import LOSSES
from engine.clock import JUMP_MAX_S, Clock, stopwatch_s
from engine.events import MINUTE_NS, SECOND_NS, Alert, Bar, HaltRequested, Nanos, Tick, TradingState
from engine.intake import is_too_far
from engine.ports import Arrival, LiveFeed
from engine.sessions import Sessions
from engine.slices import Slicer
from engine.status import Status

_LOOK_EVERY_S: Final = 1.0


async def receive(
    feed: LiveFeed,
    inbox: Inbox,
    after: str,
    bars_clock: BarsClock | None,
    on_bar: Callable[[Nanos], None] | None,
) -> None:
    """Hand what a feed yields to the inbox until it ends; with a ``bars_clock``, its ticks too.

    ``on_bar`` is told the close of the newest bar of each batch.
    """
    if bars_clock is not None:
        await inbox.put(bars_clock.first())
    async for arrivals in feed.arrivals(after):
        await inbox.put(arrivals if bars_clock is None else bars_clock.timed(arrivals))
        if on_bar is not None and isinstance(newest := arrivals[-1].record, Bar):
            on_bar(newest.ts_close_ns)


class BarsClock:
    """Time as the bars tell it: a minute is over when a bar shows that its grace has passed.

    For recorded streams that are sent again, at any pace: what is late does not depend on the sender's speed.

    A bar that the core refuses whatever comes moves nothing. One too far ahead is refused, too, and may be a
    wild stamp or the end of a long silence: the next bar of a later minute, as far ahead, tells.

    Parameters
    ----------
    grace_s : float
        How long after its end a minute waits for missing bars; a minute at least.
    slicer : Slicer
        Of the symbols and sessions of the run; it judges nothing here.
    newest_ns : int
        Close of the newest bar in the journal.
    """

    def __init__(self, grace_s: float, slicer: Slicer, newest_ns: Nanos = 0) -> None:
        # A bar of a minute does not show that this minute is over: others of it may follow.
        self._grace_ns = max(round(grace_s * SECOND_NS), MINUTE_NS)
        self._slicer = slicer
        self._told_ns = self._over_ns(newest_ns)
        self._far_ns: Nanos = 0

    def first(self) -> list[Arrival]:
        """Tell again how far time had come: a process may have ended between a bar and its watermark."""
        return [Arrival(Tick(self._told_ns))] if self._told_ns > 0 else []

    def _over_ns(self, newest_ns: Nanos) -> Nanos:
        return (newest_ns - self._grace_ns) // MINUTE_NS * MINUTE_NS

    def timed(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Put a watermark behind each bar that moves it: how a source cuts its batches must not matter."""
        timed = []
        for arrival in arrivals:
            timed.append(arrival)
            if isinstance(arrival.record, Bar) and self._moves(arrival.record):
                over_ns = self._over_ns(arrival.record.ts_close_ns)
                if over_ns > self._told_ns:
                    self._told_ns = over_ns
                    timed.append(Arrival(Tick(over_ns)))
        return timed

    def _moves(self, bar: Bar) -> bool:
        if self._slicer.slot_of(bar) is None:
            return False
        ts_ns, sessions = bar.ts_close_ns, self._slicer.sessions
        if self._told_ns <= 0 or not is_too_far(sessions, self._told_ns, ts_ns):
            self._far_ns = 0
            return True
        is_later = 0 < self._far_ns < ts_ns and not is_too_far(sessions, self._far_ns, ts_ns)
        self._far_ns = ts_ns
        return is_later


async def tick(clock: Clock, sessions: Sessions, inbox: Inbox, grace_s: float) -> None:
    """Close every session minute, ``grace_s`` after its end by the clock."""
    grace_ns = round(grace_s * SECOND_NS)
    ordinal = sessions.ordinal_at(clock.now_ns() - grace_ns)
    while ordinal + 1 < sessions.n_bars:
        due_ns = int(sessions.stamps(ordinal + 1, ordinal + 2)[0][0]) + grace_ns
        # In slices, so that a clock that is set back or forth is noticed.
        while (left_ns := due_ns - clock.trusted_ns()) > 0:  # noqa: ASYNC110 - a clock tells no events
            await asyncio.sleep(min(left_ns / SECOND_NS / clock.speed, _LOOK_EVERY_S))
        # After an interruption one tick stands for all the minutes that passed.
        ordinal = max(ordinal + 1, sessions.ordinal_at(clock.trusted_ns() - grace_ns))
        await inbox.put([Arrival(Tick(int(sessions.stamps(ordinal, ordinal + 1)[0][0])))])
    inbox.urge(Arrival(HaltRequested(clock.now_ns(), "CALENDAR_END", "restart to load later sessions")))


class DiskWatch:
    """Measures how long records wait for the disk, from time to time; the hot path takes no note of it.

    Parameters
    ----------
    seqs : callable
        Returns the last record that was stepped, and the last one on disk.
    commit_max_s : float
        A record that waits longer finds the disk hung.
    halt : callable
        Halts with ``(reason, detail)`` although the journal cannot hold the halt now.
    monotonic_s : callable
    """

    def __init__(
        self,
        seqs: Callable[[], tuple[int, int]],
        commit_max_s: float,
        halt: Callable[[str, str], None],
        monotonic_s: Callable[[], float] = stopwatch_s,
    ) -> None:
        self.commit_max_s = commit_max_s
        self.halt = halt
        self._seqs = seqs
        self._monotonic_s = monotonic_s
        self._awaited_seq, self._since_s = 0, monotonic_s()

    def waits_s(self) -> float:
        """Return for how long a record is known to wait for the disk, seconds; 0 when none does."""
        seq, durable_seq = self._seqs()
        now_s = self._monotonic_s()
        if durable_seq >= self._awaited_seq:
            self._awaited_seq, self._since_s = seq, now_s
        return now_s - self._since_s if seq > durable_seq else 0.0


class Lookout:
    """Looks every second at what the core cannot see: a clock that jumps; feed, sinks or disk silent.

    Parameters
    ----------
    clock : Clock
    sessions : Sessions
    status : Status
        Of the loop.
    inbox : Inbox
        Halts are urged there.
    feed_silence_max_min : int
        Session minutes without a bar.
    sinks_silent_s : callable
        How long a required alert has been undelivered, seconds; 0 when none is.
    sinks_silence_max_s : float
    is_outbox_full : callable
        Whether more urgent effects wait than are kept: nobody is listening.
    disk : DiskWatch
    losses : callable
        How often the feed has lost something, by name (``losses_of``): people are told of each.
    """

    def __init__(
        self,
        clock: Clock,
        sessions: Sessions,
        status: Status,
        inbox: Inbox,
        *,
        feed_silence_max_min: int,
        sinks_silent_s: Callable[[], float],
        sinks_silence_max_s: float,
        is_outbox_full: Callable[[], bool],
        disk: DiskWatch,
        losses: Callable[[], Mapping[str, int]],
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._status = status
        self._inbox = inbox
        self._feed_silence_max_min = feed_silence_max_min
        self._sinks_silent_s = sinks_silent_s
        self._sinks_silence_max_s = sinks_silence_max_s
        self._is_outbox_full = is_outbox_full
        self._disk = disk
        self._losses = losses
        self._lost: Mapping[str, int] = {}
        self._began_ns = clock.now_ns()
        self._was_halted = False
        self._told: set[str] = set()

    async def look_forever(self, keeps_time: bool) -> None:
        """Look; ``keeps_time`` is false where the feed's own time counts, which then cannot be silent."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._look(keeps_time)

    def _look(self, keeps_time: bool) -> None:
        # Whoever resumes after a jump has looked at the clock: no lapse of time makes a wrong one right.
        was_halted = self._was_halted
        self._was_halted = self._status.trading_state is TradingState.HALTED
        if was_halted and not self._was_halted:
            self._clock.believe()
        jump_s = self._clock.jump_s()
        if abs(jump_s) > JUMP_MAX_S:
            self.halt("CLOCK_JUMP", f"the wall clock moved by {jump_s:+.1f} s")
        silent_min = self.silent_min() if keeps_time else 0
        self._while(
            silent_min > self._feed_silence_max_min,
            "FEED_SILENT",
            f"no bar for {silent_min} session minutes",
        )
        silent_s = self._sinks_silent_s()
        self._while(
            silent_s >= self._sinks_silence_max_s,
            "SINKS_SILENT",
            f"a required alert is undelivered for {silent_s:.0f} s",
        )
        self._while(self._is_outbox_full(), "OUTBOX_FULL", "too many alerts wait for a sink that is away")
        waits_s = self._disk.waits_s()
        detail = f"a record waits for the disk for {waits_s:.1f} s"
        self._while(waits_s >= self._disk.commit_max_s, "DISK_HUNG", detail, self._disk.halt)
        self._tell_losses()

    def _tell_losses(self) -> None:
        """Tell people what the feed has lost since the last look: trading goes on without it."""
        losses = dict(self._losses())
        for name, count in losses.items():
            if count > self._lost.get(name, 0):
                text = f"the feed has lost input ({name} {count}): {LOSSES[name]}"
                alert = Alert(self._clock.now_ns(), "warning", "input_lost", text)
                self._inbox.urge(Arrival(alert))
        self._lost = losses

    def silent_min(self) -> int:
        """Session minutes since the last bar, or since the start."""
        heard_ns: Nanos = max(self._status.last_bar_ns, self._began_ns)
        return self._sessions.elapsed_min(heard_ns, self._clock.trusted_ns())

    def _while(
        self, is_so: bool, reason: str, detail: str, halt: Callable[[str, str], None] | None = None
    ) -> None:
        """Halt for a reason that lasts; again, should somebody resume while it still does."""
        is_halted = self._status.trading_state is TradingState.HALTED
        if not is_so or is_halted:
            self._told.discard(reason)
        elif reason not in self._told:
            self._told.add(reason)
            (halt or self.halt)(reason, detail)

    def halt(self, reason: str, detail: str) -> None:
        """Ask the core to halt."""
        self._inbox.urge(Arrival(HaltRequested(self._clock.now_ns(), reason, detail)))
