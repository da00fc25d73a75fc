"""Modality dropout: batches in which whole modalities are hidden, so that the others have to speak for them."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from jepa.tokens.tokenizers import TOKENIZERS, Layout
from twin.errors import UserError

__all__ = ["drop_modalities", "dropped_tokens"]


def drop_modalities(
    modalities: Sequence[str], batch: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "batch modality"]:
    """Which modalities of a batch are hidden, the same for all its windows, so that shapes are static.

    Each of the M modalities is drawn with probability `share`, independently; where all were drawn, one of them, each
    as likely, is shown after all. So each is hidden with probability share - share^M / M, and never all.

    Raises:
        UserError: `share` is no probability.
    """
    if not 0 <= share <= 1:
        raise UserError(f"{share:g} is no share", "modality dropout", "give a number from 0 to 1")
    device, count = generator.device, len(modalities)
    drawn = torch.rand(count, generator=generator, device=device) < share
    spared = torch.randint(count, (1,), generator=generator, device=device)
    dropped = drawn & ~(drawn.all() & (torch.arange(count, device=device) == spared))
    return dropped.expand(batch, -1)


def dropped_tokens(layout: Layout, dropped_BM: Bool[Tensor, "batch modality"]) -> Bool[Tensor, "batch token"]:
    """The tokens of hidden modalities, in the order of the layout: to be joined with a mask by `|`.

    Not with one that hides whole modalities by itself: between them they could hide all.
    """
    tokens = torch.tensor([layout.frames * TOKENIZERS[name].tokens for name in layout.modalities])
    return dropped_BM.repeat_interleave(tokens.to(dropped_BM.device), 1, output_size=layout.tokens)
