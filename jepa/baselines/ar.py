"""Linear autoregression of the paper's Table II: lag 8, rolled out five steps."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.base import Baseline, as_output
from jepa.data.preprocess import power_db
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED
from jepa.evaluation.predictions import Output
from jepa.training.loop import Plan, fit

__all__ = ["AutoRegression", "BeamAutoRegression", "roll_out", "rssi_of"]

PLAN = Plan(epochs=30, learning_rate=3e-3, batch_size=64)


def rssi_of(power: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch"]:
    """10 log10 of the mean linear power over the beams."""
    return power_db(power.mean(-1))


class BeamAutoRegression(nn.Module):
    """Embedding(65, 32), a weight a lag and channel, Linear(32, 64): 4,448 parameters. Token 64 stands for no beam."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(65, 32)
        self.lags = nn.Parameter(torch.full((T_OBS, 32), 1 / T_OBS))
        self.out = nn.Linear(32, 64)

    def forward(self, beams: Int[Tensor, "window 8"]) -> Float[Tensor, "window 64"]:
        """Logits of the beam after 8 beams."""
        mixed: Tensor = self.out((self.embedding(beams) * self.lags).sum(1))
        return mixed

    def roll_out(self, beams: Int[Tensor, "window 8"]) -> Float[Tensor, "window 5 64"]:
        """Logits of five further beams; the likeliest is the next input."""
        logits = []
        for _ in range(T_PRED):
            logits.append(self(beams[:, -T_OBS:]))
            beams = torch.cat([beams, logits[-1].argmax(-1, keepdim=True)], 1)
        return torch.stack(logits, 1)


def _lagged(series: Float[Tensor, "window 13 channel"]) -> tuple[Tensor, Tensor]:
    """Pairs of 8 values and the next one, a channel each."""
    lags = series.unfold(1, T_OBS + 1, 1).flatten(0, 1)
    return lags[..., :T_OBS], lags[..., T_OBS]


class AutoRegression(Baseline):
    """Localization with 18 parameters, beam with 4,448, RSSI with 9. RSSI is given as a flat spectrum."""

    name = "ar"

    def __init__(self) -> None:
        self.beam = BeamAutoRegression()
        self.position_weights: Float[Tensor, "2 9"] = torch.zeros(2, T_OBS + 1)
        self.rssi_weights: Float[Tensor, "1 9"] = torch.zeros(1, T_OBS + 1)

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Least squares of the next value for positions and RSSI, cross-entropy of the next beam for beams."""
        train = train.on(self.device)
        position = torch.cat([train.history.position_m, train.position_m], 1)
        self.position_weights = _least_squares(position)
        power = torch.cat([train.history.power, train.power], 1)
        self.rssi_weights = _least_squares(rssi_of(power)[..., None])
        beams = power.argmax(-1)

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            chosen = beams[rows]
            logits = torch.stack([self.beam(chosen[:, k : k + T_OBS]) for k in range(T_PRED)], 1)
            return functional.cross_entropy(logits.flatten(0, 1), chosen[:, T_OBS:].flatten()), {}

        torch.manual_seed(seed)
        self.beam = BeamAutoRegression().to(self.device)
        fit(self.beam, loss, len(train), replace(PLAN, seed=seed))

    @torch.no_grad()
    def predict(self, history: History) -> Output:
        """Each prediction is the next input."""
        history = history.on(self.device)
        logits = self.beam.roll_out(history.power.argmax(-1))
        trajectory = roll_out(history.position_m, self.position_weights)
        rssi = roll_out(rssi_of(history.power)[..., None], self.rssi_weights)
        return as_output(len(history), trajectory, logits, rssi.expand(-1, -1, 64))


def _least_squares(series: Float[Tensor, "window 13 channel"]) -> Float[Tensor, "channel 9"]:
    """Weights of the 8 lags and the bias, a channel each, in float64, with the tiniest ridge against collinear lags."""
    lags, following = _lagged(series.double())
    weights = []
    for channel in range(series.shape[-1]):
        design = torch.cat([lags[:, channel], lags.new_ones(len(lags), 1)], 1)
        ridge = 1e-8 * design.square().mean() * len(design) * torch.eye(T_OBS + 1).to(design)
        weights.append(torch.linalg.solve(design.T @ design + ridge, design.T @ following[:, channel]))
    return torch.stack(weights)


def roll_out(
    history: Float[Tensor, "window 8 channel"], weights: Float[Tensor, "channel 9"]
) -> Float[Tensor, "window 5 channel"]:
    """Five further values by the weights of 8 lags and a bias; each is the next input."""
    series = history.double()
    for _ in range(T_PRED):
        following = (series[:, -T_OBS:].transpose(1, 2) * weights[:, :T_OBS]).sum(-1) + weights[:, T_OBS]
        series = torch.cat([series, following[:, None]], 1)
    return series[:, T_OBS:].float()
