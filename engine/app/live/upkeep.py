"""In the background of a live run: snapshots are checked, the run folder is renewed, old segments go.

Checking and renewing read the journal in a process of their own at a low priority, one at a time, and
nothing is deleted while one reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog

from engine.app.assembly import Assembly
from engine.app.config.load import Config
from engine.app.config.resolved import resolved_toml
from engine.app.live.child import Ended, astra
from engine.app.live.daemon import Daemon
from engine.app.live.state_folder import StateFolder
from engine.app.replay import run_files
from engine.errors import AstraError
from engine.events import DAY_NS
from engine.recovery import compact
from engine.vocabulary import STATE_MISMATCH

#: Kind of the alert that a check could not be done.
UNVERIFIED: Final = "unverified"
#: What takes longer is given up, and tried again when its time comes.
_READ_MAX_S: Final = 900.0
#: The same while somebody waits for the engine to end.
_LAST_EXPORT_S: Final = 20.0
_RETAIN_EVERY_S: Final = 3600.0
_LOOK_EVERY_S: Final = 1.0
_ERROR_CHARS: Final = 500

_log = structlog.get_logger("astra.upkeep")


class Upkeep:
    """Looks after what a live run leaves on disk.

    Parameters
    ----------
    config : Config
    state : StateFolder
        Gets a copy of the configuration, for those who read the journal.
    parts : Assembly
    daemon : Daemon
    halt : callable
        Halts with ``(reason, detail)``, so that it lasts.
    warn : callable
        Warns people, with ``(kind, text)``.

    Attributes
    ----------
    verified_seq : int
        Record of the newest snapshot that was shown to follow from an earlier one, 0 for none.
    """

    def __init__(
        self,
        config: Config,
        state: StateFolder,
        parts: Assembly,
        daemon: Daemon,
        halt: Callable[[str, str], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self.verified_seq = 0
        self._warn = warn
        self._has_warned = False
        self._config = config
        self._state = state
        self._parts = parts
        self._daemon = daemon
        self._halt = halt
        self._reading = asyncio.Lock()
        self._base_seq = _base_seq(parts)
        self._exported_seq = 0
        parts.snapshots.held = frozenset({self._base_seq})
        state.config.write_text(resolved_toml(config), encoding="utf-8")

    @property
    def run_folder(self) -> Path:
        """The run folder of this epoch."""
        return self._config.output.dir / f"{self._parts.identity.epoch}-{self._config.operator.instance}"

    async def run(self) -> None:
        """Do what is due until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._verify_forever(), name="verify")
            group.create_task(self._retain_forever(), name="retain")
            if self._config.output.live:
                group.create_task(self._export_forever(), name="export")

    async def finish(self) -> None:
        """Renew the run folder for the last time, if that can be done soon; after ``run`` was cancelled."""
        if self._config.output.live and self._daemon.durable_seq > self._exported_seq:
            await self._export(_LAST_EXPORT_S, is_awaited=True)

    # ---------------------------------------------------------------------------------------- snapshots

    async def _verify_forever(self) -> None:
        """Hold each newest snapshot against the last one that was: no record is left out between them."""
        is_good, store = True, self._parts.snapshots
        while is_good:
            await asyncio.sleep(self._config.daemon.verify_every_s)
            if (until_seq := store.last_seq) > self._base_seq:
                store.held = frozenset({self._base_seq, until_seq})
                is_good = await self._verify(until_seq)
                # One that cannot be checked is passed over: what is to be read must not grow without end.
                self._base_seq = until_seq
                store.held = frozenset({until_seq})

    async def _verify(self, until_seq: int) -> bool:
        """Replay up to a snapshot elsewhere and compare; return whether the state can still be trusted."""
        interval = ("--after", str(self._base_seq), "--until", str(until_seq))
        config = ("--config", str(self._state.config))
        ended = await self._read("verify", str(self._state.root), *config, *interval, "--json")
        fault = _fault_of(ended) if ended is not None else None
        if fault is None and not self._has_warned:  # once, until a check succeeds
            self._warn(UNVERIFIED, f"the state at record {until_seq} could not be checked: the log says why")
        self._has_warned = fault is None
        if fault is None:
            return True
        if fault == "":
            self.verified_seq = until_seq
            _log.info("snapshot verified", seq=until_seq, after_seq=self._base_seq)
            return True
        self._halt(STATE_MISMATCH, f"the state at record {until_seq} {fault}: start again to compute it anew")
        for name in await asyncio.to_thread(self._parts.snapshots.distrust, self._base_seq):
            _log.critical("snapshot set aside", name=name)
        return False

    # --------------------------------------------------------------------------------------- run folder

    async def _export_forever(self) -> None:
        """Renew the run folder whenever a session has ended."""
        ended = self._sessions_ended()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if (now_ended := self._sessions_ended()) > ended:
                ended = now_ended
                await self._export()

    def _sessions_ended(self) -> int:
        """Count the sessions whose last minute is closed."""
        last_ns = self._parts.loop.status.ts_ns
        return int(np.searchsorted(self._parts.sessions.close_ns, last_ns, side="right"))

    async def _export(self, seconds: float = _READ_MAX_S, *, is_awaited: bool = False) -> None:
        seq = self._daemon.durable_seq
        where = ("--out", str(self.run_folder), "--replace")
        config = ("--config", str(self._state.config))
        ended = await self._read(
            "export", str(self._state.root), *config, *where, seconds=seconds, is_awaited=is_awaited
        )
        if ended is not None and ended.status == 0:
            self._exported_seq = seq
            run_files.point_latest(self.run_folder)
            _log.info("run folder renewed", folder=str(self.run_folder), seq=seq)
        elif ended is not None:
            _log.warning("the run folder is not renewed", error=_said(ended))

    # -------------------------------------------------------------------------------------- both, and old

    async def _read(
        self, verb: str, *arguments: str, seconds: float = _READ_MAX_S, is_awaited: bool = False
    ) -> Ended | None:
        """Run a verb of ``astra journal`` elsewhere; None, and said, if it cannot be or takes too long."""
        async with self._reading:
            try:
                return await astra("journal", verb, *arguments, seconds=seconds, is_awaited=is_awaited)
            except (OSError, TimeoutError) as error:
                _log.warning(f"journal {verb} has not ended", error=str(error) or f"after {seconds:g} s")
        return None

    async def _retain_forever(self) -> None:
        keep_days = self._config.daemon.keep_days
        while keep_days:
            before_ns = self._parts.clock.now_ns() - keep_days * DAY_NS
            try:
                async with self._reading:
                    deleted = await asyncio.to_thread(compact, self._state.root, before_ns)
                for name in deleted:
                    _log.info("segment deleted", name=name)
            except (OSError, AstraError) as error:  # what is kept for longer does no harm
                _log.warning("segments are not deleted", error=str(error))
            await asyncio.sleep(_RETAIN_EVERY_S)


def _base_seq(parts: Assembly) -> int:
    """Return the oldest snapshot that a later one can be held against: replayed by this very build."""
    base_seq = parts.recovered.snapshot_seq
    for snapshot in parts.snapshots.newest_good():
        if snapshot.seq <= parts.recovered.snapshot_seq:
            base_seq = snapshot.seq
            if snapshot.identity.build != parts.identity.build:
                break
    return base_seq


def _fault_of(ended: Ended) -> str | None:
    """Return the fault that a check found, empty for none; None, and said, if it could not check."""
    try:
        (finding,) = msgspec.json.decode(ended.out, type=dict[str, Any])["findings"]
        return str(finding["fault"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        _log.warning("a snapshot could not be checked", error=_said(ended))
        return None


def _said(ended: Ended) -> str:
    return ended.err.decode(errors="replace").strip()[:_ERROR_CHARS] or f"status {ended.status}"
