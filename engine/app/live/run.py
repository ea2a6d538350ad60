"""``astra run``: take the state folder, recover the engine, and serve until there is nothing more to do."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import ExitStack
from typing import Final

import msgspec

from engine.app.assembly import assemble
from engine.app.config.addresses import mqtt_link, redis_link
from engine.app.config.load import Config
from engine.app.config.other_config import explained
from engine.app.keys import keys_of
from engine.app.live import logs
from engine.app.live.demo import LEAD_MIN
from engine.app.live.halt_marker import HaltMarker
from engine.app.live.live_run import Links, LiveRun
from engine.app.live.servers import MqttBroker, RedisServer
from engine.app.live.state_folder import StateFolder, locked
from engine.app.live.warm_up import warm_up
from engine.app.replay.run import Listener
from engine.clock import wall_ns
from engine.commands import SIGNAL
from engine.errors import JournalError

#: How long a thread that has work waits for one that runs, seconds. At Python's own 5 ms the disk's thread
#: would stand in line twice for each commit while bars pour in.
_SWITCH_S: Final = 0.5e-3


class RunOptions(msgspec.Struct, frozen=True):
    """What the command line says beyond the configuration."""

    speed: float = 1.0
    with_servers: bool = False
    new_epoch: bool = False
    accept_version: bool = False
    is_demo: bool = False


def run(config: Config, options: RunOptions, terminal: Listener) -> int:
    """Run until the tape ends, a signal comes, or something fails.

    Parameters
    ----------
    config : Config
    options : RunOptions
    terminal : Listener
        Is shown what a person wants to see.

    Returns
    -------
    int
        0, or 130 after Ctrl-C.

    Raises
    ------
    AstraError
        For a state, journal, feed or server that cannot be used.
    """
    with ExitStack() as stack:
        state = stack.enter_context(locked(config.daemon.state_dir))
        marker = HaltMarker(state.marker)
        stack.callback(marker.close)
        # Until the engine serves, and knows better, a signal to halt makes it start halted.
        signal.signal(signal.SIGUSR1, lambda *_: marker.raise_(SIGNAL, "SIGUSR1", wall_ns()))
        links = _links(config, options, state, stack)
        keys = keys_of()
        try:
            parts = assemble(
                config,
                state,
                keys,
                speed=options.speed,
                lead_min=LEAD_MIN if options.is_demo else 0,
                new_epoch=options.new_epoch,
                accept_version=options.accept_version,
            )
        except JournalError as error:
            raise explained(error, state.root, config) from None
        warm_up()
        _settle_down()
        logs.configure(sys.stderr, parts.clock.now_ns, secrets=logs.secrets_of(os.environ))
        return asyncio.run(LiveRun(config, state, links, parts, keys, terminal).serve())


def _settle_down() -> None:
    """Spare the loop its longest pauses: libraries are never garbage, and no thread keeps another waiting."""
    gc.collect()
    gc.freeze()  # looking through all of them took 140 ms
    sys.setswitchinterval(_SWITCH_S)


def _links(config: Config, options: RunOptions, state: StateFolder, stack: ExitStack) -> Links:
    """Name the servers; with ``--with-servers`` start those that the configuration does not name."""
    redis, mqtt = redis_link(config), mqtt_link(config)
    started = []
    if options.with_servers and redis is None:
        redis = stack.enter_context(RedisServer(state.root / "redis")).link
        started.append(redis.url)
    if options.with_servers and mqtt is None:
        mqtt = stack.enter_context(MqttBroker(state.root / "mqtt")).link
        started.append(f"mqtt://{mqtt.host}:{mqtt.port}")
    return Links(redis, mqtt, tuple(started))
