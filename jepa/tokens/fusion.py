"""Fusion tokens: a first layer in which a few learned tokens a frame gather what its modalities say.

After Le MuMo JEPA (Cornelissen, Leroux and Simoens, section 3.3, "Pruned Fusion"), where a fusion token stands for a
patch of a picture, reads the picture's and the depth map's token there, and both are then dropped. The modalities of a
base station share no grid of patches, only the time: here a few tokens stand for a frame and read all its tokens.

Shape suffixes: B batch, N tokens of a window, T frames, K tokens a frame, S fusion tokens a frame, D width, H heads.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.tokens.tokenizers import POSITION_STD, TOKENIZERS, Layout
from twin.errors import UserError

__all__ = ["FrameFusion", "FusedLayout", "by_frame", "incomplete_frames"]


@dataclass(frozen=True)
class FusedLayout(Layout):
    """The tokens of a window, and the S into which an encoder fuses those of each frame."""

    fusion_tokens: int = 1

    @property
    def places(self) -> int:
        """Number of positions of encoder and predictor: frame by frame, S T."""
        return self.frames * self.fusion_tokens


def by_frame(layout: Layout, values_BN: Tensor) -> Tensor:
    """Values of all tokens (B, N, ...), frame by frame: (B, T, K, ...), the modalities of a frame in their order."""
    parts, first = [], 0
    for name in layout.modalities:
        count = layout.frames * TOKENIZERS[name].tokens
        parts.append(values_BN[:, first : first + count].unflatten(1, (layout.frames, -1)))
        first += count
    return torch.cat(parts, 2)


def incomplete_frames(layout: Layout, hidden_BN: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch frame"]:
    """Frames of which at least one token is hidden: those whose fusion tokens are to be predicted."""
    return by_frame(layout, hidden_BN).any(-1)


class FrameFusion(nn.Module):
    """The first layer of an encoder: pre-LN attention of the fusion tokens, and their feed-forward network.

    With q_ts = f_s + e_time[t], S learned tokens f in every frame, X_t the visible tokens of frame t, positions
    included, and [.;.] one after another:

        Z_t = q_t + Attention(queries LN(q_t), keys and values LN([q_t; X_t])),    F_t = Z_t + FFN(LN(Z_t)).

    F is what the further layers see: S T tokens a window in place of K T. Of a frame without visible tokens F_t holds
    the time alone. As X leaves the sequence here, only the queries of q are computed; the values are those of a
    `TransformerLayer` over [q_t; X_t], which has as many parameters, 12 D^2 + 13 D, and the tokens add S D.

    Args:
        ratio: of the feed-forward network.
        tokens: S.

    Raises:
        UserError: less than one token.
    """

    def __init__(self, layout: Layout, width: int, heads: int, ratio: int, tokens: int) -> None:
        super().__init__()
        if tokens < 1:
            raise UserError(f"{tokens} fusion tokens a frame", "model.fusion_tokens", "choose at least 1")
        self.layout, self.heads = layout, heads
        self.tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(tokens, width), std=POSITION_STD))
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def positions(self, time_TD: Float[Tensor, "frame dim"]) -> Float[Tensor, "fused dim"]:
        """f_s + e_time[t], frame by frame: the fusion tokens as they enter, and where a predictor finds them."""
        return (time_TD[:, None] + self.tokens).flatten(0, 1)

    def forward(
        self,
        tokens_BND: Float[Tensor, "batch token dim"],
        time_TD: Float[Tensor, "frame dim"],
        hidden_BN: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch fused dim"]:
        """Fusion tokens, frame by frame, that have looked at the visible tokens of their frame.

        Args:
            tokens_BND: as `TokenEmbedding` gives them.
            time_TD: its table of times.
            hidden_BN: tokens that nobody may look at; None shows all, as the target branch does.
        """
        count, windows = len(self.tokens), tokens_BND.shape[0]
        entering = self.positions(time_TD).unflatten(0, (-1, count)).expand(windows, -1, -1, -1)
        if hidden_BN is not None:
            # a lost frame may hold NaN, which no weight of zero takes away
            tokens_BND = tokens_BND.masked_fill(hidden_BN[..., None], 0)
        evidence_BTKD = by_frame(self.layout, tokens_BND)
        fused = entering.to(evidence_BTKD.dtype).flatten(0, 1)
        read = self.attention_norm(torch.cat([fused, evidence_BTKD.flatten(0, 1)], 1))
        query = self.query(read[:, :count]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(read).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shown = None
        if hidden_BN is not None:
            visible = (~by_frame(self.layout, hidden_BN)).flatten(0, 1)
            shown = functional.pad(visible, (count, 0), value=True)[:, None, None]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=shown)
        fused = fused + self.out(attended.transpose(1, 2).flatten(2))
        fused = fused + self.feed_forward(self.feed_forward_norm(fused))
        return fused.unflatten(0, (windows, -1)).flatten(1, 2)
