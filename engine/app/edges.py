"""What the edge of a live run adds to the log: bars, the ticks that close minutes, and reasons to halt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from engine.app.inbox import Inbox
from engine.clock import JUMP_MAX_S, Clock
from engine.events import MINUTE_NS, SECOND_NS, Bar, HaltRequested, Nanos, Tick, TradingState
from engine.ports import Arrival, LiveFeed
from engine.sessions import Sessions
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

    Parameters
    ----------
    grace_s : float
        How long after its end a minute waits for missing bars; a minute at least.
    counts : callable
        Whether a bar could be accepted: what is refused whatever comes must not move time.
    newest_ns : int
        Close of the newest bar in the journal.
    """

    def __init__(self, grace_s: float, counts: Callable[[Bar], bool], newest_ns: Nanos = 0) -> None:
        # A bar of a minute does not show that this minute is over: others of it may follow.
        self._grace_ns = max(round(grace_s * SECOND_NS), MINUTE_NS)
        self._counts = counts
        self._told_ns = self._over_ns(newest_ns)

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
            if isinstance(arrival.record, Bar) and self._counts(arrival.record):
                over_ns = self._over_ns(arrival.record.ts_close_ns)
                if over_ns > self._told_ns:
                    self._told_ns = over_ns
                    timed.append(Arrival(Tick(over_ns)))
        return timed


async def tick(clock: Clock, sessions: Sessions, inbox: Inbox, grace_s: float) -> None:
    """Close every session minute, ``grace_s`` after its end by the clock."""
    grace_ns = round(grace_s * SECOND_NS)
    ordinal = sessions.ordinal_at(clock.now_ns() - grace_ns)
    while ordinal + 1 < sessions.n_minutes:
        due_ns = int(sessions.stamps(ordinal + 1, ordinal + 2)[0][0]) + grace_ns
        # In slices, so that a clock that is set back or forth is noticed.
        while (left_ns := due_ns - clock.trusted_ns()) > 0:  # noqa: ASYNC110 - a clock tells no events
            await asyncio.sleep(min(left_ns / SECOND_NS / clock.speed, _LOOK_EVERY_S))
        # After an interruption one tick stands for all the minutes that passed.
        ordinal = max(ordinal + 1, sessions.ordinal_at(clock.trusted_ns() - grace_ns))
        await inbox.put([Arrival(Tick(int(sessions.stamps(ordinal, ordinal + 1)[0][0])))])
    inbox.urge(Arrival(HaltRequested(clock.now_ns(), "CALENDAR_END", "restart to load later sessions")))


class Lookout:
    """Looks every second at what the core cannot see: a clock that jumps, a feed or sinks that are silent.

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
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._status = status
        self._inbox = inbox
        self._feed_silence_max_min = feed_silence_max_min
        self._sinks_silent_s = sinks_silent_s
        self._sinks_silence_max_s = sinks_silence_max_s
        self._is_outbox_full = is_outbox_full
        self._began_ns = clock.now_ns()
        self._told: set[str] = set()

    async def look_forever(self, keeps_time: bool) -> None:
        """Look; ``keeps_time`` is false where the feed's own time counts, which then cannot be silent."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._look(keeps_time)

    def _look(self, keeps_time: bool) -> None:
        jump_s = self._clock.jump_s()
        if abs(jump_s) > JUMP_MAX_S:
            self.halt("CLOCK_JUMP", f"the wall clock moved by {jump_s:+.1f} s")
        silent_min = self.silent_min() if keeps_time else 0
        self._while(
            silent_min >= self._feed_silence_max_min,
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

    def silent_min(self) -> int:
        """Session minutes since the last bar, or since the start."""
        heard_ns: Nanos = max(self._status.last_bar_ns, self._began_ns)
        now_ns = self._clock.now_ns()
        return max(0, self._sessions.ordinal_at(now_ns) - self._sessions.ordinal_at(heard_ns))

    def _while(self, is_so: bool, reason: str, detail: str) -> None:
        """Halt for a reason that lasts; again, should somebody resume while it still does."""
        is_halted = self._status.trading_state is TradingState.HALTED
        if not is_so or is_halted:
            self._told.discard(reason)
        elif reason not in self._told:
            self._told.add(reason)
            self.halt(reason, detail)

    def halt(self, reason: str, detail: str) -> None:
        """Ask the core to halt."""
        self._inbox.urge(Arrival(HaltRequested(self._clock.now_ns(), reason, detail)))
