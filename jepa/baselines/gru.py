"""The paper's GRU baselines (Table II): one encoder-decoder a task."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.ar import rssi_of
from jepa.baselines.base import Baseline, as_output
from jepa.data.samples import History, Samples
from jepa.data.windows import T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["BeamGru", "Gru", "SeriesGru"]

NO_BEAM = 64
"""The token that starts a decoder."""
PLAN = Plan(epochs=30, learning_rate=1e-3, weight_decay=1e-4, batch_size=64)


class SeriesGru(nn.Module):
    """Encoder GRU, decoder GRU and linear head on a standardised series; the decoder predicts increments.

    26,242 parameters for two channels (positions), 25,793 for one (RSSI) at width 64.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.GRU(channels, width, batch_first=True)
        self.decoder = nn.GRU(channels, width, batch_first=True)
        self.head = nn.Linear(width, channels)

    def forward(self, history: Float[Tensor, "window 8 channel"]) -> Float[Tensor, "window 5 channel"]:
        """Five further values; each is the decoder's next input, relative to the last observed one."""
        origin = history[:, -1:]
        _, state = self.encoder(history)
        value, found = torch.zeros_like(origin), []
        for _ in range(T_PRED):
            out, state = self.decoder(value, state)
            value = value + self.head(out)
            found.append(origin + value)
        return torch.cat(found, 1)


class BeamGru(nn.Module):
    """Embedding(65, 32), encoder GRU(128), decoder GRU(128), Linear(128, 64): 134,752 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(65, 32)
        self.encoder = nn.GRU(32, 128, batch_first=True)
        self.decoder = nn.GRU(32, 128, batch_first=True)
        self.head = nn.Linear(128, 64)

    def forward(
        self, history: Int[Tensor, "window 8"], future: Int[Tensor, "window 5"] | None = None
    ) -> Float[Tensor, "window 5 64"]:
        """Logits of five further beams; with `future` the decoder is shown the true previous beams (training)."""
        _, state = self.encoder(self.embedding(history))
        beam = torch.full_like(history[:, :1], NO_BEAM)
        found = []
        for step in range(T_PRED):
            out, state = self.decoder(self.embedding(beam), state)
            found.append(self.head(out))
            beam = found[-1].argmax(-1) if future is None else future[:, step : step + 1]
        return torch.cat(found, 1)


class Gru(Baseline):
    """One GRU a task. RSSI is given as a flat spectrum."""

    name = "gru"

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Train the three models, each for itself."""
        train = train.on(self.device)
        torch.manual_seed(seed)
        self.location = SeriesGru(2).to(self.device)
        self.beam = BeamGru().to(self.device)
        self.rssi = SeriesGru(1).to(self.device)
        position = train.history.position_m
        self.mean_m = position.mean((0, 1))
        self.scale_m = position.std()
        rssi = rssi_of(train.history.power)
        self.mean_db, self.scale_db = rssi.mean(), rssi.std().clamp_min(1e-6)
        plan = replace(PLAN, seed=seed)
        place, future_place = self._place(position), self._place(train.position_m)
        level, future_level = self._level(train.history.power), self._level(train.power)
        beams = train.history.power.argmax(-1)

        def locate(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            return functional.l1_loss(self.location(place[rows]), future_place[rows]), {}

        def steer(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            truth = train.best_beam[rows]
            return functional.cross_entropy(self.beam(beams[rows], truth).flatten(0, 1), truth.flatten()), {}

        def measure(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            return functional.mse_loss(self.rssi(level[rows]), future_level[rows]), {}

        tasks = (
            ("localization", self.location, locate),
            ("beam", self.beam, steer),
            ("rssi", self.rssi, measure),
        )
        for task, model, loss in tasks:
            fit(model, loss, len(train), plan, label=f"{self.label}: {task}" if self.label else "")

    def _place(self, position_m: Tensor) -> Tensor:
        return (position_m - self.mean_m) / self.scale_m

    def _level(self, power: Tensor) -> Tensor:
        return ((rssi_of(power) - self.mean_db) / self.scale_db)[..., None]

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """The three models' predictions."""
        history = history.on(self.device)
        trajectory = self.location(self._place(history.position_m)) * self.scale_m + self.mean_m
        logits = self.beam(history.power.argmax(-1))
        rssi = self.rssi(self._level(history.power)) * self.scale_db + self.mean_db
        return as_output(len(history), trajectory, logits, rssi.expand(-1, -1, 64))
