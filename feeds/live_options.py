"""The keys of ``[feed]`` for live feeds; their clients are imported only by a run that uses them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from feeds.collar import CollarOptions


class MqttOptions(CollarOptions):
    """The keys of ``[feed]`` for ``kind = "mqtt"``."""

    session_expiry_min: int = Field(
        default=1_440, ge=1, le=71_000_000, description="how long the broker keeps bars while Astra is away"
    )


class RedisStreamOptions(CollarOptions):
    """The keys of ``[feed]`` for ``kind = "redis_stream"``."""

    stream: str = Field(default="astra:bars", min_length=1, description="key of the stream")
    begin: Literal["new", "oldest"] = Field(
        default="new", description="where a first start begins; later ones go on where they were"
    )


class AlpacaOptions(CollarOptions):
    """The keys of ``[feed]`` for ``kind = "alpaca"``; the account's come from the environment only."""

    feed: Literal["iex", "sip"] = Field(
        default="iex", description="trades of one exchange (free), or of all of them (subscription)"
    )
    stream_url: str | None = Field(default=None, description="address of the stream, if not the vendor's")
    history_url: str | None = Field(
        default=None, description="address of the history (without /v2), if not the vendor's"
    )
    settle_s: float = Field(
        default=2.0, ge=0, le=60, description="how long after its end a missed minute is asked for, seconds"
    )
    backfill_max_s: float = Field(
        default=60.0, gt=0, le=3_600, description="how long a failing request for missed minutes is repeated"
    )
    reconnect_max_s: float = Field(
        default=30.0, gt=0, le=600, description="longest wait between attempts to connect, seconds"
    )

    @field_validator("stream_url", "history_url")
    @classmethod
    def _is_private(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        is_private = parts.scheme in {"wss", "https"} or parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if url is not None and not is_private:
            raise ValueError(f"must be wss:// or https://, was {url}: the keys would travel in the clear")
        return url


class YahooOptions(CollarOptions):
    """The keys of ``[feed]`` for ``kind = "yahoo"``."""

    settle_s: float = Field(
        default=10.0, ge=0, le=600, description="how long after its end a minute is asked for, seconds"
    )
    delay_min: int = Field(
        default=0, ge=0, le=60, description="how far Yahoo's prices of these symbols are behind, minutes"
    )
    parallel: int = Field(default=4, ge=1, le=16, description="symbols that are asked for at the same time")
    base_url: str | None = Field(
        default=None,
        description="send every request there instead of to Yahoo, by way of yfinance's session",
    )
