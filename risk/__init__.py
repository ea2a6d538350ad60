"""What measures the book, and what may stop it."""

from typing import Final

from engine.ports import Plugin, RiskModel
from risk.var import GaussianVarOptions, build_gaussian

PART_OF: Final = "astra-quant"

#: Risk models by their name in the configuration; built from options and the symbols of the universe.
REGISTRY: Final[dict[str, Plugin[RiskModel]]] = {
    "gaussian": Plugin(GaussianVarOptions, build_gaussian),
}
