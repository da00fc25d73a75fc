"""White noise on what the context encoder reads, standardised."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from jepa.data.sending import send
from jepa.data.sharing import SharedFrames
from jepa.tokens.tokenizers import Inputs
from jepa.training.parallel import ALONE, Processes

__all__ = ["with_noise"]


def with_noise(
    inputs: Inputs,
    deviations: Mapping[str, float],
    generator: torch.Generator,
    processes: Processes = ALONE,
    index: Int[Tensor, "whole time"] | None = None,
) -> Inputs:
    """Inputs with noise of the given deviation by modality; frames that windows share are disturbed once.

    Args:
        inputs: of this process's windows.
        generator: on the CPU; it is drawn from for the modalities that are disturbed alone, in the order of the inputs.
        index: frames of the windows of all processes; needed for noise on frames that windows share.
    """
    return {
        name: _noisy(values, deviations.get(name, 0.0), generator, processes, index) for name, values in inputs.items()
    }


def _noisy(
    values: Tensor | SharedFrames,
    deviation: float,
    generator: torch.Generator,
    processes: Processes,
    index: Int[Tensor, "whole time"] | None,
) -> Tensor | SharedFrames:
    """With noise that is drawn for the windows of all processes, and cut."""
    if not deviation:
        return values
    shared = isinstance(values, SharedFrames)
    plain = values.values if isinstance(values, SharedFrames) else values
    if shared and index is not None:
        frames = torch.unique(index)  # the order in which `share` holds them
        noise = torch.randn(len(frames), *plain.shape[1:], generator=generator)
        noise = noise[torch.searchsorted(frames, torch.unique(processes.share(index)))]
    else:
        noise = processes.share(torch.randn(processes.world * len(plain), *plain.shape[1:], generator=generator))
    disturbed = plain.float() + deviation * send(noise, plain.device)
    return SharedFrames(disturbed, values.index) if isinstance(values, SharedFrames) else disturbed
