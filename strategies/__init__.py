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
    "basis": Plugin(BasisOptions, Basis),
    "convertible": Plugin(ConvertibleOptions, Convertible),
    "correlation": Plugin(CorrelationOptions, Correlation),
    "kalman_pairs": Plugin(KalmanPairsOptions, KalmanPairs),
    "merger": Plugin(MergerOptions, Merger),
    "outrights": Plugin(OutrightsOptions, Outrights),
    "treasury": Plugin(TreasuryOptions, Treasury),
    "zscore_pairs": Plugin(ZscorePairsOptions, ZscorePairs),
}
