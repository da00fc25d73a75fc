"""The model and its training step as one writes them first: the side that `jepa bench` compares with.

The same mathematics and the same weights, in PyTorch's own layers: every window by itself, so that all 13 frames of
every modality go through the tokenizers in both branches, however many windows share them; a frozen camera network is
asked each time; tokens are picked by a mask; float32 throughout; AdamW and the moving average parameter by parameter.
Shape suffixes: B batch, T frames, F frames of all windows, K tokens a frame, N tokens of a window, V visible tokens, D
width.
"""

import copy
import re
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from jepa.backbone.model import JepaModel
from jepa.config import ModelConfig
from jepa.data.preprocess import IMAGE_MEAN, IMAGE_STD, LIDAR_FARTHEST_M
from jepa.data.windows import T_WINDOW
from jepa.tokens.camera import CHANNELS, GRID
from jepa.tokens.tokenizers import MODALITY_NAMES, TOKEN_INDICES
from jepa.training.loop import Plan

__all__ = ["PlainJepa", "PlainTraining", "plain_names"]


class _Camera(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        from transformers import EfficientNetConfig, EfficientNetModel

        b0 = EfficientNetConfig(
            width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=CHANNELS, drop_connect_rate=0.0
        )
        self.features = EfficientNetModel(b0)
        self.project = nn.Linear(CHANNELS, width)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, picture: Shaped[Tensor, "frame row column 3"]) -> Float[Tensor, "frame 9 dim"]:
        colours = picture.permute(0, 3, 1, 2).float() / 255
        features = self.features((colours - self.mean) / self.std).last_hidden_state
        tokens: Tensor = self.project(functional.adaptive_avg_pool2d(features, GRID).flatten(2).transpose(1, 2))
        return tokens


class _Map(nn.Module):
    def __init__(self, width: int, depth: bool) -> None:
        super().__init__()
        self.depth = depth
        self.features = nn.Sequential(
            nn.Conv2d(1, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.project = nn.Sequential(nn.Linear(64, width), nn.LayerNorm(width))

    def forward(self, values: Float[Tensor, "frame 64 256"]) -> Float[Tensor, "frame 16 dim"]:
        values = values.float()
        if self.depth:
            values = torch.nan_to_num(1 - values / LIDAR_FARTHEST_M, nan=0.0)
        tokens: Tensor = self.project(self.features(values[:, None]).flatten(2).transpose(1, 2))
        return tokens


class _Vector(nn.Sequential):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Linear(channels, width), nn.LayerNorm(width))

    def forward(self, values: Float[Tensor, "frame channel"]) -> Float[Tensor, "frame 1 dim"]:
        return super().forward(values)[:, None]


def _tokenizer(name: str, width: int) -> nn.Module:
    if name == "camera":
        return _Camera(width)
    return _Vector(2 if name == "gps" else 64, width) if name in ("gps", "rf") else _Map(width, name == "lidar")


def _transformer(layers: int, config: ModelConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.attention_heads,
        config.feed_forward_ratio * config.width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(config.width, elementwise_affine=False)
    return nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)


class _Branch(nn.Module):
    def __init__(self, modalities: tuple[str, ...], config: ModelConfig) -> None:
        super().__init__()
        self.tokenizers = nn.ModuleDict({name: _tokenizer(name, config.width) for name in modalities})
        self.time = nn.Parameter(torch.empty(T_WINDOW, config.width))
        self.modality = nn.Parameter(torch.empty(len(MODALITY_NAMES), config.width))
        self.index = nn.Parameter(torch.empty(TOKEN_INDICES, config.width))
        self.encoder = _transformer(config.encoder_layers, config)

    def position(self, name: str, tokens: int) -> Float[Tensor, "13 k dim"]:
        return self.time[:, None] + self.modality[MODALITY_NAMES.index(name)] + self.index[:tokens]

    def positions(self, tokens: Mapping[str, int]) -> Float[Tensor, "token dim"]:
        return torch.cat([self.position(name, count).flatten(0, 1) for name, count in tokens.items()])

    def forward(self, windows: Mapping[str, Shaped[Tensor, "batch 13 ..."]]) -> Float[Tensor, "batch token dim"]:
        found = []
        for name, tokenizer in self.tokenizers.items():
            values = windows[name]
            tokens_FKD = tokenizer(values.flatten(0, 1))
            tokens_BTKD = tokens_FKD.unflatten(0, values.shape[:2]) + self.position(name, tokens_FKD.shape[1])
            found.append(tokens_BTKD.flatten(1, 2))
        return torch.cat(found, 1)


class PlainJepa(nn.Module):
    """The JEPA on windows (B, 13, ...): standardised `gps`, `rf` and `radar`, `lidar` in metres, `camera` in bytes."""

    def __init__(self, model: JepaModel, config: ModelConfig) -> None:
        """A copy of a model of the project.

        Args:
            config: what it was made with.
        """
        super().__init__()
        self.config = config
        self.tokens = {name: tokens for name, _, tokens in model.layout.pieces()}
        self.context = _Branch(model.layout.modalities, config)
        self.predictor = _transformer(config.predictor_layers, config)
        self.mask_token = nn.Parameter(torch.empty(config.width))
        self.target = copy.deepcopy(self.context).requires_grad_(False)
        state = model.state_dict()
        self.load_state_dict({new: state[name] for name, new in plain_names(state).items()})
        if config.camera == "frozen" and "camera" in self.tokens:
            self.context.tokenizers["camera"].features.requires_grad_(False)
        self.to(model.mask_token.device)

    def train(self, mode: bool = True) -> "PlainJepa":
        """What is frozen keeps its statistics, and so does the target branch."""
        super().train(mode)
        self.target.eval()
        for module in self.context.tokenizers.modules():
            if isinstance(module, _Camera) and self.config.camera == "frozen":
                module.features.eval()
            if isinstance(module, nn.BatchNorm2d) and self.config.batch_norm == "frozen":
                module.eval()
        return self

    def loss(
        self, windows: Mapping[str, Shaped[Tensor, "batch 13 ..."]], hidden_BN: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, ""]:
        """Mean smooth-L1 between prediction and layer-normed target at the hidden tokens."""
        batch, width = len(hidden_BN), self.config.width
        visible_BN = ~hidden_BN
        context_BVD = self.context.encoder(self.context(windows)[visible_BN].view(batch, -1, width))
        filled_BND = (self.mask_token + self.context.positions(self.tokens)).repeat(batch, 1, 1)
        filled_BND[visible_BN] = context_BVD.flatten(0, 1)
        predicted = self.predictor(filled_BND)[hidden_BN]
        with torch.no_grad():
            target = self.target.encoder(self.target(windows))[hidden_BN]
        return functional.smooth_l1_loss(predicted, functional.layer_norm(target, (width,)))


RENAMED = (
    (r"\.embedding\.", "."),
    (r"\.features\.network\.", ".features."),
    (r"\.query_key_value\.", ".self_attn.in_proj_"),
    (r"\.layers\.(\d+)\.out\.", r".layers.\1.self_attn.out_proj."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.feed_forward_norm\.", ".norm2."),
    (r"\.feed_forward\.0\.", ".linear1."),
    (r"\.feed_forward\.2\.", ".linear2."),
)
"""From the project's names of weights to those of PyTorch's layers."""


def plain_names(names: Mapping[str, object]) -> dict[str, str]:
    """The plain model's name of every weight of the project's."""
    found = {}
    for name in names:
        new = name
        for pattern, replacement in RENAMED:
            new = re.sub(pattern, replacement, new)
        found[name] = new
    return found


class PlainTraining:
    """Training of the plain model on frames in memory."""

    def __init__(self, model: PlainJepa, frames: Mapping[str, Shaped[Tensor, "frame ..."]], plan: Plan) -> None:
        self.model, self.frames, self.plan = model.train(), frames, plan
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [part for part in trained if part.ndim >= 2], "weight_decay": plan.weight_decay},
                {"params": [part for part in trained if part.ndim < 2], "weight_decay": 0.0},
            ],
            lr=plan.learning_rate,
        )

    def step(
        self, index: Int[Tensor, "batch 13"], hidden_BN: Bool[Tensor, "batch token"], momentum: float
    ) -> Float[Tensor, ""]:
        """One step on some windows; the loss before it."""
        place = next(iter(self.frames.values())).device
        index, hidden_BN = index.to(place), hidden_BN.to(place)
        loss = self.model.loss({name: values[index] for name, values in self.frames.items()}, hidden_BN)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimiser.step()
        self._update_target(momentum)
        return loss.detach()

    @torch.no_grad()
    def _update_target(self, momentum: float) -> None:
        target, context = self.model.target, self.model.context
        for kept, new in zip(target.parameters(), context.parameters(), strict=True):
            kept.mul_(momentum).add_(new, alpha=1 - momentum)
        for held, current in zip(target.buffers(), context.buffers(), strict=True):
            held.copy_(current)
