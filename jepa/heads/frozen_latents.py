"""What a frozen backbone makes of any number of windows, in chunks that fit into memory."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from jepa.backbone.model import JepaModel, Latents
from jepa.config import HeadConfig
from jepa.data.sharing import SharedFrames
from jepa.data.windows import T_WINDOW

__all__ = ["CHUNK", "alike", "latents_of"]

CHUNK = 1024
"""Windows that go through the backbone at once, when each has a token a modality and frame; fewer where they have
more."""

Read = Callable[[Tensor], dict[str, Tensor | SharedFrames]]
"""Model inputs (B, 8, ...) of some windows, by their rows."""


def latents_of(
    model: JepaModel,
    read: Read,
    count: int,
    config: HeadConfig,
    lost: Mapping[str, Bool[Tensor, "window 8"]] | None = None,
) -> Latents:
    """Latents of any number of windows, in chunks; zeros for a zeroed backbone.

    Args:
        lost: by modality, observed frames that were lost on the way. Windows that lost the same go together.
    """
    lost = lost or {}
    alone = config.readout == "target" and not config.linear  # linear paths read the last context
    chunk = max(1, CHUNK * 2 * T_WINDOW // model.layout.tokens)
    parts, order = [], []
    for rows, gone in alike(count, lost):
        for some in rows.split(chunk):
            latents = model.future_latents(read(some), config.missing, gone)
            parts.append(latents.predicted_alone() if alone else latents)
            order.append(some)
    latents = Latents.cat(parts)
    if len(order) > 1:
        latents = latents.select(torch.cat(order).argsort().to(latents.context.device))
    return latents.zeroed() if config.backbone == "zeroed" else latents


def alike(count: int, lost: Mapping[str, Bool[Tensor, "window *frame"]]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Rows of windows that lost the same, and what."""
    rows = torch.arange(count)
    lossy = {name: values.cpu() for name, values in lost.items() if bool(values.any())}
    if not lossy or not count:
        yield rows, {}
        return
    patterns, which = torch.unique(torch.stack(list(lossy.values()), 1), dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield rows[which == number], dict(zip(lossy, pattern, strict=True))
