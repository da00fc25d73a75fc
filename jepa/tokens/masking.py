"""Masks: which tokens the context encoder does not see. True is hidden.

The kind is drawn per batch and every window of a batch hides equally many tokens of each modality, so that shapes are
static. Masks are drawn on the CPU: a step then needs nothing back from a GPU.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from jepa.data.windows import T_PRED
from jepa.tokens.tokenizers import Layout
from twin.errors import UserError

__all__ = [
    "MASKS",
    "checkerboard",
    "draw_mask",
    "future_mask",
    "hidden_places",
    "joint_future",
    "random_tokens",
    "temporal_block",
    "visible_places",
]


def temporal_block(layout: Layout, batch: int, ratio: float, generator: torch.Generator) -> Bool[Tensor, "batch token"]:
    """For each modality one contiguous segment of floor(r T) frames at a random place, all its tokens (paper)."""
    length = int(ratio * layout.frames)
    device = generator.device
    frame = torch.arange(layout.frames, device=device)
    parts = []
    for _, _, tokens in layout.pieces():
        start = torch.randint(layout.frames - length + 1, (batch, 1), generator=generator, device=device)
        hidden = (frame >= start) & (frame < start + length)
        parts.append(hidden.repeat_interleave(tokens, 1))
    return torch.cat(parts, 1)


def random_tokens(layout: Layout, batch: int, ratio: float, generator: torch.Generator) -> Bool[Tensor, "batch token"]:
    """For each modality floor(r T K) of its tokens at random places."""
    device = generator.device
    parts = []
    for _, _, tokens in layout.pieces():
        total = layout.frames * tokens
        rank = torch.rand(batch, total, generator=generator, device=device).argsort(1).argsort(1)
        parts.append(rank < int(ratio * total))
    return torch.cat(parts, 1)


def checkerboard(layout: Layout, batch: int, ratio: float, generator: torch.Generator) -> Bool[Tensor, "batch token"]:
    """Every other token in frame, modality and index; the phase is drawn per batch. The ratio is a half."""
    phase = int(torch.randint(2, (1,), generator=generator, device=generator.device))
    parts = []
    for number, (_, _, tokens) in enumerate(layout.pieces()):
        frame = torch.arange(layout.frames)[:, None] + torch.arange(tokens)
        parts.append(((frame + number + phase) % 2 == 0).flatten())
    return torch.cat(parts).to(generator.device).expand(batch, -1)


def joint_future(layout: Layout, batch: int, ratio: float, generator: torch.Generator) -> Bool[Tensor, "batch token"]:
    """The last T_pred frames of all modalities: what the heads ask for."""
    return future_mask(layout).to(generator.device).expand(batch, -1)


def joint_future_missing(
    layout: Layout, batch: int, ratio: float, generator: torch.Generator
) -> Bool[Tensor, "batch token"]:
    """The joint future and the whole of one modality, drawn per batch: what heads without a history ask for."""
    chosen = int(torch.randint(len(layout.modalities), (1,), generator=generator, device=generator.device))
    missing = (layout.modalities[chosen],) if len(layout.modalities) > 1 else ()
    return future_mask(layout, missing).to(generator.device).expand(batch, -1)


MASKS: dict[str, Callable[[Layout, int, float, torch.Generator], Tensor]] = {
    "temporal-block": temporal_block,
    "random": random_tokens,
    "checkerboard": checkerboard,
    "joint-future": joint_future,
    "joint-future-missing": joint_future_missing,
}


def draw_mask(
    layout: Layout, batch: int, kinds: Mapping[str, float], ratio: float, generator: torch.Generator
) -> Bool[Tensor, "batch token"]:
    """A mask of a kind drawn with the given shares.

    Raises:
        UserError: an unknown kind, shares that are no shares, or a ratio that hides nothing or everything.
    """
    names = list(kinds)
    unknown = [name for name in names if name not in MASKS]
    if unknown:
        raise UserError(f"unknown mask {unknown[0]!r}", "mask.kinds", f"choose from {', '.join(MASKS)}")
    shares = torch.tensor([kinds[name] for name in names], dtype=torch.float64, device=generator.device)
    if not names or bool((shares < 0).any()) or float(shares.sum()) <= 0:
        raise UserError("the shares are not positive", "mask.kinds", "give for example {temporal-block: 1.0}")
    if int(ratio * layout.frames) == 0:
        raise UserError(f"a ratio of {ratio:g} hides no frame", "mask.ratio", f"give at least 1/{layout.frames}")
    chosen = int(torch.multinomial(shares, 1, generator=generator))
    return MASKS[names[chosen]](layout, batch, ratio, generator)


def future_mask(layout: Layout, missing: tuple[str, ...] = ()) -> Bool[Tensor, "token"]:
    """Hides the last T_pred frames of all modalities, and all frames of the missing ones."""
    frame = layout.rows()[0]
    hidden = frame >= layout.frames - T_PRED
    for name, first, tokens in layout.pieces():
        if name in missing:
            hidden[first : first + layout.frames * tokens] = True
    return hidden


def visible_places(hidden_BN: Bool[Tensor, "batch token"]) -> Int[Tensor, "batch visible"]:
    """Places of the tokens that a mask leaves visible, in order."""
    visible = int((~hidden_BN[0]).sum())
    return torch.sort(hidden_BN.to(torch.uint8), dim=1, stable=True).indices[:, :visible]


def hidden_places(hidden_BN: Bool[Tensor, "batch token"]) -> Int[Tensor, "batch hidden"]:
    """Places of the tokens that a mask hides, in order: modality by modality."""
    return visible_places(~hidden_BN)
