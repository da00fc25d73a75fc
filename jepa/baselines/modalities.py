"""What baselines that read more than position and power share: they need modalities, and read them part by part."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from jepa.data.samples import History
from twin.errors import UserError

__all__ = ["in_parts", "require"]

WINDOWS_AT_ONCE = 8
"""Windows whose pictures are in memory at once where nothing is trained: 64 pictures."""


def require(history: History, modalities: Sequence[str], baseline: str) -> None:
    """Refuse windows that do not hold what a baseline reads.

    Raises:
        UserError: a modality is absent.
    """
    absent = [name for name in modalities if name not in history.values]
    if absent:
        raise UserError(
            f"the data hold no {' and no '.join(absent)}", baseline, f"name recordings with {', '.join(modalities)}"
        )


@torch.no_grad()
def in_parts(history: History, read: Callable[[History], Tensor]) -> Tensor:
    """`read` of all windows, joined; it is shown a few windows at a time."""
    rows = torch.arange(len(history))
    return torch.cat([read(history.select(part)) for part in rows.split(WINDOWS_AT_ONCE)])
