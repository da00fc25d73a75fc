"""The paper's Transformer baselines (Table II): one encoder-decoder a task, of two layers of width 64 on each side.

The layers are those of Vaswani et al. (2017): norms after the residuals, ReLU, sinusoidal positions counted from zero
on either side, 10 % dropout; four heads are ours. A decoder is shown the true previous values in training (teacher
forcing) and its own in prediction.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.ar import rssi_of
from jepa.baselines.base import Baseline, as_output
from jepa.baselines.gru import NO_BEAM
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["BeamTransformer", "EncoderDecoder", "SeriesTransformer", "Transformer", "sinusoidal_positions"]

WIDTH, LAYERS, HEADS, HIDDEN, DROPOUT = 64, 2, 4, 256, 0.1
PLAN = Plan(epochs=30, learning_rate=1e-3, weight_decay=1e-4, batch_size=64)
SMALLEST_SCALE = 1e-6
"""A series that never changes has no scale to divide by."""


def sinusoidal_positions(count: int, width: int) -> Float[Tensor, "position width"]:
    """sin(t / 10000^(2i/width)) in channel 2i, the cosine in channel 2i + 1."""
    rate = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angle = torch.arange(count)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class EncoderDecoder(nn.Module):
    """Two encoder layers, two causal decoder layers, a norm after either: 233,728 parameters."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, DROPOUT, batch_first=True)
        decoder = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, DROPOUT, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, LAYERS, nn.LayerNorm(WIDTH))
        for matrix in self.parameters():  # layers are made as copies of one, which would start alike
            if matrix.ndim > 1:
                nn.init.xavier_uniform_(matrix)
        self.register_buffer("positions", sinusoidal_positions(T_OBS, WIDTH), persistent=False)

    def encode(self, tokens: Float[Tensor, "window frame 64"]) -> Float[Tensor, "window frame 64"]:
        """What the decoder attends to."""
        memory: Tensor = self.encoder(tokens + self.positions[: tokens.shape[1]])
        return memory

    def decode(
        self, tokens: Float[Tensor, "window step 64"], memory: Float[Tensor, "window frame 64"]
    ) -> Float[Tensor, "window step 64"]:
        """A step sees the steps up to itself, and all of the history."""
        steps = tokens.shape[1]
        later = torch.ones(steps, steps, dtype=torch.bool, device=tokens.device).triu(1)
        found: Tensor = self.decoder(tokens + self.positions[:steps], memory, tgt_mask=later)
        return found


class SeriesTransformer(nn.Module):
    """A standardised series goes on: each step adds an increment to the value before.

    Input projections of their own for either side: 234,242 parameters for two channels (localization), 234,049 for
    one (RSSI).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.core = EncoderDecoder()
        self.observed = nn.Linear(channels, WIDTH)
        self.previous = nn.Linear(channels, WIDTH)
        self.head = nn.Linear(WIDTH, channels)

    def forward(
        self, history: Float[Tensor, "window frame channel"], future: Float[Tensor, "window 5 channel"] | None = None
    ) -> Float[Tensor, "window 5 channel"]:
        """Five further values; with `future` each from the true values before it (training), else from its own."""
        memory = self.core.encode(self.observed(history))
        values = history[:, -1:]
        if future is not None:
            return self._following(torch.cat([values, future[:, :-1]], 1), memory)
        for _ in range(T_PRED):
            values = torch.cat([values, self._following(values, memory)[:, -1:]], 1)
        return values[:, 1:]

    def _following(self, values: Float[Tensor, "window step channel"], memory: Tensor) -> Tensor:
        following: Tensor = values + self.head(self.core.decode(self.previous(values), memory))
        return following


class BeamTransformer(nn.Module):
    """One embedding for both sides, Linear(64, 64): 242,048 parameters. Token 64, no beam, starts the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.core = EncoderDecoder()
        self.embedding = nn.Embedding(NO_BEAM + 1, WIDTH)
        self.head = nn.Linear(WIDTH, NO_BEAM)

    def forward(
        self, history: Int[Tensor, "window 8"], future: Int[Tensor, "window 5"] | None = None
    ) -> Float[Tensor, "window 5 64"]:
        """Logits of five further beams; with `future` each from the true beams before it (training)."""
        memory = self.core.encode(self.embedding(history))
        beams = torch.full_like(history[:, :1], NO_BEAM)
        if future is not None:
            return self._logits(torch.cat([beams, future[:, :-1]], 1), memory)
        for _ in range(T_PRED):
            logits = self._logits(beams, memory)
            beams = torch.cat([beams, logits[:, -1:].argmax(-1)], 1)
        return logits

    def _logits(self, beams: Int[Tensor, "window step"], memory: Tensor) -> Float[Tensor, "window step 64"]:
        logits: Tensor = self.head(self.core.decode(self.embedding(beams), memory))
        return logits


class Transformer(Baseline):
    """One Transformer a task: displacements between frames, best beams, RSSI. RSSI is given as a flat spectrum.

    Localization goes by displacements because one is a hundredth of a street: behind a layer norm a position loses it.
    """

    name = "transformer"

    def __init__(self, plan: Plan = PLAN) -> None:
        self.plan = plan

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Train the three models, each for itself: L1 of displacements, cross-entropy of beams, squares of RSSI."""
        train = train.on(self.device)
        torch.manual_seed(seed)
        plan = replace(self.plan, seed=seed)
        self.location = SeriesTransformer(2).to(self.device)
        self.beam = BeamTransformer().to(self.device)
        self.rssi = SeriesTransformer(1).to(self.device)
        position = torch.cat([train.history.position_m, train.position_m], 1)
        self.step_m = position[:, :T_OBS].diff(dim=1).std().clamp_min(SMALLEST_SCALE)
        rssi = rssi_of(train.history.power)
        self.mean_db, self.scale_db = rssi.mean(), rssi.std().clamp_min(SMALLEST_SCALE)
        steps = self._steps(position)
        level, future_level = self._level(train.history.power), self._level(train.power)
        beams = train.history.power.argmax(-1)

        def locate(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            seen, truth = steps[rows].split([T_OBS - 1, T_PRED], 1)
            return functional.l1_loss(self.location(seen, truth), truth), {}

        def steer(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            truth = train.best_beam[rows]
            return functional.cross_entropy(self.beam(beams[rows], truth).flatten(0, 1), truth.flatten()), {}

        def measure(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            truth = future_level[rows]
            return functional.mse_loss(self.rssi(level[rows], truth), truth), {}

        tasks = (
            ("localization", self.location, locate),
            ("beam", self.beam, steer),
            ("rssi", self.rssi, measure),
        )
        for task, model, loss in tasks:
            fit(model, loss, len(train), plan, label=f"{self.label}: {task}" if self.label else "")
            model.eval()

    def _steps(self, position_m: Float[Tensor, "window frame 2"]) -> Float[Tensor, "window step 2"]:
        return (position_m.diff(dim=1) / self.step_m).float()

    def _level(self, power: Float[Tensor, "window frame 64"]) -> Float[Tensor, "window frame 1"]:
        return ((rssi_of(power) - self.mean_db) / self.scale_db)[..., None]

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """The three models' predictions."""
        history = history.on(self.device)
        position = history.position_m
        moved = self.location(self._steps(position)) * self.step_m
        logits = self.beam(history.power.argmax(-1))
        rssi = self.rssi(self._level(history.power)) * self.scale_db + self.mean_db
        return as_output(len(history), position[:, -1:] + moved.cumsum(1), logits, rssi.expand(-1, -1, 64))
