"""A recurrent model of all three tasks: a GRU over the raw history starts the GRU that reads the trajectory.

It is the ablation that a backbone has to beat, and, pretrained on the same twin, the fair rival of a pretrained one.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.base import Baseline, TorchState, as_output
from jepa.baselines.extrapolation import constant_velocity
from jepa.config import InputConfig
from jepa.data.inputs import relative, window_scale
from jepa.data.preprocess import Normaliser, power_db
from jepa.data.samples import History, Samples
from jepa.data.windows import T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["CascadeGru", "GruCascade", "soft_labels"]

PLAN = Plan(epochs=30, learning_rate=1e-3, weight_decay=1e-4, batch_size=64)
SOFT_LABEL_DB = 0.3
"""Temperature of the softened labels [dB]."""


def soft_labels(power: Float[Tensor, "*batch 64"], temperature_db: float) -> Float[Tensor, "*batch 64"]:
    """softmax(RSRP_dB / temperature): beams that are nearly as strong as the best are nearly as right."""
    return torch.softmax(power_db(power) / temperature_db, -1)


class CascadeGru(nn.Module):
    """Encoder GRU(512) on 66 inputs; its state starts a GRU(512) over the trajectory, for beam and spectrum."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.encoder = nn.GRU(66, width, batch_first=True)
        self.offset = nn.Sequential(nn.Linear(width, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, T_PRED * 2))
        self.project = nn.Sequential(nn.Linear(2, width), nn.LayerNorm(width), nn.GELU())
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(width, 256), nn.LayerNorm(256), nn.GELU())
        self.beam = nn.Linear(256, 64)
        self.spectrum = nn.Linear(256, 64)

    def forward(
        self, features: Float[Tensor, "window 8 66"], coarse: Float[Tensor, "window 5 2"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Trajectory, logits and change of the spectrum, standardised; the cascade reads the trajectory detached."""
        _, state = self.encoder(features)
        trajectory = coarse + self.offset(state[0]).unflatten(1, (T_PRED, 2))
        hidden = self.hidden(self.decoder(self.project(trajectory.detach()), state)[0])
        return trajectory, self.beam(hidden), self.spectrum(hidden)


class GruCascade(Baseline):
    """All three tasks.

    Args:
        start: the state of one fitted elsewhere (on the twin, say).
        inputs: how raw modalities become inputs; one that moves from site to site reads what the backbone reads.
    """

    name = "gru_cascade"

    def __init__(self, start: TorchState | None = None, plan: Plan = PLAN, inputs: InputConfig | None = None) -> None:
        self.start = start
        self.plan = plan
        self.inputs = inputs or InputConfig()

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Cross-entropy with softened labels, L1 of positions, mean squared error of spectra."""
        train = train.on(self.device)
        torch.manual_seed(seed)
        self.normaliser = Normaliser.of(train, self.inputs.frame)
        self.model = CascadeGru().to(self.device)
        if self.start is not None:
            self.model.load_state_dict(self.start)
        features, coarse, last, unit = self._inputs(train.history)
        place = self.normaliser.position(train.position_m)
        labels = soft_labels(train.power, SOFT_LABEL_DB)
        change = (self.normaliser.power(train.power) - last) / unit

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            trajectory, logits, spectrum = self.model(features[rows], coarse[rows])
            beam = functional.cross_entropy(logits.flatten(0, 1), labels[rows].flatten(0, 1))
            rest = functional.l1_loss(trajectory, place[rows]) + functional.mse_loss(spectrum, change[rows])
            return beam + rest, {}

        fit(self.model, loss, len(train), replace(self.plan, seed=seed), label=self.label)

    def _inputs(self, history: History) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, coarse trajectory, last spectrum, and the unit in which its change counts."""
        position, power = self.normaliser.position(history.position_m), self.normaliser.power(history.power)
        seen = relative({"rf": power}, self.inputs)["rf"]
        unit = window_scale(power)[1] if self.inputs.power == "window" else torch.ones_like(power[:, :1, :1])
        return torch.cat([seen, position], -1), constant_velocity(position), power[:, -1:], unit

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """Trajectory, beam and spectrum."""
        features, coarse, last, unit = self._inputs(history.on(self.device))
        trajectory, logits, change = self.model(features, coarse)
        spectrum = self.normaliser.power_db_of(last + unit * change)
        return as_output(len(history), self.normaliser.position_m_of(trajectory), logits, spectrum)
