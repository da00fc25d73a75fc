"""The multimodal encoder of M2BeamLLM: a frame of pictures, maps and positions becomes one vector."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ENCODERS", "FEATURES", "FrameEncoder"]

FEATURES = 64
"""Width of a frame's features."""
FUSION_HEADS = 4
MAP_GRID = (2, 8)
"""Cells to which the maps of radar and LiDAR are pooled: a single one would forget where an echo is."""


class _PictureEncoder(nn.Module):
    """ResNet-18 (11,176,512 parameters at `channels` = 64) -> mean -> MLP(512, 256, 128, 64)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        sizes = [channels, 2 * channels, 4 * channels, 8 * channels]
        config = ResNetConfig(layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=sizes, embedding_size=channels)
        self.network = ResNetModel(config)
        first, second = nn.Linear(sizes[3], sizes[2]), nn.Linear(sizes[2], sizes[1])
        self.mlp = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(sizes[1], FEATURES))

    def forward(self, picture: Float[Tensor, "frame 3 row column"]) -> Float[Tensor, "frame feature"]:
        """Features of pictures."""
        found: Tensor = self.mlp(self.network(picture).pooler_output.flatten(1))
        return found


class _MapEncoder(nn.Module):
    """Five convolutions that double the channels and halve the map, pooled to 2 x 8 cells, MLP(4096, 256, 64)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = [1, *(max(1, channels * 2**level // 4) for level in range(5))]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        layers += [nn.AdaptiveAvgPool2d(MAP_GRID), nn.Flatten()]
        cells = MAP_GRID[0] * MAP_GRID[1] * sizes[-1]
        self.layers = nn.Sequential(*layers, nn.Linear(cells, sizes[-1]), nn.ReLU(), nn.Linear(sizes[-1], FEATURES))

    def forward(self, values: Float[Tensor, "frame 64 256"]) -> Float[Tensor, "frame feature"]:
        """Features of maps."""
        found: Tensor = self.layers(values[:, None])
        return found


def _vector_encoder(inputs: int) -> nn.Module:
    """MLP(inputs, 32, 64, 64) with norms."""
    sizes = [inputs, 32, 64, FEATURES]
    layers: list[nn.Module] = []
    for before, after in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()]
    return nn.Sequential(*layers)


ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "camera": _PictureEncoder,
    "radar": _MapEncoder,
    "lidar": _MapEncoder,
    "gps": lambda _: _vector_encoder(2),
    "rf": lambda _: _vector_encoder(64),
}
"""The network of a modality for the channels of ResNet's first layer. Power is ours: theirs does not read it."""


class FrameEncoder(nn.Module):
    """One vector a frame: a network a modality, features of length one, a transformer layer across modalities, mean."""

    def __init__(self, modalities: Sequence[str], channels: int) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({name: ENCODERS[name](channels) for name in modalities})
        self.fusion = nn.TransformerEncoderLayer(
            FEATURES, FUSION_HEADS, dim_feedforward=4 * FEATURES, batch_first=True, norm_first=True
        )

    def forward(self, frames: dict[str, Shaped[Tensor, "frame ..."]]) -> Float[Tensor, "frame feature"]:
        """Features of standardised frames, by modality."""
        tokens = torch.stack(
            [functional.normalize(net(frames[name]), dim=-1) for name, net in self.networks.items()], 1
        )
        fused: Tensor = self.fusion(tokens).mean(1)
        return fused
