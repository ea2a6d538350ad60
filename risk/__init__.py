"""What measures the book, and what may stop it."""

from typing import Final

from engine.oversight import RiskModel
from engine.ports import Plugin
from risk.filtered import FilteredHistoricalVarOptions, build_filtered_historical
from risk.historical import HistoricalVarOptions, build_historical
from risk.student_t import StudentTVarOptions, build_student_t
from risk.var import GaussianVarOptions, build_gaussian

PART_OF: Final = "astra-quant"

#: Risk models by their name in the configuration; built from options and the symbols of the universe.
REGISTRY: Final[dict[str, Plugin[RiskModel]]] = {
    "gaussian": Plugin(GaussianVarOptions, build_gaussian),
    "student_t": Plugin(StudentTVarOptions, build_student_t),
    "historical": Plugin(HistoricalVarOptions, build_historical),
    "filtered_historical": Plugin(FilteredHistoricalVarOptions, build_filtered_historical),
}
