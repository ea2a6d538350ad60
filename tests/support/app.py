"""What tests of the application share: small plug-ins, and goldens of error texts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.app.render import render_error
from engine.errors import AstraError
from engine.ports import Plugin

GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "errors"


def _pair(text: str) -> str:
    if text.count("/") != 1:
        raise ValueError(f'a pair is written "Y/X", was "{text}"')
    return text


class FilesOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    tz: str | None = None
    collar_frac: float = Field(0.2, gt=0)


class Noise(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    delta: float = Field(1e-4, gt=0)


class PairsOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: tuple[Annotated[str, AfterValidator(_pair)], ...]
    entry_z: float = Field(2.0, gt=0)
    noise: Literal["calibrate"] | Noise = "calibrate"
    z: str = "innovation"


class MeanVarianceOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    gross_max_frac: float = Field(2.0, gt=0)
    risk_aversion: float = 1.0
    trade_aversion: float = 1.0


def _build(*_: Any) -> None:
    """Stand in for the builder of a plug-in that is never built."""


KINDS: dict[str, dict[str, Plugin[Any]]] = {
    "feeds": {"files": Plugin(FilesOptions, _build)},
    "strategies": {
        "kalman_pairs": Plugin(PairsOptions, _build),
        "zscore_pairs": Plugin(PairsOptions, _build),
    },
    "allocators": {"mean_variance": Plugin(MeanVarianceOptions, _build), "direct": Plugin(Noise, _build)},
}


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the registries by three small ones, so that texts do not change with the real plug-ins."""
    monkeypatch.setattr("engine.app.config.load.registry", KINDS.__getitem__)
    monkeypatch.setattr("engine.app.config.schema.registry", KINDS.__getitem__)


def assert_golden(name: str, error: AstraError) -> None:
    """Compare what the user sees with the text in tests/goldens/errors."""
    expected = (GOLDENS / f"{name}.txt").read_text(encoding="utf-8")
    assert render_error(error) == expected
