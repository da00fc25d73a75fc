"""How fast the twin is on this machine, beside Sionna RT where that is installed."""

from twin.bench.measure import PARTS, bench
from twin.bench.timing import Sizes

__all__ = ["PARTS", "Sizes", "bench"]
