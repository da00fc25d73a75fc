"""Tokenizers: from a modality's frame to its tokens, by name, and where a token stands.

A further modality joins with one entry in `TOKENIZERS`. Shape suffixes: B batch, T frames, F frames held once, K
tokens a frame, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from jepa.config import ModelConfig
from jepa.data.preprocess import Normaliser
from jepa.data.sending import send
from jepa.data.sharing import SharedFrames
from jepa.data.windows import T_WINDOW
from jepa.tokens.camera import CameraTokenizer
from twin.errors import UserError

__all__ = [
    "MODALITY_NAMES",
    "TOKENIZERS",
    "TOKEN_INDICES",
    "Inputs",
    "Layout",
    "MapTokenizer",
    "TokenEmbedding",
    "Tokenizer",
]

Inputs = Mapping[str, Tensor | SharedFrames]
"""What a model reads of windows, by modality: values (B, T, ...), or frames that windows share. A modality that is left
out, or a frame that is absent at the end, has to be hidden by the mask."""

MODALITY_NAMES = ("camera", "radar", "lidar", "gps", "rf")
"""Rows of the modality table: fixed, so that weights keep their meaning when modalities join."""
TOKEN_INDICES = 16
"""Rows of the index table, shared by the modalities: the largest number of tokens a frame."""
POSITION_STD = 0.02
"""Standard deviation of the tables and the mask token at the start."""


@dataclass(frozen=True)
class Tokenizer:
    """How a modality becomes tokens: its layers, tokens a frame, the shape of a frame, and whether metres or dB go in
    that bfloat16 would blur."""

    build: Callable[[ModelConfig], nn.Module]
    tokens: int
    shape: tuple[int, ...]
    precise: bool = False


class _Projection(nn.Sequential):
    """Linear(channels, D) -> LayerNorm(D): one token a frame."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__(nn.Linear(channels, config.width), nn.LayerNorm(config.width))

    def forward(self, frame: Float[Tensor, "frame channel"]) -> Float[Tensor, "frame 1 dim"]:
        """The token of every frame."""
        return super().forward(frame)[:, None]


MAP_CHANNELS, MAP_GRID = 64, 4


class MapTokenizer(nn.Module):
    """Conv2d(1, 64, 3, stride 2) -> BatchNorm -> ReLU -> AdaptiveAvgPool 4 x 4 -> Linear(64, D) -> LayerNorm: 16
    tokens a frame, 9,344 parameters at D = 128.

    Args:
        ready: from stored values to the network's input, frame by frame.
    """

    def __init__(self, config: ModelConfig, ready: Callable[[Tensor], Tensor] = torch.Tensor.float) -> None:
        super().__init__()
        self.ready = ready
        self.features = nn.Sequential(
            nn.Conv2d(1, MAP_CHANNELS, 3, stride=2, padding=1),
            nn.BatchNorm2d(MAP_CHANNELS),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(MAP_GRID),
        )
        self.project = nn.Sequential(nn.Linear(MAP_CHANNELS, config.width), nn.LayerNorm(config.width))

    def forward(self, frame: Float[Tensor, "frame row column"]) -> Float[Tensor, "frame 16 dim"]:
        """Tokens of maps, row by row of the 4 x 4 grid."""
        features = self.features(self.ready(frame)[:, None])
        tokens: Tensor = self.project(features.flatten(2).transpose(1, 2))
        return tokens


TOKENIZERS: dict[str, Tokenizer] = {
    "camera": Tokenizer(CameraTokenizer, tokens=9, shape=(224, 224, 3)),
    "radar": Tokenizer(MapTokenizer, tokens=16, shape=(64, 256)),
    "lidar": Tokenizer(lambda config: MapTokenizer(config, Normaliser.depth), tokens=16, shape=(64, 256)),
    "gps": Tokenizer(lambda config: _Projection(2, config), tokens=1, shape=(2,), precise=True),
    "rf": Tokenizer(lambda config: _Projection(64, config), tokens=1, shape=(64,), precise=True),
}
"""What goes in: `camera` bytes (F, H, W, 3) or pooled features, `radar` standardised, `lidar` metres, `gps` and `rf`
standardised."""
FRAMES_AT_ONCE = 64
"""Frames that go through a tokenizer at once without gradients."""


@dataclass(frozen=True)
class Layout:
    """The order of the tokens of a window: modality by modality, frame by frame, token by token."""

    modalities: tuple[str, ...]
    frames: int = T_WINDOW

    @classmethod
    def of(cls, modalities: Sequence[str]) -> "Layout":
        """The layout of some modalities, in the order of `MODALITY_NAMES`.

        Raises:
            UserError: an unknown modality, one that is named twice, or none.
        """
        unknown = [name for name in modalities if name not in TOKENIZERS or name not in MODALITY_NAMES]
        if unknown or not modalities:
            raise UserError(
                f"unknown modality {unknown[0]!r}" if unknown else "no modality is named",
                "inputs.modalities",
                f"choose from {', '.join(TOKENIZERS)}",
            )
        if len(set(modalities)) < len(modalities):
            raise UserError("a modality is named twice", "inputs.modalities", "name each once")
        return cls(tuple(name for name in MODALITY_NAMES if name in modalities))

    @property
    def tokens(self) -> int:
        """Number of tokens of a window."""
        return sum(self.frames * TOKENIZERS[name].tokens for name in self.modalities)

    def pieces(self) -> list[tuple[str, int, int]]:
        """Modality, first token and tokens a frame."""
        found, first = [], 0
        for name in self.modalities:
            tokens = TOKENIZERS[name].tokens
            found.append((name, first, tokens))
            first += self.frames * tokens
        return found

    def rows(self) -> tuple[Int[Tensor, "token"], Int[Tensor, "token"], Int[Tensor, "token"]]:
        """Frame, modality (row of `MODALITY_NAMES`) and index inside the frame of every token."""
        frame, modality, index = [], [], []
        for name in self.modalities:
            count = TOKENIZERS[name].tokens
            frame.append(torch.arange(self.frames).repeat_interleave(count))
            modality.append(torch.full((self.frames * count,), MODALITY_NAMES.index(name)))
            index.append(torch.arange(count).repeat(self.frames))
        return torch.cat(frame), torch.cat(modality), torch.cat(index)


class TokenEmbedding(nn.Module):
    """Tokenizers and the factorised position: token + e_time[t] + e_modality[m] + e_index[k] (paper, eq. 12)."""

    def __init__(self, layout: Layout, config: ModelConfig) -> None:
        super().__init__()
        self.layout = layout
        self.width = config.width
        self.tokenizers = nn.ModuleDict({name: TOKENIZERS[name].build(config) for name in layout.modalities})
        self.time = nn.Parameter(torch.empty(layout.frames, self.width).normal_(0, POSITION_STD))
        self.modality = nn.Parameter(torch.empty(len(MODALITY_NAMES), self.width).normal_(0, POSITION_STD))
        self.index = nn.Parameter(torch.empty(TOKEN_INDICES, self.width).normal_(0, POSITION_STD))
        for name, rows in zip(("_frame", "_modality", "_index"), layout.rows(), strict=True):
            self.register_buffer(name, rows, persistent=False)
        self._frame: Tensor
        self._modality: Tensor
        self._index: Tensor
        self._frozen_norms = config.batch_norm == "frozen"
        self.train()

    def train(self, mode: bool = True) -> "TokenEmbedding":
        """Frozen batch norms keep their statistics."""
        super().train(mode)
        if self._frozen_norms:
            for module in self.tokenizers.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def positions(self) -> Float[Tensor, "token dim"]:
        """Position embedding of every token of a window."""
        # not plain indexing, whose gradients are summed in any order when threads share the work
        time = self.time.index_select(0, self._frame)
        return time + self.modality.index_select(0, self._modality) + self.index.index_select(0, self._index)

    def tokenize(self, name: str, frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame k dim"]:
        """Tokens of single frames, before they have a place: they can be kept from one window to the next."""
        if not torch.is_grad_enabled() and len(frames) > FRAMES_AT_ONCE:
            return torch.cat([self.tokenize(name, part) for part in frames.split(FRAMES_AT_ONCE)])
        if not TOKENIZERS[name].precise:
            found: Tensor = self.tokenizers[name](frames)
            return found
        with torch.autocast(frames.device.type, enabled=False):
            precise: Tensor = self.tokenizers[name](frames)
        return precise

    def forward(self, inputs: Inputs) -> Float[Tensor, "batch token dim"]:
        """Tokens of windows. Inputs with fewer frames than a window stand at its beginning; what is absent is zero."""
        some = next(iter(inputs.values()))
        found = []
        for name in self.layout.modalities:
            tokens = TOKENIZERS[name].tokens
            if name not in inputs:
                found.append(self.time.new_zeros(some.shape[0], self.layout.frames * tokens, self.width))
                continue
            tokens_BTKD = self._by_window(name, inputs[name])
            absent = self.layout.frames - tokens_BTKD.shape[1]
            if absent:
                tokens_BTKD = nn.functional.pad(tokens_BTKD, (0, 0, 0, 0, 0, absent))
            found.append(tokens_BTKD.flatten(1, 2))
        return torch.cat(found, 1) + self.positions()

    def _by_window(self, name: str, values: Tensor | SharedFrames) -> Float[Tensor, "batch time k dim"]:
        if isinstance(values, SharedFrames):
            tokens_FKD = self.tokenize(name, values.values)
            place = send(values.index.flatten(), tokens_FKD.device)
            return tokens_FKD.index_select(0, place).unflatten(0, values.index.shape)
        return self.tokenize(name, values.flatten(0, 1)).unflatten(0, values.shape[:2])
