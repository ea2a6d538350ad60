"""A whole engine around a scripted strategy: real desk, real risk, real gate, real allocator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.app.wiring import layout_of
from engine.book import Book
from engine.bus import Bus
from engine.carry import Funding
from engine.commands import CommandBody, Keys, Verifier, sign
from engine.controls import AVERSIONS, CAPS, VAR_LIMIT, Control, Controls
from engine.desk import RiskRule, TradingDesk
from engine.events import SIDES, BarSlice, Command, Event, FloatArray, Record, Signal
from engine.execution import Costs
from engine.intake import Intake
from engine.loop import Loop
from engine.ports import AllocatorContext, DailyHistory, Instrument, Outlook, Spread, State
from engine.sessions import Sessions
from engine.slices import Slicer
from risk.actor import CovarianceOptions, RiskActor
from risk.gate import RiskGate
from risk.limits import HaltLatch
from risk.var import GaussianVarOptions, build_gaussian
from strategies.allocators import REGISTRY

OPERATOR_KEY = b"operator"
HALT_KEY = b"halt"


class Scripted:
    """A strategy that does what the script says: ``{(session, minute): {spread: sign}}``."""

    name = "scripted"

    def __init__(self, pairs: Sequence[str], script: Mapping[tuple[int, int], Mapping[str, int]]) -> None:
        self.spreads = tuple(Spread(self.name, pair, *pair.split("/")) for pair in pairs)
        self._script = script
        self._side = np.zeros(len(pairs))

    def on_slice(self, slice_: BarSlice) -> list[Signal]:
        """Emit the scripted transitions."""
        signals = []
        for pair, sign_ in self._script.get((slice_.session, slice_.minute), {}).items():
            k = [spread.name for spread in self.spreads].index(pair)
            self._side[k] = sign_
            signals.append(Signal(slice_.ts_close_ns, self.name, pair, SIDES[sign_], -2.5 * sign_, 1.0, 0.01))
        return signals

    def outlook(self) -> Outlook:
        """Ratio one to one, and an expected return of 1% in the direction of the side."""
        n = len(self.spreads)
        nan, one = np.full(n, np.nan), np.ones(n)
        return Outlook(self._side.copy(), nan, one, nan, nan, nan, one, 0.01 * self._side, one)

    def state(self) -> State:
        """Return the sides."""
        return {"side": self._side.copy()}

    def restore(self, state: State) -> None:
        """Continue."""
        self._side[:] = state["side"]


def history_of(
    symbols: Sequence[str], vol_daily: float = 0.02, n_days: int = 60, seed: int = 3
) -> DailyHistory:
    """Make independent daily closes of about the given volatility, ending before any test's first day."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, vol_daily, (n_days, len(symbols))), axis=0))
    return DailyHistory(tuple(symbols), np.arange(n_days, dtype=np.int64), close)


class Recorder:
    """Listener that keeps everything."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Record, list[Event]]] = []

    def __call__(self, seq: int, record: Record, events: list[Event]) -> None:
        """Note one step."""
        self.steps.append((seq, record, events))

    def events(self, *kinds: type) -> list[Any]:
        """Return all events of these kinds, in order."""
        return [event for _, _, events in self.steps for event in events if not kinds or type(event) in kinds]

    def last(self, *kinds: type) -> Any:
        """Return the newest event of these kinds."""
        return self.events(*kinds)[-1]


def engine_of(
    pairs: Sequence[str],
    script: Mapping[tuple[int, int], Mapping[str, int]],
    *,
    allocator: str = "direct",
    options: Mapping[str, Any] | None = None,
    limit_usd: float = 150_000.0,
    positions: Mapping[str, float] | None = None,
    costs: Costs | None = None,
    history: DailyHistory | None = None,
    equity_usd: float = 1_000_000.0,
    price_age_max_min: float = 3,
    scenarios: int = 5_000,
    strategies: Sequence[Any] | None = None,
    sessions: Sessions | None = None,
    instruments: tuple[Instrument, ...] = (),
) -> tuple[Loop, Recorder]:
    """Build an engine whose parts are all real but the strategy; given ``sessions``, it takes live bars."""
    chosen = [Scripted(pairs, script)] if strategies is None else list(strategies)
    spreads = [spread for strategy in chosen for spread in strategy.spreads]
    positions = dict(positions or {})
    names = dict.fromkeys([n for s in spreads for n in (s.y, s.x or s.y)] + list(positions))
    layout = layout_of(tuple(names), spreads, tuple(positions), instruments)
    plugin = REGISTRY[allocator]
    chosen_options = plugin.options(**(options or {}))
    solver = plugin.build(chosen_options, AllocatorContext(layout, 390))
    model = build_gaussian(GaussianVarOptions(scenarios=scenarios), layout.symbols)
    funding = Funding(0.0, 0.0, 0.0, 0.0)
    opening: FloatArray = np.concatenate([np.zeros(2 * len(spreads)), np.array(list(positions.values()))])
    desk = TradingDesk(
        Book(layout, equity_usd, opening, funding, price_age_max_min),
        RiskActor(CovarianceOptions(), model, layout.symbols, 390, history or history_of(layout.symbols)),
        RiskGate(model, 0.9 * limit_usd),
        HaltLatch(limit_usd),
        costs or Costs(0.0, 0.0, 0.0, 1.0),
        RiskRule(0.9, model.z_horizon, model.mc_margin),
    )
    recorder = Recorder()
    verifier = Verifier("test", Keys(OPERATOR_KEY, HALT_KEY))
    values = {VAR_LIMIT: limit_usd, **chosen_options.model_dump(include={*CAPS, *AVERSIONS})}
    # Wide bounds, so that a test meets them only when it wants to.
    bounds = {name: (value / 10 if name in AVERSIONS else 1e-6, value * 10) for name, value in values.items()}
    controls = Controls([Control(name, value, *bounds[name]) for name, value in values.items()])
    intake = None if sessions is None else Intake(Slicer(layout.symbols, sessions))
    return Loop(Bus(chosen, desk, solver, verifier, intake, controls), recorder), recorder


def command(kind: str, ts_ns: int, *, key: bytes = OPERATOR_KEY, nonce: str = "", **fields: Any) -> Command:
    """Sign a command that is valid for a minute."""
    body = CommandBody(
        kind=kind,
        instance="test",
        principal="ada",
        issued_ns=ts_ns,
        expires_ns=ts_ns + 60_000_000_000,
        nonce=nonce or f"{kind}-{ts_ns}",
        reason="test",
        **fields,
    )
    return sign(body, key, ts_ns)
