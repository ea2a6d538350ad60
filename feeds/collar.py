"""The keys of ``[feed]`` that say when a jump is held for confirmation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CollarOptions(BaseModel):
    """What every feed of bars from outside accepts (docs/maths/bars.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    collar_frac: float = Field(
        default=0.20, gt=0, description="jump beyond which a bar needs confirmation, fraction"
    )
    collar_sigmas: float = Field(
        default=10.0, ge=0, description="the same, in standard deviations of a minute"
    )
