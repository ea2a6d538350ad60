"""The tables of the configuration: every key with its meaning, default and bounds."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from risk.actor import CovarianceOptions
from risk.var import VarOptions


class Table(BaseModel):
    """Options that every table of the configuration has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FeedTable(Table):
    """[feed]: where bars come from."""

    kind: str = Field(default="files", description="Kind of feed; its options stand beside it.")
    options: BaseModel = Field(description="Validated options of the kind.")


class UniverseTable(Table):
    """[universe]: which symbols, on which calendar."""

    calendar: str = Field(
        default="XNYS", description='Exchange calendar by its MIC; "24/7" around the clock.'
    )
    bar_min: int = Field(
        default=1, ge=1, le=1_440, description="Minutes of a bar; of 1440 a bar is a session: daily bars."
    )
    symbols: tuple[str, ...] = Field(
        default=(),
        description="Symbols, in the order of every slice; by default those of strategies and book.",
    )
    first: str | None = Field(
        default=None,
        description="First date (or instant with time zone) of the run, inclusive; absent = all.",
    )
    last: str | None = Field(
        default=None, description="Last date (or instant with time zone) of the run, inclusive; absent = all."
    )

    @field_validator("first", "last")
    @classmethod
    def _is_date(cls, text: str | None) -> str | None:
        try:
            stamp = datetime.fromisoformat(text) if text is not None else None
        except ValueError:
            raise ValueError(f'must be a date like 2026-01-05, was "{text}"') from None
        if stamp is not None and text is not None and len(text) > len("2026-01-05") and stamp.tzinfo is None:
            raise ValueError(f"must name a time zone, was {text}: add Z, or give a date alone")
        return text


class BookTable(Table):
    """[book]: what there is at the start."""

    equity_usd: float = Field(default=1_000_000.0, gt=0, description="Equity at the start, USD.")
    positions: dict[str, float] = Field(
        default_factory=dict, description="Opening positions, shares by symbol; short is negative."
    )
    lot: float | None = Field(
        default=None, gt=0, description="Round orders to multiples of this many shares; absent = off."
    )


class InstrumentTable(Table):
    """[instruments.SYMBOL]: what a symbol is, where it is not a plain share quoted in USD."""

    kind: Literal["share", "fund", "future", "bond", "currency"] = Field(
        default="share", description="A future is not funded with cash; otherwise for people."
    )
    multiplier: float = Field(
        default=1.0, gt=0, le=1e9, description="What one unit gains when the quote rises by 1."
    )
    currency: str = Field(
        default="USD",
        pattern="^[A-Z]{3}$",
        description="Of the quote; its rate (EURUSD or USDEUR) must be in the universe.",
    )
    expiry: date | None = Field(default=None, description="Last day it trades; absent = never.")
    lot: float | None = Field(
        default=None, ge=0, description="Round orders to multiples of this many units; absent = [book] lot."
    )
    borrow_bps: float | None = Field(
        default=None, ge=0, le=100_000, description="Borrow fee of its shorts; absent = that of [funding]."
    )
    income_frac: float = Field(
        default=0.0,
        ge=-0.1,
        le=1,
        description="Dividends or coupons a year, of the price, actual/365: longs receive, shorts pay.",
    )
    sector: str = Field(default="", description="For tables and reports.")
    role: str = Field(default="", description="For tables and reports.")


class CostsTable(Table):
    """[costs]: of trading, per USD traded and leg."""

    preset: Literal["retail", "institutional"] | None = Field(
        default=None, description="What keys of [costs] and [funding] are that are not given."
    )
    half_spread_bps: float = Field(
        default=1.0, ge=0, le=1_000, description="Half the bid-ask spread, basis points."
    )
    impact_bps: float = Field(
        default=10.0,
        ge=0,
        le=10_000,
        description="Impact, basis points times sqrt(traded / volume of the bar).",
    )
    fee_bps: float = Field(default=0.2, ge=0, le=1_000, description="Commission and fees, basis points.")
    participation_max_frac: float = Field(
        default=0.10, gt=0, le=1, description="Largest share of a bar's volume that one fill may take."
    )


class FundingTable(Table):
    """[funding]: of positions, per year, actual/360."""

    rate_frac: float = Field(default=0.036, ge=-0.1, le=1, description="Reference rate per year, fraction.")
    long_spread_bps: float = Field(default=50.0, ge=0, le=10_000, description="Longs pay the rate plus this.")
    short_spread_bps: float = Field(
        default=25.0, ge=0, le=10_000, description="Shorts receive the rate less this."
    )
    borrow_bps: float = Field(
        default=40.0, ge=0, le=100_000, description="Borrow fee of shorts; [instruments.X] may have its own."
    )


class StrategyTable(Table):
    """[[strategy]]: one table per strategy."""

    kind: str = Field(description="Kind of strategy; its options stand beside it.")
    name: str = Field(min_length=1, description='Unique name; default the kind, "-2" for a repeat.')
    capital_frac: float | None = Field(
        default=None,
        gt=0,
        le=20,
        description="Most gross its spreads may have together, share of equity; absent = the allocator's.",
    )
    options: BaseModel = Field(description="Validated options of the kind.")


class AllocatorTable(Table):
    """[allocator]: from signals to holdings."""

    kind: str = Field(default="mean_variance", description='Kind of allocator; "none" measures signals only.')
    options: BaseModel | None = Field(
        default=None, description='Validated options of the kind; absent for "none".'
    )


class RiskTable(Table, VarOptions, CovarianceOptions):
    """[risk]: the limit, and how VaR is measured; options of the model stand beside the keys of all."""

    model: str = Field(default="gaussian", description="Risk model; its options stand beside it.")
    var_limit_usd: float = Field(
        default=150_000.0,
        gt=0,
        description='The limit is a positive loss amount. For "halt at a loss of $150k" write 150000.',
    )
    history: Path | None = Field(
        default=None,
        description="Daily closes (date, symbol, close) that seed the covariance; absent = none.",
    )
    budget_frac: float = Field(
        default=0.90,
        gt=0,
        le=0.95,
        description="Share of the limit that a target may use; below the 0.95 of resuming.",
    )
    price_max_age_min: int = Field(
        default=15, ge=1, description="A held price older than this makes VaR unknown."
    )
    var_max_age_min: int = Field(
        default=3, ge=1, description="Session minutes without a finished VaR after which trading halts."
    )
    warn_frac: float = Field(
        default=0.80, gt=0, le=1, description="Share of the limit at which a warning is given."
    )


class OutputTable(Table):
    """[output]: what a run writes."""

    dir: Path = Field(default=Path("runs"), description="Folder of the run folders.")
    trace: bool = Field(default=False, description="Write trace.parquet: every slice of every spread.")
    journal: bool = Field(default=False, description="Write the journal of a file replay.")
    live: bool = Field(
        default=False,
        description="Keep a run folder of a live run: renewed after each session and at its end.",
    )


class OperatorTable(Table):
    """[operator]: who may command, and how far; keys come from ASTRA_OPERATOR_KEY and ASTRA_HALT_KEY."""

    instance: str = Field(
        default="astra",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name that commands must be addressed to; part of keys and topics.",
    )
    var_limit_max_usd: float | None = Field(
        default=None, gt=0, description="How far a command may raise the VaR limit; absent = not at all."
    )
    gross_max_frac_max: float | None = Field(
        default=None, gt=0, le=20, description="The same for the cap on gross."
    )
    net_max_frac_max: float | None = Field(
        default=None, gt=0, le=20, description="The same for the cap on net."
    )
    name_max_frac_max: float | None = Field(
        default=None, gt=0, le=20, description="The same for the cap on any name."
    )
    risk_aversion_min: float | None = Field(
        default=None, ge=0, description="How far a command may lower gamma; absent = not at all."
    )
    risk_aversion_max: float | None = Field(
        default=None, ge=0, description="How far a command may raise gamma; absent = 1000."
    )
    trade_aversion_min: float | None = Field(
        default=None, ge=0, description="How far a command may lower tau; absent = not at all."
    )
    trade_aversion_max: float | None = Field(
        default=None, ge=0, description="How far a command may raise tau; absent = 1000."
    )


class DaemonTable(Table):
    """[daemon]: how a live run keeps time and state; only ``astra run`` reads it."""

    state_dir: Path = Field(
        default=Path("state"), description="Folder of journal and snapshots: one engine each."
    )
    clock: Literal["wall", "bars"] = Field(
        default="wall",
        description='What closes a minute: the wall clock, or ("bars") the newest bar of a recorded stream.',
    )
    grace_s: float = Field(
        default=5.0, ge=0, le=600, description="How long after its end a minute waits for missing bars."
    )
    skew_max_s: float = Field(
        default=2.0, ge=0, le=600, description="How far ahead of the clock a bar's stamp may be."
    )
    feed_silence_max_min: int = Field(
        default=5, ge=1, description="Session minutes without any bar after which trading halts."
    )
    step_max_s: float = Field(
        default=10.0, gt=0, le=600, description="A step that takes longer is hung: halt and end the process."
    )
    solve_max_s: float = Field(
        default=5.0, gt=0, le=50, description="How long bars wait for an allocator's answer."
    )
    commit_max_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="How long a record may wait for the disk before trading halts.",
    )
    snapshot_every_s: float = Field(default=60.0, gt=0, description="Time between snapshots.")
    snapshot_every_records: int = Field(default=50_000, ge=1, description="Records between snapshots.")
    verify_every_s: float = Field(
        default=300.0, gt=0, description="Time between checks of the newest snapshot by replay."
    )
    segment_mb: float = Field(default=64.0, gt=0, le=1024, description="Size of a segment of the journal.")
    keep_days: int = Field(
        default=0, ge=0, description="Journal older than this is deleted; 0 keeps everything."
    )


class RedisTable(Table):
    """[redis]: used by the daemon; absent = off. The password comes from ASTRA_REDIS_PASSWORD."""

    url: str = Field(description="redis:// or rediss:// address; a password in it is masked in every output.")
    ca_file: Path | None = Field(default=None, description="Certificate authority that the server must have.")
    stream_max: int = Field(default=100_000, ge=100, description="Entries each stream keeps, about.")

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        """Refuse what a client would only stumble over once the run has begun."""
        try:
            parts = urlsplit(self.url)
            is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_whole = False
        if not is_whole or parts.scheme not in {"redis", "rediss"}:
            raise ValueError("url must be like redis://127.0.0.1:6379, or rediss://... for TLS")
        if self.ca_file is not None and parts.scheme != "rediss":
            raise ValueError("ca_file is for TLS: url must begin with rediss://")
        return self


class MqttTable(Table):
    """[mqtt]: used by the daemon; absent = off. The password comes from ASTRA_MQTT_PASSWORD."""

    host: str = Field(description="Broker.")
    port: int = Field(default=1883, ge=1, le=65_535, description="Port of the broker.")
    username: str | None = Field(default=None, description="Name to log in with.")
    ca_file: Path | None = Field(default=None, description="Certificate authority; given, the link is TLS.")
    cert_file: Path | None = Field(default=None, description="Own certificate, if the broker asks for one.")
    key_file: Path | None = Field(default=None, description="Its private key.")
    topic: str = Field(
        default="astra", min_length=1, pattern=r"^[^#+]+$", description="What every topic begins with."
    )

    @model_validator(mode="after")
    def _is_tls_whole(self) -> Self:
        """Refuse halves of a secure link: without an authority the password would travel in the clear."""
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("cert_file is for TLS: name ca_file too")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is that of cert_file, which is missing")
        return self


class AlertsTable(Table):
    """[alerts]: used by the daemon; absent = off. Addresses come from ASTRA_APPRISE_URLS."""

    required: bool = Field(
        default=False,
        description="Refuse to start when alerts cannot be delivered, and halt when they stay undelivered.",
    )
    silence_max_s: float = Field(
        default=60.0, gt=0, description="How long a required alert may stay undelivered."
    )
    severity: Literal["info", "warning", "critical"] = Field(
        default="warning", description="Least severity that is sent to people (Apprise)."
    )


class ConsoleTable(Table):
    """[console]: used by the daemon; absent = off."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; other than loopback needs a token."
    )
    port: int = Field(default=8787, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")


#: Tables without a ``kind``, by name ([risk] without the options of its model); of those of the daemon, all
#: but its own are off when absent.
PLAIN: dict[str, type[Table]] = {
    "universe": UniverseTable,
    "book": BookTable,
    "costs": CostsTable,
    "funding": FundingTable,
    "risk": RiskTable,
    "output": OutputTable,
    "operator": OperatorTable,
}
DAEMON: dict[str, type[Table]] = {
    "daemon": DaemonTable,
    "redis": RedisTable,
    "mqtt": MqttTable,
    "alerts": AlertsTable,
    "console": ConsoleTable,
}
