"""The keys of ``[feed]`` for servers; their clients are imported only by a run that uses them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feeds.live_context import LiveOptions


class MqttOptions(LiveOptions):
    """The keys of ``[feed]`` for ``kind = "mqtt"``."""

    session_expiry_min: int = Field(
        default=1_440, ge=1, le=71_000_000, description="how long the broker keeps bars while Astra is away"
    )


class RedisStreamOptions(LiveOptions):
    """The keys of ``[feed]`` for ``kind = "redis_stream"``."""

    stream: str = Field(default="astra:bars", min_length=1, description="key of the stream")
    begin: Literal["new", "oldest"] = Field(
        default="new", description="where a first start begins; later ones go on where they were"
    )
