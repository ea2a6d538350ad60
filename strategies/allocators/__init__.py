"""From signals to holdings: allocators by the name used in the configuration."""

from __future__ import annotations

from engine.ports import Allocator, Plugin
from strategies.allocators.direct import Direct, DirectOptions
from strategies.allocators.downside import Downside, DownsideOptions
from strategies.allocators.mean_variance import (
    MeanVariance,
    MeanVarianceOptions,
    MultiPeriodOptions,
    NoTradeBufferOptions,
    multi_period,
    no_trade_buffer,
)
from strategies.allocators.min_variance import MinVariance, MinVarianceOptions
from strategies.allocators.treasury import TreasuryAllocator, TreasuryAllocatorOptions

REGISTRY: dict[str, Plugin[Allocator]] = {
    "direct": Plugin(options=DirectOptions, build=Direct, weighs_returns=False),
    "downside": Plugin(options=DownsideOptions, build=Downside),
    "mean_variance": Plugin(options=MeanVarianceOptions, build=MeanVariance),
    "min_variance": Plugin(options=MinVarianceOptions, build=MinVariance),
    "multi_period": Plugin(options=MultiPeriodOptions, build=multi_period),
    "no_trade_buffer": Plugin(options=NoTradeBufferOptions, build=no_trade_buffer),
    "treasury": Plugin(options=TreasuryAllocatorOptions, build=TreasuryAllocator),
}
