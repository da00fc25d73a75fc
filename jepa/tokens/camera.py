"""The camera's tokenizer: EfficientNet-B0 features, pooled to 3 x 3 tokens.

The weights of ImageNet are loaded where the user has them, as a local file; otherwise they are random, which a run
says. A frozen network sees each frame once: its pooled features stand in the frame store in place of the pictures.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from jepa.config import ModelConfig
from jepa.data.preprocess import Normaliser
from jepa.published_weights import assign_weights, read_weights, weights_file

__all__ = [
    "CHANNELS",
    "CameraTokenizer",
    "EfficientNet",
    "calibrate_batch_norm",
    "pooled_features",
    "say_if_random",
    "weights_follow",
]

CHANNELS = 1280
"""Of the last feature map of EfficientNet-B0."""
GRID = 3
"""Tokens along each side of a picture."""
FROZEN_SEED = 20_000
"""A frozen network without weights of its own is the same in every run, so that its features can be kept."""
CALIBRATION_PICTURES, CALIBRATION_PIXELS = 32, 128
"""Pictures on which the statistics of random weights are set, and their side."""
FRAMES_AT_ONCE = 32
"""Pictures that go through the network at once without gradients."""
_weights_follow = ContextVar("weights_follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """What is built inside gets all of its weights and statistics afterwards: none are loaded or calibrated before."""
    token = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(token)


class EfficientNet(nn.Module):
    """Features of EfficientNet-B0 (Tan and Le, 2019): pictures (B, 3, H, W) to maps (B, 1280, H/32, W/32).

    4,007,548 parameters. Stochastic depth is off: it draws from no keyed generator.
    """

    def __init__(self) -> None:
        super().__init__()
        from transformers import EfficientNetConfig, EfficientNetModel

        b0 = EfficientNetConfig(
            width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=CHANNELS, drop_connect_rate=0.0
        )
        self.network = EfficientNetModel(b0)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # the configuration's 0.99 keeps nothing but the last batch
                nn.init.ones_(module.weight)  # the library draws them near zero, and nothing gets through
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, picture: Float[Tensor, "batch 3 row column"]) -> Float[Tensor, "batch 1280 h w"]:
        """The last feature map."""
        found: Tensor = self.network(picture).last_hidden_state
        return found

    def load(self, weights: Path) -> None:
        """Load weights of the Hugging Face layout: a safetensors file, or the directory that holds one.

        Raises:
            UserError: they are missing, damaged or of another network.
        """
        known_as = "efficientnet-b0"
        tensors = read_weights(weights, known_as)
        found = {name.removeprefix("efficientnet."): values for name, values in tensors.items()}
        assign_weights(self.network, found, weights_file(weights), known_as)


@cache
def _textures() -> Float[Tensor, "batch 3 row column"]:
    """Pictures with the spectrum 1/f of natural ones, colours correlated, standardised."""
    generator = np.random.default_rng(FROZEN_SEED)
    count, side = CALIBRATION_PICTURES, CALIBRATION_PIXELS
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = np.inf
    white = generator.normal(size=(count, 4, side, side))
    fields = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    fields /= fields.std((-2, -1), keepdims=True)
    colours = 0.9 * fields[:, :1] + 0.4 * fields[:, 1:] + generator.normal(0, 0.5, (count, 1, 1, 1))
    return torch.from_numpy(colours).float()


@torch.no_grad()
def calibrate_batch_norm(network: nn.Module) -> None:
    """Set the statistics of batch norms on textures, so that random weights give features of order one.

    Without, a network of random weights that normalises by its initial statistics fades to nothing from layer to layer.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training = network.training
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    network(_textures())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()
    network.train(training)


def _network(config: ModelConfig) -> EfficientNet:
    """The network of a configuration: loaded, or random and calibrated."""
    frozen = config.camera == "frozen"
    with torch.random.fork_rng(devices=[]) if frozen else nullcontext():
        if frozen:
            torch.manual_seed(FROZEN_SEED)
        network = EfficientNet()
    if _weights_follow.get():
        return network
    if config.camera_weights is not None:
        network.load(Path(config.camera_weights))
    else:
        calibrate_batch_norm(network)
    return network


class CameraTokenizer(nn.Module):
    """EfficientNet-B0 -> AdaptiveAvgPool 3 x 3 -> Linear(1280, D): 9 tokens a frame, 4,171,516 parameters at D =
    128."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frozen = config.camera == "frozen"
        self.features = _network(config)
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.project = nn.Linear(CHANNELS, config.width)
        if self.frozen:
            self.features.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "CameraTokenizer":
        """A frozen network keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def pooled(self, frame: Shaped[Tensor, "frame row column 3"]) -> Float[Tensor, "frame 9 1280"]:
        """Features of pictures (bytes), pooled to 3 x 3, row by row."""
        with torch.no_grad() if self.frozen else nullcontext():
            return self.pool(self.features(Normaliser.image(frame))).flatten(2).transpose(1, 2)

    def forward(self, frame: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame 9 dim"]:
        """Tokens of pictures (F, H, W, 3), or of features (F, 9, 1280) that `pooled_features` made of them."""
        features = frame.to(self.project.weight.dtype) if frame.ndim == 3 else self.pooled(frame)
        tokens: Tensor = self.project(features)
        return tokens


@torch.no_grad()
def pooled_features(
    tokenizer: CameraTokenizer, pictures: UInt8[Tensor, "frame row column 3"]
) -> Iterator[Float[Tensor, "some 9 1280"]]:
    """Features of many pictures in half precision, part by part: 23 kB a frame in place of 150 kB."""
    device = tokenizer.project.weight.device
    for part in pictures.split(FRAMES_AT_ONCE):
        yield tokenizer.pooled(part.to(device)).to(pictures.device, torch.float16)


def say_if_random(config: ModelConfig) -> None:
    """One line on standard error where the camera's network has no weights to start from."""
    if config.camera_weights is None:
        state = "stays random: it is frozen" if config.camera == "frozen" else "starts from random weights"
        print(f"camera: EfficientNet-B0 {state} (--set model.camera_weights=FILE loads ImageNet's)", file=sys.stderr)
