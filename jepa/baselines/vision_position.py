"""The paper's RSSI baseline [38]: MobileNetV3 for the picture, an MLP for the position, a fusion regression head.

Yan et al., "Reading radio from camera" (2025), as the paper's Table II adapts it: without bounding boxes. Its 121.90
MFLOPs are those of one picture a window (one pass at 224 x 224 is 109.8 M as 2 x MAC, norms and activations not
counted), so it reads the last one. Theirs trains in two stages, the picture encoder frozen in the first; with random
weights that teaches nothing, so that ours trains all of it at once.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.ar import rssi_of
from jepa.baselines.base import Baseline, as_output, option_of
from jepa.baselines.mobilenet import MobileNetV3Small
from jepa.baselines.modalities import in_parts, require
from jepa.data.preprocess import Normaliser
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["VisionPosition", "VisionPositionNetwork"]

PLAN = Plan(epochs=20, learning_rate=1e-3, weight_decay=1e-4, batch_size=32, warmup_share=0.05)
POSITION_WIDTH, FUSION_WIDTH = 64, 128


class VisionPositionNetwork(nn.Module):
    """MobileNetV3-Small (576), MLP(16, 64, 32) of the positions, MLP(608, 128, 5): 1,008,773 parameters.

    The paper prints 1.01 M and no widths; these are ours.

    Args:
        width: factor of the picture encoder's channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        half = POSITION_WIDTH // 2
        self.picture = MobileNetV3Small(width)
        self.position = nn.Sequential(
            nn.Linear(T_OBS * 2, POSITION_WIDTH), nn.ReLU(), nn.Linear(POSITION_WIDTH, half), nn.ReLU()
        )
        self.fusion = nn.Sequential(
            nn.Linear(self.picture.channels + half, FUSION_WIDTH), nn.ReLU(), nn.Linear(FUSION_WIDTH, T_PRED)
        )

    def forward(
        self, picture: Float[Tensor, "window 3 row column"], position: Float[Tensor, "window 8 2"]
    ) -> Float[Tensor, "window 5"]:
        """Standardised RSSI of the future frames, from the last picture and the observed positions."""
        found: Tensor = self.fusion(torch.cat([self.picture(picture), self.position(position.flatten(1))], 1))
        return found


class VisionPosition(Baseline):
    """RSSI from the last picture and the observed positions, without any power; given as a flat spectrum.

    Args:
        plan: how to train.
        width: factor of the picture encoder's channels.
        picture_weights: safetensors of torchvision's `mobilenet_v3_small` to start from; none: random weights.
    """

    name = "vision_position"
    needs: ClassVar[tuple[str, ...]] = ("camera", "gps")
    weights: ClassVar[tuple[str, ...]] = ("picture_weights",)

    def __init__(self, plan: Plan = PLAN, width: float = 1.0, picture_weights: Path | None = None) -> None:
        self.plan = plan
        self.width = width
        self.picture_weights = picture_weights

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Mean squared error of the standardised RSSI; the weights of the best epoch on validation are kept.

        Raises:
            UserError: the data hold no pictures, or the weights are not those of the network.
        """
        require(train.history, self.needs, self.name)
        train, val = train.on(self.device), val.on(self.device)
        torch.manual_seed(seed)
        self.model = VisionPositionNetwork(self.width)
        if self.picture_weights is not None:
            self.model.picture.load(self.picture_weights)
        else:
            print(
                f"{self.name}: MobileNetV3-Small starts from random weights "
                f"({option_of('picture_weights')} FILE loads published ones)",
                file=sys.stderr,
            )
        self.model.to(self.device)
        self.normaliser = Normaliser.of(train)
        rssi = rssi_of(train.power)
        self.mean_db, self.scale_db = rssi.mean(), rssi.std().clamp_min(1e-6)
        target = (rssi - self.mean_db) / self.scale_db

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            return functional.mse_loss(self._standardised(train.history.select(rows)), target[rows]), {}

        def validate() -> float:
            missed_db = self._rssi_db(val.history) - rssi_of(val.power)
            return float(missed_db.square().mean())

        plan = replace(self.plan, seed=seed)
        fit(self.model, loss, len(train), plan, label=self.label, validate=validate if len(val) else None)
        self.model.eval()

    def _standardised(self, history: History) -> Float[Tensor, "window 5"]:
        picture = self.normaliser.image(history.last("camera").to(self.device))
        found: Tensor = self.model(picture, self.normaliser.position(history.position_m.to(self.device)))
        return found

    def _rssi_db(self, history: History) -> Float[Tensor, "window 5"]:
        return in_parts(history, self._standardised) * self.scale_db + self.mean_db

    def predict(self, history: History) -> Output:
        """RSSI.

        Raises:
            UserError: the windows hold no pictures.
        """
        require(history, self.needs, self.name)
        return as_output(len(history), spectrum_db=self._rssi_db(history)[..., None].expand(-1, -1, 64))
