"""Tokenizers: from a modality's frame to its tokens, by name, and where a token stands.

A further modality joins with one entry in `TOKENIZERS`. Shape suffixes: B batch, T frames, K tokens a frame, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa.windows import T_WINDOW
from twin.errors import UserError

__all__ = ["MODALITY_NAMES", "TOKENIZERS", "TOKEN_INDICES", "Layout", "TokenEmbedding", "Tokenizer"]

MODALITY_NAMES = ("camera", "radar", "lidar", "gps", "rf")
"""Rows of the modality table: fixed, so that weights keep their meaning when modalities join."""
TOKEN_INDICES = 16
"""Rows of the index table, shared by the modalities: the largest number of tokens a frame."""
POSITION_STD = 0.02
"""Standard deviation of the tables and the mask token at the start."""


@dataclass(frozen=True)
class Tokenizer:
    """How a modality becomes tokens: the layers for a width, tokens a frame, and the shape of a frame."""

    build: Callable[[int], nn.Module]
    tokens: int
    shape: tuple[int, ...]


def _projection(channels: int, width: int) -> nn.Module:
    """Linear(channels, D) -> LayerNorm(D)."""
    return nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))


TOKENIZERS: dict[str, Tokenizer] = {
    "gps": Tokenizer(lambda width: _projection(2, width), tokens=1, shape=(2,)),
    "rf": Tokenizer(lambda width: _projection(64, width), tokens=1, shape=(64,)),
}


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

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.tokenizers = nn.ModuleDict({name: TOKENIZERS[name].build(width) for name in layout.modalities})
        self.time = nn.Parameter(torch.empty(layout.frames, width).normal_(0, POSITION_STD))
        self.modality = nn.Parameter(torch.empty(len(MODALITY_NAMES), width).normal_(0, POSITION_STD))
        self.index = nn.Parameter(torch.empty(TOKEN_INDICES, width).normal_(0, POSITION_STD))
        for name, rows in zip(("_frame", "_modality", "_index"), layout.rows(), strict=True):
            self.register_buffer(name, rows, persistent=False)
        self._frame: Tensor
        self._modality: Tensor
        self._index: Tensor

    def positions(self) -> Float[Tensor, "token dim"]:
        """Position embedding of every token of a window."""
        # not plain indexing, whose gradients are summed in any order when threads share the work
        time = self.time.index_select(0, self._frame)
        return time + self.modality.index_select(0, self._modality) + self.index.index_select(0, self._index)

    def forward(self, inputs: Mapping[str, Tensor]) -> Float[Tensor, "batch token dim"]:
        """Tokens of windows. Inputs (B, T, ...) with T below a window stand at its beginning; the rest is zero."""
        found = []
        for name in self.layout.modalities:
            values_BTC = inputs[name]
            batch, frames = values_BTC.shape[:2]
            with torch.autocast(values_BTC.device.type, enabled=False):  # metres and dB lose too much in bfloat16
                tokens_BKD = self.tokenizers[name](values_BTC.flatten(0, 1))
            tokens_BTKD = tokens_BKD.reshape(batch, frames, TOKENIZERS[name].tokens, -1)
            absent = self.layout.frames - frames
            if absent:
                tokens_BTKD = nn.functional.pad(tokens_BTKD, (0, 0, 0, 0, 0, absent))
            found.append(tokens_BTKD.flatten(1, 2))
        return torch.cat(found, 1) + self.positions()
