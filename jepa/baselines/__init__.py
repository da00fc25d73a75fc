"""Baselines: one file each, all on the same windows and splits."""

from jepa.baselines.ar import AutoRegression
from jepa.baselines.base import Baseline
from jepa.baselines.extrapolation import ConstantVelocity, HoldLast, LeastSquaresVelocity
from jepa.baselines.gru import Gru
from jepa.baselines.gru_cascade import GruCascade
from jepa.baselines.gru_power_position import GruPowerPosition
from jepa.baselines.interpolation_ceiling import InterpolationCeiling
from jepa.baselines.kalman import Kalman
from jepa.baselines.m2beamllm import M2BeamLlm
from jepa.baselines.position_knn import PositionKnn
from jepa.baselines.transformer import Transformer
from jepa.baselines.vision_position import VisionPosition
from jepa.data.frames import TARGETS

__all__ = ["BASELINES", "RADIO_BASELINES", "Baseline", "InterpolationCeiling"]

BASELINES: dict[str, type[Baseline]] = {
    baseline.name: baseline
    for baseline in (
        HoldLast,
        ConstantVelocity,
        LeastSquaresVelocity,
        Kalman,
        AutoRegression,
        Gru,
        Transformer,
        PositionKnn,
        GruPowerPosition,
        GruCascade,
        VisionPosition,
        M2BeamLlm,
    )
}
"""Every predictor by name. The interpolation ceiling is none: it sees frames around the one in question."""
RADIO_BASELINES = tuple(name for name, baseline in BASELINES.items() if set(baseline.needs) <= set(TARGETS))
"""Those that read nothing but power and position."""
