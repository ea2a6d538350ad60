"""From signals to holdings: allocators by the name used in the configuration."""

from __future__ import annotations

from engine.ports import Allocator, Plugin
from strategies.allocators.direct import Direct, DirectOptions
from strategies.allocators.mean_variance import MeanVariance, MeanVarianceOptions

REGISTRY: dict[str, Plugin[Allocator]] = {
    "direct": Plugin(options=DirectOptions, build=Direct),
    "mean_variance": Plugin(options=MeanVarianceOptions, build=MeanVariance),
}
