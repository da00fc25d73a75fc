"""The plain engineer's network: a GRU on all 64 powers and the position, with direct five-step outputs."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.base import Baseline, as_output
from jepa.data.preprocess import Normaliser
from jepa.data.samples import History, Samples
from jepa.data.windows import T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["GruPowerPosition", "PowerPositionGru"]

PLAN = Plan(epochs=40, learning_rate=1e-3, weight_decay=0.01, batch_size=64)


class PowerPositionGru(nn.Module):
    """2-layer GRU of width 256 on 64 standardised log-powers and the position; linear outputs of all steps at once."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.gru = nn.GRU(66, width, num_layers=2, batch_first=True)
        self.position = nn.Linear(width, T_PRED * 2)
        self.beam = nn.Linear(width, T_PRED * 64)

    def forward(self, features: Float[Tensor, "window 8 66"]) -> tuple[Tensor, Tensor]:
        """Displacements from the last position (standardised) and logits."""
        last = self.gru(features)[0][:, -1]
        return self.position(last).unflatten(1, (T_PRED, 2)), self.beam(last).unflatten(1, (T_PRED, 64))


class GruPowerPosition(Baseline):
    """The mark: localization and beam."""

    name = "gru_power_position"

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Cross-entropy of the beams and L1 of the positions, 40 epochs of AdamW under a cosine."""
        train = train.on(self.device)
        torch.manual_seed(seed)
        self.normaliser = Normaliser.of(train)
        self.model = PowerPositionGru().to(self.device)
        features = self._features(train.history)
        target = self.normaliser.position(train.position_m) - features[:, -1:, 64:]

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            offset, logits = self.model(features[rows])
            beam = functional.cross_entropy(logits.flatten(0, 1), train.best_beam[rows].flatten())
            return beam + functional.l1_loss(offset, target[rows]), {}

        fit(self.model, loss, len(train), replace(PLAN, seed=seed), label=self.label)

    def _features(self, history: History) -> Float[Tensor, "window 8 66"]:
        return torch.cat([self.normaliser.power(history.power), self.normaliser.position(history.position_m)], -1)

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """Trajectory and beam."""
        history = history.on(self.device)
        offset, logits = self.model(self._features(history))
        trajectory = history.position_m[:, -1:] + offset * self.normaliser.position_scale_m
        return as_output(len(history), trajectory, logits)
