"""What a live run does before its first bar: it takes over what is known of before, and says where it is."""

from __future__ import annotations

import os

import structlog

from engine.app.assembly import Assembly
from engine.app.config.load import Config
from engine.app.live.epochs import inherited
from engine.app.live.inbox import Inbox
from engine.app.live.lasting_halt import LastingHalt
from engine.app.live.state_folder import StateFolder
from engine.app.live.undelivered import told_again
from engine.app.replay.run import Listener
from engine.app.terminal_text import asked, config_option, opening, shown
from engine.commands import Keys
from engine.events import SECOND_NS, HaltRequested, TradingState
from engine.ports import Arrival
from engine.vocabulary import STATE_MISMATCH, STATE_RECOMPUTED

_log = structlog.get_logger("astra.run")


def take_over(state: StateFolder, parts: Assembly, inbox: Inbox, halt: LastingHalt, keeps_time: bool) -> None:
    """Urge what must be known before any bar: halts first, then what earlier epochs have left."""
    now_ns, loop = parts.clock.now_ns(), parts.loop
    raised = halt.take_over()
    desk = loop.bus.desk
    if raised == STATE_MISMATCH or (desk is not None and desk.latch.is_state_wrong):
        detail = "the state was computed anew from the journal; compare the book before you resume"
        inbox.urge(Arrival(HaltRequested(now_ns, STATE_RECOMPUTED, detail)))
    if (nonces := inherited(state, now_ns)) is not None:
        inbox.urge(nonces)
    for alert in told_again(state, now_ns):
        inbox.urge(alert)
    behind_ns = loop.status.ts_ns - now_ns
    if keeps_time and behind_ns > 0:
        detail = f"the wall clock is {behind_ns / SECOND_NS:,.0f} s behind the journal"
        inbox.urge(Arrival(HaltRequested(now_ns, "CLOCK_JUMP", detail)))


def announce(
    config: Config, parts: Assembly, servers: tuple[str, ...], terminal: Listener, keys: Keys
) -> None:
    """Say on the terminal and in the log what runs, and what was found; ``servers`` were started for it."""
    found, tape, status = parts.recovered, parts.tape, parts.loop.status
    instance, epoch = config.operator.instance, parts.identity.epoch
    terminal.on_start(
        config,
        f"{instance}/{epoch}",
        len(config.symbols),
        len(parts.sessions) if tape is not None else 0,
        tape.n_rows if tape is not None else 0,
    )
    _log.info(
        "running",
        instance=instance,
        epoch=epoch,
        seq=found.seq,
        replayed=found.replayed,
        snapshot_seq=found.snapshot_seq,
        torn_bytes=found.torn_bytes,
    )
    option, obeys = config_option(config.source.name), keys != Keys()
    where = asked(shown(config.daemon.state_dir), option, os.getpid(), obeys=obeys)
    terminal.on_notes([*where, *opening(instance, option, servers, status)])
    if status.trading_state is TradingState.HALTED:
        _log.warning("halted", reason=status.halt_reason, halt_id=status.halt_id)
    for server in servers:
        _log.info("server started", server=server)
    for why in found.skipped_snapshots:
        _log.warning("snapshot skipped", why=why)
