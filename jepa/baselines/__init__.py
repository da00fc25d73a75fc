"""Baselines: one file each, all on the same windows and splits."""

from collections.abc import Callable

from jepa.baselines.ar import AutoRegression
from jepa.baselines.base import Baseline
from jepa.baselines.extrapolation import ConstantVelocity, HoldLast, LeastSquaresVelocity
from jepa.baselines.gru import Gru
from jepa.baselines.gru_cascade import GruCascade
from jepa.baselines.gru_power_position import GruPowerPosition
from jepa.baselines.interpolation_ceiling import InterpolationCeiling
from jepa.baselines.position_knn import PositionKnn

__all__ = ["BASELINES", "Baseline", "InterpolationCeiling"]

BASELINES: dict[str, Callable[[], Baseline]] = {
    baseline.name: baseline
    for baseline in (
        HoldLast,
        ConstantVelocity,
        LeastSquaresVelocity,
        AutoRegression,
        Gru,
        PositionKnn,
        GruPowerPosition,
        GruCascade,
    )
}
"""Every predictor by name. The interpolation ceiling is none: it sees frames around the one in question."""
