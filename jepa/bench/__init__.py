"""How fast training and prediction are on this machine, beside the same model written plainly."""

from jepa.bench.measure import PARTS, bench
from jepa.bench.sizes import Sizes

__all__ = ["PARTS", "Sizes", "bench"]
