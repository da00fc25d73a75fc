"""The three heads on the frozen backbone: localization, beam, RSSI, with their coarse estimates.

Everything here is standardised: positions by one scale, powers by one mean and deviation [dB].
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from jepa.backbone.model import Latents
from jepa.baselines.extrapolation import least_squares_velocity
from jepa.config import HeadConfig
from jepa.data.frames import BEAMS
from jepa.data.inputs import window_scale
from jepa.data.windows import T_OBS, T_PRED
from jepa.heads.coarse import CoarseSpectrum
from jepa.heads.displacement import DISPLACEMENTS
from jepa.tokens.fusion import FusedLayout
from jepa.tokens.tokenizers import TOKENIZERS, Layout

__all__ = [
    "READOUT_HEADS",
    "TASK_MODALITY",
    "BeamHead",
    "HeadOutput",
    "Heads",
    "LocalizationHead",
    "Readout",
    "RssiHead",
]

PAPER_WIDTH = 512
"""Of the GRUs of the beam and RSSI heads in the paper."""
TASK_MODALITY = {"localization": "gps", "beam": "rf", "rssi": "rf"}
"""The target modality of each task: whose predicted tokens its head reads."""
READOUT_HEADS = 8
"""Attention heads of the attentive readout."""
COARSE_GAIN = 2.0
"""Weight of the coarse spectrum in the logits at the start; it is trained."""


STEP_GAIN = 10.0
"""Steps between frames are about this much smaller than positions, standardised."""


class _Trunk(nn.Module):
    """Linear+LN -> GRU -> Linear+LN -> Linear, GELU between; the skip's state, where there is one, starts the GRU.

    A gated one projects latent and guide apart, and the latent comes in with a trained gain that starts at zero: what
    it tells beyond the guide and the skip is learned, and what does not help stays out.
    """

    def __init__(self, latent: int, guide: int, wide: int, outputs: int, skip: int, gated: bool) -> None:
        super().__init__()
        narrow = wide // 2
        if gated:
            self.gain = nn.Parameter(torch.zeros(1))
        if gated and guide:
            self.guide = nn.Sequential(nn.Linear(guide, wide), nn.LayerNorm(wide))
        inputs = latent if gated else latent + guide
        self.project = nn.Sequential(nn.Linear(inputs, wide), nn.LayerNorm(wide))
        self.gru = nn.GRU(wide, wide, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(wide, narrow), nn.LayerNorm(narrow), nn.GELU())
        self.out = nn.Linear(narrow, outputs)
        if skip:
            self.start = nn.Linear(skip, wide)

    def forward(
        self,
        latent: Float[Tensor, "batch 5 dim"],
        guide: Float[Tensor, "batch 5 channel"] | None,
        skip: Float[Tensor, "1 batch skip"] | None,
    ) -> Float[Tensor, "batch 5 out"]:
        if hasattr(self, "gain"):
            told = self.gain * self.project(latent)
            mixed = told if guide is None else told + self.guide(guide)
        else:
            mixed = self.project(latent if guide is None else torch.cat([latent, guide], -1))
        state = None if skip is None else self.start(skip)
        return self.out(self.hidden(self.gru(functional.gelu(mixed), state)[0]))


def _guide_channels(gated: bool, cascade: bool) -> int:
    """A trajectory, and its steps where the trunk is gated; nothing without the cascade."""
    return (4 if gated else 2) if cascade else 0


def _coarse_network(width: int, hidden: int, outputs: int) -> nn.Sequential:
    """The MLP that stands in for a missing history: D -> hidden -> LN -> outputs."""
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs))


class LocalizationHead(nn.Module):
    """Residual over the coarse trajectory; 462,980 parameters at D = 64."""

    def __init__(self, width: int, wide: int = PAPER_WIDTH, skip: int = 0, gated: bool = False) -> None:
        super().__init__()
        self.residual = _Trunk(width, 4 if gated else 0, wide // 2, 2, skip, gated)
        self.coarse = _coarse_network(width, wide // 2, 2)

    def forward(
        self, latent: Tensor, coarse: Tensor | None, skip: Tensor | None = None, guide: Tensor | None = None
    ) -> Float[Tensor, "batch 5 2"]:
        """Coarse (the MLP of the latent where there is none) plus residual, which a gated head guides by the coarse."""
        return (self.coarse(latent) if coarse is None else coarse) + self.residual(latent, guide, skip)


class BeamHead(nn.Module):
    """Logits from the latent and the predicted trajectory; 1,759,552 parameters at D = 64."""

    def __init__(
        self,
        width: int,
        wide: int = PAPER_WIDTH,
        skip: int = 0,
        gated: bool = False,
        cascade: bool = True,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.logits = _Trunk(width, _guide_channels(gated, cascade), wide, BEAMS, skip, gated)
        if coarse:
            self.gain = nn.Parameter(torch.tensor([COARSE_GAIN]))

    def forward(
        self, latent: Tensor, trajectory: Tensor | None, coarse: Tensor | None, skip: Tensor | None = None
    ) -> Float[Tensor, "batch 5 64"]:
        """Scores of the beams; a coarse spectrum is added with a trained weight."""
        logits = self.logits(latent, trajectory, skip)
        return logits if coarse is None else logits + self.gain * coarse


class RssiHead(nn.Module):
    """The spectrum as residual over a coarse one; 1,826,688 parameters at D = 64."""

    def __init__(
        self, width: int, wide: int = PAPER_WIDTH, skip: int = 0, gated: bool = False, cascade: bool = True
    ) -> None:
        super().__init__()
        self.residual = _Trunk(width, _guide_channels(gated, cascade), wide, BEAMS, skip, gated)
        self.coarse = _coarse_network(width, wide, BEAMS)

    def forward(
        self,
        latent: Tensor,
        trajectory: Tensor | None,
        coarse: Tensor | None,
        skip: Tensor | None = None,
        unit: Tensor | float = 1.0,
    ) -> Float[Tensor, "batch 5 64"]:
        """Coarse (the MLP of the latent where there is none) plus residual, which counts in `unit`."""
        base = self.coarse(latent) if coarse is None else coarse
        return base + unit * self.residual(latent, trajectory, skip)


def _silent(inputs: int) -> nn.Linear:
    """A linear map to the beams of all steps that says nothing at first."""
    layer = nn.Linear(inputs, T_PRED * BEAMS)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _told_tokens(layout: Layout, seen: Sequence[str]) -> tuple[int, int]:
    """How many tokens tell of each future frame, and of the last observed one: one a modality, or one of all that are
    fused."""
    return (1, 1) if isinstance(layout, FusedLayout) else (len(layout.modalities), len(seen))


def means_ahead(latents: Latents, layout: Layout) -> list[Float[Tensor, "batch 5 dim"]]:
    """Mean predicted token of the future frames, of every modality; of all together where they are fused."""
    found = list(latents.predicted.values())
    return found[:1] if isinstance(layout, FusedLayout) else found


def last_context(latents: Latents, layout: Layout, seen: Iterable[str]) -> list[Float[Tensor, "batch 1 dim"]]:
    """Mean context token of the last observed frame of every modality that is seen; of all where they are fused."""
    if isinstance(layout, FusedLayout):
        return [latents.context[:, -layout.fusion_tokens :].mean(1, keepdim=True)]
    found, first = [], 0
    for name in seen:
        tokens = TOKENIZERS[name].tokens
        last = first + T_OBS * tokens
        found.append(latents.context[:, last - tokens : last].mean(1, keepdim=True))
        first = last
    return found


class Readout(nn.Module):
    """How a head reads the latents: H of shape (B, 5, D). The head of a modality that is not read takes the mean over
    those that are as its predicted tokens."""

    def __init__(self, kind: str, modality: str, layout: Layout, width: int, missing: tuple[str, ...]) -> None:
        super().__init__()
        self.kind, self.modality, self.layout = kind, modality, layout
        self.seen = tuple(name for name in layout.modalities if name not in missing)
        tokens_a_frame = sum(TOKENIZERS[name].tokens for name in layout.modalities)
        seen_a_frame = sum(TOKENIZERS[name].tokens for name in self.seen)
        if isinstance(layout, FusedLayout):
            tokens_a_frame = seen_a_frame = layout.fusion_tokens
        if kind == "pooled":
            parts = sum(_told_tokens(layout, self.seen))
            self.mix = nn.Sequential(nn.Linear(parts * width, width), nn.LayerNorm(width))
        if kind == "attentive":
            total = T_PRED * tokens_a_frame + T_OBS * seen_a_frame
            self.query = nn.Parameter(torch.empty(T_PRED, width).normal_(0, 0.02))
            self.place = nn.Parameter(torch.empty(total, width).normal_(0, 0.02))
            self.attention = nn.MultiheadAttention(width, READOUT_HEADS, batch_first=True)
            self.norm = nn.LayerNorm(width)
            self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, latents: Latents) -> Float[Tensor, "batch 5 dim"]:
        """The latent of every future step."""
        target = latents.predicted.get(self.modality)
        if target is None:
            target = torch.stack(list(latents.predicted.values())).mean(0)
        if self.kind == "pooled":
            last = [token.expand(-1, T_PRED, -1) for token in last_context(latents, self.layout, self.seen)]
            return self.mix(torch.cat([*means_ahead(latents, self.layout), *last], -1))
        if self.kind == "attentive":
            tokens = torch.cat([latents.predicted_all, latents.context], 1)
            query = self.query + target
            found, _ = self.attention(query, tokens + self.place, tokens, need_weights=False)
            mixed = query + found
            return mixed + self.feed_forward(self.norm(mixed))
        return target


@dataclass(frozen=True)
class HeadOutput:
    """Predictions, standardised."""

    trajectory: Float[Tensor, "batch 5 2"]
    logits: Float[Tensor, "batch 5 64"]
    spectrum: Float[Tensor, "batch 5 64"]


class Heads(nn.Module):
    """The three heads, their readouts, and the coarse estimates they correct."""

    def __init__(self, layout: Layout, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.seen = tuple(name for name in layout.modalities if name not in config.missing)
        self.vectors = tuple(name for name in layout.modalities if len(TOKENIZERS[name].shape) == 1)
        raw = sum(TOKENIZERS[name].shape[0] for name in self.vectors)
        self.readouts = nn.ModuleDict(
            {
                task: Readout(config.readout, modality, layout, width, config.missing)
                for task, modality in TASK_MODALITY.items()
            }
        )
        skip = config.skip if raw else 0
        self.skip = nn.GRU(raw, skip, batch_first=True) if skip else None
        shape = (width, config.width, skip, config.gated)
        self.localization = LocalizationHead(*shape)
        self.beam = BeamHead(*shape, cascade=config.cascade, coarse=config.coarse_beam != "none")
        self.rssi = RssiHead(*shape, cascade=config.cascade)
        self.estimate = CoarseSpectrum(config.map_neighbours)
        if config.coarse_trajectory in DISPLACEMENTS:
            self.displacement = DISPLACEMENTS[config.coarse_trajectory]()
        if config.linear:
            ahead, last = _told_tokens(layout, self.seen)
            told = (T_PRED * ahead + last) * width
            self.linear = nn.ModuleDict({task: _silent(told) for task in ("beam", "rssi")})
        if config.spectrum_in_logits:
            self.spectrum_gain = nn.Parameter(torch.ones(1))

    def _history(self, history: Mapping[str, Tensor], name: str) -> Tensor | None:
        """The history of a modality, or None where it is missing or the model does not know it."""
        known = name in self.layout.modalities and name not in self.config.missing
        return history[name] if known else None

    def _raw(self, history: Mapping[str, Tensor]) -> Float[Tensor, "batch 8 raw"]:
        """The history of every modality whose frame is a vector; zeros where it is missing."""
        some = next(iter(history.values()))
        parts = []
        for name in self.vectors:
            values = self._history(history, name)
            parts.append(some.new_zeros(*some.shape[:2], TOKENIZERS[name].shape[0]) if values is None else values)
        return torch.cat(parts, -1)

    def _coarse(self, position: Float[Tensor, "batch 8 2"]) -> Float[Tensor, "batch 5 2"]:
        if self.config.coarse_trajectory in DISPLACEMENTS:
            return self.displacement(position)
        return least_squares_velocity(position, self.config.velocity_frames)

    def _guide(self, trajectory: Tensor | None, position: Tensor | None) -> Float[Tensor, "batch 5 4"] | None:
        """A trajectory and its steps."""
        if trajectory is None:
            return None
        last = trajectory[:, :1] if position is None else position[:, -1:]
        steps = torch.diff(torch.cat([last, trajectory], 1), dim=1)
        return torch.cat([trajectory, STEP_GAIN * steps], -1)

    def forward(
        self,
        latents: Latents,
        history: Mapping[str, Tensor],
        episode: Int[Tensor, "batch"] | None = None,
    ) -> HeadOutput:
        """Predictions from latents and the standardised history (B, 8, C).

        Args:
            episode: of every window, in training: the beam map then leaves its own episode out.
        """
        read = {task: readout(latents) for task, readout in self.readouts.items()}
        position, power = self._history(history, "gps"), self._history(history, "rf")
        coarse = None if position is None else self._coarse(position)
        unit: Tensor | float = 1.0
        if self.config.relative_power and power is not None:
            middle, unit = window_scale(power)
            history = {**history, "rf": (power - middle) / unit}
        skip = None if self.skip is None else self.skip(self._raw(history))[1]
        guide = self._guide(coarse, position) if self.config.gated else None
        trajectory = self.localization(read["localization"], coarse, skip, guide)
        ahead = trajectory.detach()
        guide = self._guide(ahead, position) if self.config.gated else ahead
        if not self.config.cascade:
            guide = None

        def estimate(kind: str) -> Tensor | None:
            return self.estimate(kind, power, position, ahead, episode)

        logits = self.beam(read["beam"], guide, estimate(self.config.coarse_beam), skip)
        spectrum = self.rssi(read["rssi"], guide, estimate(self.config.coarse_spectrum), skip, unit)
        if self.config.linear:
            parts = (*means_ahead(latents, self.layout), *last_context(latents, self.layout, self.seen))
            told = torch.cat([part.flatten(1) for part in parts], 1)
            logits = logits + self.linear["beam"](told).unflatten(1, (T_PRED, BEAMS))
            spectrum = spectrum + unit * self.linear["rssi"](told).unflatten(1, (T_PRED, BEAMS))
        if self.config.spectrum_in_logits:
            logits = logits + self.spectrum_gain * spectrum.detach()
        return HeadOutput(trajectory, logits, spectrum)

    def loss(
        self,
        output: HeadOutput,
        position: Float[Tensor, "batch 5 2"],
        power: Float[Tensor, "batch 5 64"],
        power_std_db: Float[Tensor, "batch"] | float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 of the trajectory, cross-entropy of the beam, squared error of the spectrum; and each by name."""
        locate = functional.l1_loss(output.trajectory, position)
        if self.config.soft_label_db is None:
            labels: Tensor = power.argmax(-1).flatten()
        else:
            scale = torch.as_tensor(power_std_db, device=power.device) / self.config.soft_label_db
            labels = torch.softmax(power * scale.reshape(-1, 1, 1), -1).flatten(0, 1)
        steer = functional.cross_entropy(output.logits.flatten(0, 1), labels)
        measure = functional.mse_loss(output.spectrum, power)
        parts = {"localization": locate.detach(), "beam": steer.detach(), "rssi": measure.detach()}
        return locate + steer + measure, parts
