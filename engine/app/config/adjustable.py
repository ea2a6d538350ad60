"""From the configuration to the numbers an operator may change, with their hard bounds."""

from __future__ import annotations

from typing import Final

from engine.app.config.load import Config
from engine.controls import AVERSIONS, CAPS, VAR_LIMIT, Control, Controls
from engine.errors import AstraError, ConfigError, Errors

#: Hard bounds in ``[operator]`` of each number: lowest, highest; empty where there is no key.
_KEYS: Final[dict[str, tuple[str, str]]] = {
    VAR_LIMIT: ("", "var_limit_max_usd"),
    **{name: ("", f"{name}_max") for name in CAPS},
    **{name: (f"{name}_min", f"{name}_max") for name in AVERSIONS},
}
#: A limit of a dollar, a cap of a dollar on a million: nothing is held under less.
_LOWEST: Final = {VAR_LIMIT: 1.0, **dict.fromkeys(CAPS, 1e-6)}
#: Beyond, the solver's figures lose their digits, and nothing trades anyway.
_AVERSION_MAX: Final = 1_000.0


def controls_of(config: Config) -> Controls:
    """Return the numbers of this engine that a command may change.

    Without a key in ``[operator]`` nothing can be loosened beyond the configured value.

    Raises
    ------
    ConfigError
        C011 if a hard bound excludes the configured value.
    """
    options = config.allocator.options
    values = {VAR_LIMIT: config.risk.var_limit_usd}
    values |= {name: float(getattr(options, name)) for name in (*CAPS, *AVERSIONS) if hasattr(options, name)}
    faults: list[AstraError] = []
    controls = [_control(config, name, value, faults) for name, value in values.items()]
    if faults:
        raise faults[0] if len(faults) == 1 else Errors(faults)
    return Controls(controls)


def _control(config: Config, name: str, value: float, faults: list[AstraError]) -> Control:
    low_key, high_key = _KEYS[name]
    is_aversion = name in AVERSIONS
    low = getattr(config.operator, low_key, None) if low_key else None
    high = getattr(config.operator, high_key)
    for key, bound, is_beyond in (
        (low_key, low, low is not None and value < low),
        (high_key, high, high is not None and value > high),
    ):
        if is_beyond:
            what = f"operator.{key} must not exclude the configured {name} {value:g}, was {bound:g}"
            hint = "The hard bounds say how far a command may go from the configured value, and back to it."
            faults.append(ConfigError("C011", what, f"operator.{key}", hint))
    if low is None:
        low = value if is_aversion else min(value, _LOWEST[name])
    if high is None:
        high = max(value, _AVERSION_MAX) if is_aversion else value
    return Control(name, value, low, high)
