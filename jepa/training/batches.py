"""Batches of windows: independent draws, or groups of neighbours, which share most of their frames.

Eight adjacent windows need 20 frames, eight independent ones 104: what is computed once a frame is computed five times
less often. What is drawn depends on the seed and the epoch alone.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["adjacent_batches", "independent_batches", "repeated_batches"]


def independent_batches(samples: int, batch_size: int, seed: int, epoch: int) -> list[Int[Tensor, "batch"]]:
    """All samples in any order, in whole batches (one smaller where there are fewer samples than that)."""
    order = np.random.default_rng([seed, 1, epoch]).permutation(samples)
    whole = samples // batch_size * batch_size
    order = order[:whole] if whole else order
    return list(torch.from_numpy(order).split(batch_size))


def repeated_batches(samples: int, batch_size: int, seed: int, steps: int) -> list[Int[Tensor, "batch"]]:
    """So many whole batches: all samples in any order, again and again; one of few comes several times in each."""
    passes = -(-steps * batch_size // samples)
    orders = [np.random.default_rng([seed, 1, number]).permutation(samples) for number in range(passes)]
    return list(torch.from_numpy(np.concatenate(orders)[: steps * batch_size]).split(batch_size))


def adjacent_batches(
    index: Int[Tensor, "window 13"], batch_size: int, group: int, seed: int, epoch: int
) -> list[Int[Tensor, "batch"]]:
    """Groups of `group` windows that start at consecutive frames, in any order, in whole batches.

    Where the groups of an episode begin changes from epoch to epoch. What is left over at the ends of runs of
    consecutive windows is grouped together, so that every window is drawn at most once an epoch; what does not fill a
    group comes last, so that batches hold whole groups. The number of batches is that of independent draws.
    """
    if group == 1 or len(index) <= batch_size:
        return independent_batches(len(index), batch_size, seed, epoch)
    generator = np.random.default_rng([seed, 1, epoch])
    starts = index[:, 0].numpy()
    runs = np.split(np.arange(len(starts)), np.flatnonzero(np.diff(starts) != 1) + 1)
    groups, rest = [], []
    for run in runs:
        offset = int(generator.integers(min(group, len(run))))
        whole = (len(run) - offset) // group * group
        groups += list(run[offset : offset + whole].reshape(-1, group))
        rest += [run[:offset], run[offset + whole :]]
    left = np.concatenate(rest)
    whole = len(left) // group * group
    groups += list(left[:whole].reshape(-1, group))
    order = np.concatenate([*(groups[number] for number in generator.permutation(len(groups))), left[whole:]])
    whole = len(order) // batch_size * batch_size
    return list(torch.from_numpy(order[:whole]).split(batch_size))
