"""What table IV measures: every module of the system, of its baselines and its rivals, and what it is asked.

Everything is built when it is asked for, with random weights. A tokenizer is asked for one frame, all else for one
window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from jepa.backbone.model import Transformer
from jepa.backbone.without_target import Backbone
from jepa.baselines import BASELINES
from jepa.baselines.ar import AutoRegression, BeamAutoRegression, roll_out, rssi_of
from jepa.baselines.gru_cascade import CascadeGru
from jepa.baselines.gru_power_position import PowerPositionGru
from jepa.baselines.m2beamllm import M2BeamLlm
from jepa.baselines.vision_position import VisionPositionNetwork
from jepa.complexity import FRAME_TOKENS, profiled_flops, transformer_flops
from jepa.config import HeadConfig, ModelConfig
from jepa.data.frames import BEAMS, IMAGE_SIZE
from jepa.data.inputs import SMALL
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.heads.network import TASK_MODALITY, BeamHead, LocalizationHead, RssiHead
from jepa.paradigms.reconstruction import ReconstructionModel
from jepa.paradigms.supervised import SupervisedModel, TaskHeads
from jepa.tokens.masking import future_mask
from jepa.tokens.tokenizers import TOKENIZERS

__all__ = ["Part", "parts"]

PAPER_WIDTH = 128
"""Of the tokenizers and the training paradigms in the paper's table."""
MADE_UP_WINDOWS, TRAINED_WINDOWS = 200, 4
"""Of which baselines are made, whose costs do not depend on what they learned: maps of positions, and networks."""


@dataclass(frozen=True)
class Part:
    """Something that costs.

    Attributes:
        call: a module, or a function, which runs on the CPU alone.
        inputs: what it is asked.
        parameters: numbers that it holds; None: those of the module.
        profiled: operations in the way that the paper's were counted; None: those of the profiler.
    """

    call: Callable[..., Any]
    inputs: tuple[Tensor | None, ...]
    parameters: int | None = None
    profiled: int | None = None


class _Backbone(nn.Module):
    """Encoder on the tokens of 8 frames, predictor on those of 13."""

    def __init__(self, width: int) -> None:
        super().__init__()
        config = ModelConfig(width=width)
        sizes = (width, config.attention_heads, config.feed_forward_ratio)
        self.encoder = Transformer(config.encoder_layers, *sizes)
        self.predictor = Transformer(config.predictor_layers, *sizes)
        self.layers = config.encoder_layers + config.predictor_layers

    def forward(self, seen: Tensor, asked: Tensor) -> Tensor:
        """Tokens of all frames from those that were seen and mask tokens."""
        found: Tensor = self.predictor(torch.cat([self.encoder(seen), asked], 1))
        return found


class _Encoded(nn.Module):
    """Both networks of M2BeamLLM, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = M2BeamLlm().build()

    def forward(self, camera: Tensor, radar: Tensor, lidar: Tensor, gps: Tensor) -> Tensor:
        """Logits from the standardised frames of one window."""
        features = self.encoder({"camera": camera, "radar": radar, "lidar": lidar, "gps": gps})
        found: Tensor = self.decoder(features[None])
        return found


class _Encoding(nn.Module):
    """The backbone of the reconstruction on the raw frames of a history."""

    def __init__(self, model: ReconstructionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *frames: Tensor) -> Tensor:
        """Tokens of the context, from frames in the order of the tokenizers."""
        hidden = future_mask(self.model.layout)[None]
        return self.model.encode(dict(zip(TOKENIZERS, frames, strict=True)), hidden)[0]


class _Decoding(nn.Module):
    """What is thrown away after the reconstruction: transformer and output layers, on the frames of the future."""

    def __init__(self, model: ReconstructionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, context: Tensor, places: Tensor) -> list[Tensor]:
        """The raw values of the five frames, by modality."""
        decoded, future = self.model.predict(context, places), torch.arange(T_OBS, T_WINDOW, device=context.device)
        return [self.model.decode(name, decoded, future) for name in self.model.layout.modalities]


class _Predicting(nn.Module):
    """Backbone and heads, from raw frames to predictions."""

    def __init__(self, model: SupervisedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *frames: Tensor) -> Tensor:
        """Logits, beside trajectory and spectrum, from frames in the order of the tokenizers."""
        history = dict(zip(TOKENIZERS, frames, strict=True))
        small = {name: history[name] for name in SMALL}
        found: Tensor = self.model.heads(self.model.backbone.latents(history), small).logits
        return found


class _RolledOut(nn.Module):
    """The linear baseline of beams, asked for five."""

    def __init__(self, model: BeamAutoRegression) -> None:
        super().__init__()
        self.model = model

    def forward(self, beams: Tensor) -> Tensor:
        """Logits of five further beams."""
        return self.model.roll_out(beams)


def _tokenizer(name: str) -> Part:
    tokenizer = TOKENIZERS[name]
    frame = torch.rand(1, *tokenizer.shape)
    pictures = (255 * frame).to(torch.uint8)
    return Part(tokenizer.build(ModelConfig(width=PAPER_WIDTH)), (pictures if name == "camera" else frame,))


def _backbone(width: int) -> Part:
    module = _Backbone(width)
    seen, asked = (torch.randn(1, frames * FRAME_TOKENS, width) for frames in (T_OBS, T_PRED))
    return Part(module, (seen, asked), profiled=transformer_flops(width, FRAME_TOKENS, module.layers))


def _target_encoder() -> Part:
    encoder = _Backbone(PAPER_WIDTH).encoder
    return Part(encoder, (torch.randn(1, T_WINDOW * FRAME_TOKENS, PAPER_WIDTH),))


def _localization(width: int) -> Part:
    """The paper counts the residual of all steps, and the coarse network of one."""
    head, latent, coarse = LocalizationHead(width), torch.randn(1, T_PRED, width), torch.randn(1, T_PRED, 2)
    profiled = profiled_flops(head, latent, coarse) + profiled_flops(head.coarse, latent[:, 0])
    return Part(head, (latent, coarse), profiled=profiled)


def _beam(width: int) -> Part:
    return Part(BeamHead(width), (torch.randn(1, T_PRED, width), torch.randn(1, T_PRED, 2), None))


def _rssi(width: int) -> Part:
    coarse = torch.randn(1, T_PRED, BEAMS)
    return Part(RssiHead(width), (torch.randn(1, T_PRED, width), torch.randn(1, T_PRED, 2), coarse))


@cache
def _samples() -> Samples:
    """Cars at constant speeds, powers of nothing."""
    generator = torch.Generator().manual_seed(0)
    start, speed = torch.randn(2, MADE_UP_WINDOWS, 1, 2, generator=generator)
    position_m = 10 * start + speed * torch.arange(T_WINDOW)[:, None]
    power = torch.rand(MADE_UP_WINDOWS, T_WINDOW, BEAMS, generator=generator) + 0.1
    return Samples(
        History({"gps": position_m[:, :T_OBS], "rf": power[:, :T_OBS]}),
        power[:, T_OBS:],
        position_m[:, T_OBS:],
        power[:, T_OBS:].argmax(-1),
        torch.arange(MADE_UP_WINDOWS),
    )


@cache
def _fitted(name: str, windows: int) -> Any:
    """A baseline, fitted on made-up windows."""
    made: Any = BASELINES[name]()
    some = torch.arange(windows)
    made.fit(_samples().select(some), _samples().select(some[:0]), 0)
    return made


def _network(name: str, attribute: str) -> Part:
    """The network of one task of a baseline that has one a task, with what it is asked when the baseline predicts."""
    made = _fitted(name, TRAINED_WINDOWS)
    network: nn.Module = getattr(made, attribute)
    asked: list[tuple[Tensor, ...]] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: asked.append(inputs))
    made.predict(_samples().history.select(torch.arange(1)))
    hook.remove()
    return Part(network, asked[0])


def _linear(task: str) -> Part:
    made: AutoRegression = _fitted("ar", TRAINED_WINDOWS)
    history = _samples().history.select(torch.arange(1))
    if task == "beam":
        module = _RolledOut(made.beam)
        return Part(module, (history.power.argmax(-1),))
    if task == "rssi":
        weights, series = made.rssi_weights, rssi_of(history.power)[..., None]
    else:
        weights, series = made.position_weights, history.position_m
    return Part(lambda values: roll_out(values, weights), (series,), parameters=weights.numel())


def _formula(name: str) -> Part:
    """A baseline without a network."""
    made = _fitted(name, MADE_UP_WINDOWS)
    history = _samples().history.select(torch.arange(1))

    def predict(position_m: Tensor, power: Tensor) -> Any:
        return made.predict(History({"gps": position_m, "rf": power}))

    return Part(predict, (history.position_m, history.power), parameters=_numbers(made))


def _numbers(value: Any) -> int:
    """How many numbers something holds in tensors."""
    if isinstance(value, Tensor):
        return value.numel()
    return sum(map(_numbers, vars(value).values())) if hasattr(value, "__dict__") else 0


def _vision_position() -> Part:
    return Part(VisionPositionNetwork(), (torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE), torch.randn(1, T_OBS, 2)))


def _m2beamllm() -> Part:
    camera = torch.randn(T_OBS, 3, IMAGE_SIZE, IMAGE_SIZE)
    radar, lidar = torch.randn(2, T_OBS, *TOKENIZERS["radar"].shape)
    return Part(_Encoded(), (camera, radar, lidar, torch.randn(T_OBS, 2)))


def _raw_history() -> tuple[Tensor, ...]:
    """The observed frames of one window, in the order of the tokenizers."""
    frames = {name: torch.rand(1, T_OBS, *tokenizer.shape) for name, tokenizer in TOKENIZERS.items()}
    return tuple((255 * values).to(torch.uint8) if name == "camera" else values for name, values in frames.items())


def _reconstruction(part: str) -> Part:
    model = ReconstructionModel(tuple(TOKENIZERS), ModelConfig(width=PAPER_WIDTH), IMAGE_SIZE)
    parameters = model.parameters_by_part()[part]
    if part == "backbone":
        return Part(_Encoding(model), _raw_history(), parameters)
    places = torch.nonzero(~future_mask(model.layout))[:, 0][None]
    return Part(_Decoding(model), (torch.randn(1, places.shape[1], PAPER_WIDTH), places), parameters)


def _multitask() -> Part:
    backbone = Backbone(tuple(TOKENIZERS), ModelConfig(width=PAPER_WIDTH))
    heads = TaskHeads(backbone.layout, PAPER_WIDTH, HeadConfig(), tuple(TASK_MODALITY))
    return Part(_Predicting(SupervisedModel(backbone, heads)), _raw_history())


def _gru_power_position() -> Part:
    return Part(PowerPositionGru(), (torch.randn(1, T_OBS, 2 + BEAMS),))


def _gru_cascade() -> Part:
    return Part(CascadeGru(), (torch.randn(1, T_OBS, 2 + BEAMS), torch.randn(1, T_PRED, 2)))


SERIES = ("gru", "transformer")
"""Baselines with a network a task."""
FORMULAS = {
    "localization": ("kalman", "constant_velocity", "least_squares_velocity"),
    "all tasks": ("hold_last", "position_knn"),
}
"""Baselines without a network."""


def parts(widths: Sequence[int]) -> dict[str, Callable[[], Part]]:
    """Everything that is measured, built when it is: by the key of `PAPER` where the paper has it."""
    found: dict[str, Callable[[], Part]] = {f"tokenizer/{name}": partial(_tokenizer, name) for name in TOKENIZERS}
    found |= {f"backbone/{width}": partial(_backbone, width) for width in widths}
    found[f"target_encoder/{PAPER_WIDTH}"] = _target_encoder
    for task, head in (("localization", _localization), ("beam", _beam), ("rssi", _rssi)):
        found[f"{task}/ar"] = partial(_linear, task)
        attribute = "location" if task == "localization" else task
        found |= {f"{task}/{name}": partial(_network, name, attribute) for name in SERIES}
        found |= {f"{task}/jepa-{width}": partial(head, width) for width in widths}
    for task, names in FORMULAS.items():
        found |= {f"{task}/{name}": partial(_formula, name) for name in names}
    return found | {
        "beam/m2beamllm": _m2beamllm,
        "rssi/vision_position": _vision_position,
        "paradigm/reconstruction": partial(_reconstruction, "backbone"),
        "paradigm/reconstruction_decoder": partial(_reconstruction, "decoder"),
        "paradigm/multitask": _multitask,
        "all tasks/gru_power_position": _gru_power_position,
        "all tasks/gru_cascade": _gru_cascade,
    }
