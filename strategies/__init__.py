"""What turns slices into signals, and signals into targets."""

from engine.ports import Plugin, Strategy
from strategies.basis import Basis, BasisOptions
from strategies.convertible import Convertible, ConvertibleOptions
from strategies.correlation import Correlation, CorrelationOptions
from strategies.kalman_pairs import KalmanPairs, KalmanPairsOptions
from strategies.merger import Merger, MergerOptions
from strategies.outrights import Outrights, OutrightsOptions
from strategies.treasury import Treasury, TreasuryOptions
from strategies.zscore_pairs import ZscorePairs, ZscorePairsOptions

PART_OF = "astra-quant"

#: Strategies by the ``kind`` of the configuration. The contract tests run the examples of each options
#: schema, on the symbols AAA, BBB, CCC and DDD.
REGISTRY: dict[str, Plugin[Strategy]] = {
    "basis": Plugin(BasisOptions, Basis, "bp"),
    "convertible": Plugin(ConvertibleOptions, Convertible, "vol pt"),
    "correlation": Plugin(CorrelationOptions, Correlation, "corr"),
    "kalman_pairs": Plugin(KalmanPairsOptions, KalmanPairs),
    "merger": Plugin(MergerOptions, Merger, "bp"),
    "outrights": Plugin(OutrightsOptions, Outrights, "bp"),
    "treasury": Plugin(TreasuryOptions, Treasury, "bp"),
    "zscore_pairs": Plugin(ZscorePairsOptions, ZscorePairs),
}
