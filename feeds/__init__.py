"""Where bars come from: one file a source.

``REGISTRY`` maps the ``kind`` of ``[feed]`` to the options it accepts and how it is built from them and a
``FeedContext``, for runs over data that is all there. ``LIVE`` does the same with a ``LiveContext``, for bars
as they happen. Entry points of the groups ``astra.feeds`` and ``astra.live_feeds`` add to them.
"""

from __future__ import annotations

from typing import TypedDict

from engine.events import Nanos
from engine.ports import Feed, LiveFeed, Plugin
from feeds.context import FeedContext
from feeds.files import FileOptions, file_bars
from feeds.live_context import LiveContext, minutes_only
from feeds.live_options import AlpacaOptions, MqttOptions, RedisStreamOptions, YahooOptions
from feeds.paced import PacedBars
from feeds.recorded import RecordedBars
from feeds.simulated import SimulatedOptions, simulated_bars
from feeds.yields import YieldOptions, yield_bars

PART_OF = "astra-quant"


class _Span(TypedDict):
    from_ns: Nanos | None
    to_ns: Nanos | None
    bar_min: int


def _span(context: FeedContext | LiveContext) -> _Span:
    return {"from_ns": context.from_ns, "to_ns": context.to_ns, "bar_min": context.bar_min}


def _files(options: FileOptions, context: FeedContext | LiveContext) -> RecordedBars:
    return file_bars(options, context.symbols, context.calendar, **_span(context))


def _simulated(options: SimulatedOptions, context: FeedContext | LiveContext) -> RecordedBars:
    return simulated_bars(options, context.symbols, context.calendar, **_span(context))


def _yields(options: YieldOptions, context: FeedContext | LiveContext) -> RecordedBars:
    return yield_bars(options, context.symbols, context.calendar, **_span(context))


def _files_live(options: FileOptions, context: LiveContext) -> PacedBars:
    return PacedBars(_files(options, context), context.clock, "files")


def _simulated_live(options: SimulatedOptions, context: LiveContext) -> PacedBars:
    return PacedBars(_simulated(options, context), context.clock, "simulated")


def _yields_live(options: YieldOptions, context: LiveContext) -> PacedBars:
    return PacedBars(_yields(options, context), context.clock, "yields")


def _mqtt(options: MqttOptions, context: LiveContext) -> LiveFeed:
    from feeds.mqtt import MqttBars

    return MqttBars(options, context)


def _redis_stream(options: RedisStreamOptions, context: LiveContext) -> LiveFeed:
    from feeds.redis_stream import RedisStreamBars

    return RedisStreamBars(options, context)


def _alpaca(options: AlpacaOptions, context: LiveContext) -> LiveFeed:
    from feeds.alpaca import AlpacaBars

    minutes_only(context, "alpaca")

    return AlpacaBars(options, context)


def _yahoo(options: YahooOptions, context: LiveContext) -> LiveFeed:
    from feeds.yahoo import YahooBars

    minutes_only(context, "yahoo")

    return YahooBars(options, context)


REGISTRY: dict[str, Plugin[Feed]] = {
    "files": Plugin(FileOptions, _files),
    "simulated": Plugin(SimulatedOptions, _simulated),
    "yields": Plugin(YieldOptions, _yields),
}
LIVE: dict[str, Plugin[LiveFeed]] = {
    "alpaca": Plugin(AlpacaOptions, _alpaca),
    "files": Plugin(FileOptions, _files_live),
    "mqtt": Plugin(MqttOptions, _mqtt),
    "redis_stream": Plugin(RedisStreamOptions, _redis_stream),
    "simulated": Plugin(SimulatedOptions, _simulated_live),
    "yahoo": Plugin(YahooOptions, _yahoo),
    "yields": Plugin(YieldOptions, _yields_live),
}
