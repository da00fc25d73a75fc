"""MobileNetV3-Small (Howard et al., 2019, table 2): the picture encoder of light baselines, without its classifier.

Layers are named as in torchvision's `mobilenet_v3_small`, so that its published weights can be loaded.
"""

from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from jepa.published_weights import assign_weights, read_weights

__all__ = ["MobileNetV3Small"]

EPSILON = 1e-3
"""Of the batch norms, as published. Their momentum is torch's 0.1, not the published 0.01: our trainings are short."""


class _Row(NamedTuple):
    """A row of table 2: an inverted bottleneck."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    hard_swish: bool
    stride: int


STEM, LAST = 16, 576
TABLE = (
    _Row(3, 16, 16, True, False, 2),
    _Row(3, 72, 24, False, False, 2),
    _Row(3, 88, 24, False, False, 1),
    _Row(5, 96, 40, True, True, 2),
    _Row(5, 240, 40, True, True, 1),
    _Row(5, 240, 40, True, True, 1),
    _Row(5, 120, 48, True, True, 1),
    _Row(5, 144, 48, True, True, 1),
    _Row(5, 288, 96, True, True, 2),
    _Row(5, 576, 96, True, True, 1),
    _Row(5, 576, 96, True, True, 1),
)


def _rounded(channels: float) -> int:
    """Channels to the nearest multiple of 8, at least 8 and never more than a tenth below what is asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class _Convolution(nn.Sequential):
    """Convolution without bias -> batch norm -> activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: nn.Module | None = None
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        super().__init__(convolution, norm, *([act] if act else []))


class _SqueezeExcite(nn.Module):
    """Scales every channel by a hard sigmoid of an MLP of the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _rounded(channels / 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, maps: Float[Tensor, "batch channel row column"]) -> Float[Tensor, "batch channel row column"]:
        """The scaled maps."""
        scale = self.fc2(self.fc1(maps.mean((-2, -1), keepdim=True)).relu())
        return nn.functional.hardsigmoid(scale) * maps


class _Bottleneck(nn.Module):
    """Expansion -> depthwise convolution -> squeeze-excite -> projection, added to the input where shapes agree."""

    def __init__(self, inputs: int, row: _Row, width: float) -> None:
        super().__init__()
        expanded, outputs = _rounded(row.expanded * width), _rounded(row.out * width)
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(_Convolution(inputs, expanded, act=activation()))
        layers.append(_Convolution(expanded, expanded, row.kernel, row.stride, expanded, activation()))
        if row.squeezes:
            layers.append(_SqueezeExcite(expanded))
        layers.append(_Convolution(expanded, outputs))
        self.block = nn.Sequential(*layers)
        self.adds = row.stride == 1 and inputs == outputs

    def forward(self, maps: Float[Tensor, "batch _ row column"]) -> Float[Tensor, "batch channel h w"]:
        """The maps after the block."""
        found: Tensor = self.block(maps)
        return maps + found if self.adds else found


class MobileNetV3Small(nn.Module):
    """Pictures (B, 3, H, W) of any size from 32 x 32 to the means of 576 feature maps: 927,008 parameters.

    Args:
        width: factor of all numbers of channels (the paper's multiplier), rounded to multiples of 8.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = _rounded(STEM * width)
        layers: list[nn.Module] = [_Convolution(3, channels, 3, stride=2, act=nn.Hardswish())]
        for row in TABLE:
            layers.append(_Bottleneck(channels, row, width))
            channels = _rounded(row.out * width)
        self.channels = _rounded(LAST * width)
        layers.append(_Convolution(channels, self.channels, act=nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, picture: Float[Tensor, "batch 3 row column"]) -> Float[Tensor, "batch channel"]:
        """The mean of every feature map."""
        found: Tensor = self.features(picture).mean((-2, -1))
        return found

    def load(self, weights: Path) -> None:
        """Load the features of torchvision's `mobilenet_v3_small` from a safetensors file.

        Raises:
            UserError: the file is missing, damaged or of another network.
        """
        known_as = "torchvision's mobilenet_v3_small"
        assign_weights(self, read_weights(weights, known_as), weights, known_as)
