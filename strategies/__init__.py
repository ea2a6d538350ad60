"""What turns slices into signals, and signals into targets."""

from engine.ports import Plugin, Strategy
from strategies.kalman_pairs import KalmanPairs, KalmanPairsOptions
from strategies.zscore_pairs import ZscorePairs, ZscorePairsOptions

PART_OF = "astra-quant"

#: Strategies by the ``kind`` of the configuration. The contract tests run the examples of each options
#: schema, on the symbols AAA, BBB, CCC and DDD.
REGISTRY: dict[str, Plugin[Strategy]] = {
    "kalman_pairs": Plugin(KalmanPairsOptions, KalmanPairs),
    "zscore_pairs": Plugin(ZscorePairsOptions, ZscorePairs),
}
