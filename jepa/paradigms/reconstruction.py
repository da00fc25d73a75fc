"""Reconstruction SSL: the backbone predicts the raw inputs of hidden frames in place of their latents (paper, IV-F).

Tokenizers, positions, masks and the encoder on visible tokens are those of the JEPA. The predictor's place is taken by
a decoder transformer of the same depth; each modality has one output layer, from the mean of a frame's decoded tokens
to all values of the frame. There is no target branch.

Parameters at D = 128 with five modalities: backbone 4,996,860 (tokenizers 4,199,420, encoder 793,088, positions
4,352), the paper's 5.00 M; decoder 24,446,914 at 224 x 224 pixels (camera 19,418,112, radar and LiDAR 2,113,536 each,
positions 258, powers 8,256, transformer 793,088, mask token 128). The paper prints 24.71 M and does not say what of.

Shape suffixes: B batch, N tokens of a window, T frames, K tokens a frame, D width, M hidden frames, F frames held once.
"""

from collections.abc import Callable, Iterable
from math import prod

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from jepa.backbone.model import parameter_count
from jepa.backbone.without_target import Backbone
from jepa.config import ModelConfig, ObjectiveConfig
from jepa.data.preprocess import Normaliser
from jepa.data.sending import send
from jepa.data.sharing import SharedFrames
from jepa.tokens.camera import CHANNELS
from jepa.tokens.noise import with_noise
from jepa.tokens.tokenizers import TOKENIZERS, Inputs
from jepa.training.parallel import ALONE, Processes
from twin.errors import UserError

__all__ = ["ReconstructionModel", "hidden_frames", "raw_values", "reconstruction_loss"]

FRAMES_AT_ONCE = 64
"""Frames whose statistics are summed at once, in double precision."""
LEAST_DEVIATION = 1e-3
"""A modality's deviation is not taken for smaller than this [input units]: what never changes is not blown up."""


def _pictures(frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame ..."]:
    """Pictures as their network reads them; features of a frozen one as they are."""
    return frames.float() if frames.ndim == 3 else Normaliser.image(frames)


RAW: dict[str, Callable[[Tensor], Tensor]] = {"camera": _pictures, "lidar": Normaliser.depth}
"""From stored frames to what a modality's network reads, where those differ."""


def raw_values(name: str, frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame value"]:
    """The values of frames that are to be reconstructed, in one row a frame."""
    return RAW.get(name, torch.Tensor.float)(frames).flatten(1)


def hidden_frames(
    hidden_BN: Bool[Tensor, "batch token"], first: int, frames: int, tokens: int
) -> Int[Tensor, "hidden_frame"]:
    """Frames of a modality, counted through the batch (b T + t), of which the mask hides a token."""
    hidden_BTK = hidden_BN[:, first : first + frames * tokens].unflatten(1, (frames, tokens))
    return torch.nonzero(hidden_BTK.any(-1).flatten())[:, 0]


def _of_frames(values: Tensor | SharedFrames, place: Int[Tensor, "some"]) -> Shaped[Tensor, "some ..."]:
    """Frames of windows, counted through the batch."""
    if isinstance(values, SharedFrames):
        return values.values.index_select(0, send(values.index.flatten()[place], values.device))
    return values.flatten(0, 1).index_select(0, send(place, values.device))


class ReconstructionModel(Backbone):
    """Backbone (`context`) and decoder: `predictor`, `mask_token` and `outputs`.

    Frozen, `future_latents` gives the decoder transformer's tokens of the future, which the same heads read.

    Args:
        image_size: side of the pictures [pixels]; a frozen camera's features are reconstructed in their place.
    """

    def __init__(self, modalities: Iterable[str], config: ModelConfig, image_size: int) -> None:
        super().__init__(modalities, config)
        sizes = {name: prod(TOKENIZERS[name].shape) for name in self.layout.modalities}
        if "camera" in sizes:
            frozen = config.camera == "frozen"
            sizes["camera"] = TOKENIZERS["camera"].tokens * CHANNELS if frozen else 3 * image_size**2
        self.outputs = nn.ModuleDict({name: nn.Linear(config.width, size) for name, size in sizes.items()})
        for name in sizes:
            self.register_buffer(f"mean_{name}", torch.zeros(()))
            self.register_buffer(f"deviation_{name}", torch.ones(()))

    def parameters_by_part(self) -> dict[str, int]:
        """Parameters of the `backbone`, and of the `decoder` that is thrown away where latents are read."""
        backbone = parameter_count(self.context)
        return {"backbone": backbone, "decoder": parameter_count(self) - backbone}

    @torch.no_grad()
    def fit_scales(self, inputs: Inputs) -> None:
        """Mean and deviation of each modality over all values of some windows: targets are standardised by them."""
        for name in self.layout.modalities:
            values = inputs[name]
            frames = values.values if isinstance(values, SharedFrames) else values.flatten(0, 1)
            count, total, squares = 0, 0.0, 0.0
            for part in frames.split(FRAMES_AT_ONCE):
                found = raw_values(name, part).double()
                count, total = count + found.numel(), total + float(found.sum())
                squares += float(found.square().sum())
            mean = total / count
            deviation = max(squares / count - mean**2, LEAST_DEVIATION**2) ** 0.5
            self.get_buffer(f"mean_{name}").fill_(mean)
            self.get_buffer(f"deviation_{name}").fill_(deviation)

    def goal(self, name: str, frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame value"]:
        """What the decoder should say of frames: their raw values, standardised."""
        found = raw_values(name, frames)
        if found.shape[1] != self.outputs[name].out_features:
            raise UserError(
                f"{name} has {found.shape[1]} values a frame, the decoder {self.outputs[name].out_features}",
                "inputs.image_size",
                "read the frames with the configuration of the model",
            )
        return (found - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"deviation_{name}")

    def decode(
        self, name: str, decoded_BND: Float[Tensor, "batch token dim"], place: Int[Tensor, "some"]
    ) -> Float[Tensor, "some value"]:
        """The standardised raw values of some frames of a modality, counted through the batch."""
        first, tokens = next((at, k) for piece, at, k in self.layout.pieces() if piece == name)
        frames_BTKD = decoded_BND[:, first : first + self.layout.frames * tokens].unflatten(1, (-1, tokens))
        frames_MD = frames_BTKD.mean(2).flatten(0, 1).index_select(0, send(place, decoded_BND.device))
        if not TOKENIZERS[name].precise:
            found: Tensor = self.outputs[name](frames_MD)
            return found
        with torch.autocast(frames_MD.device.type, enabled=False):
            precise: Tensor = self.outputs[name](frames_MD.float())
        return precise


def reconstruction_loss(
    model: ReconstructionModel,
    inputs: Inputs,
    hidden_BN: Bool[Tensor, "batch token"],
    config: ObjectiveConfig,
    generator: torch.Generator,
    processes: Processes = ALONE,
    index: Int[Tensor, "whole time"] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error of the standardised raw values of hidden frames, averaged over the modalities; and each.

    A frame is hidden where the mask hides one of its tokens. Saying the mean of everything costs about 1 in every
    modality. Of `config` only the noise on what the encoder sees applies.

    Args:
        hidden_BN: the mask, on the CPU.
        generator: for noise, on the CPU.
    """
    seen = with_noise(inputs, config.input_noise, generator, processes, index)
    context_BVD, places_BV = model.encode(seen, hidden_BN)
    decoded_BND = model.predict(context_BVD, places_BV)
    errors: list[Tensor] = []
    parts: dict[str, Tensor] = {}
    for name, first, tokens in model.layout.pieces():
        place = hidden_frames(hidden_BN, first, model.layout.frames, tokens)
        if not len(place):
            parts[f"loss_{name}"] = decoded_BND.new_zeros(())
            continue
        with torch.no_grad():
            goal_MV = model.goal(name, _of_frames(inputs[name], place))
        errors.append(functional.mse_loss(model.decode(name, decoded_BND, place).float(), goal_MV))
        parts[f"loss_{name}"] = errors[-1].detach()
    return torch.stack(errors).mean(), parts
