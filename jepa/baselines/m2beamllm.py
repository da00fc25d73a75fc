"""M2BeamLLM: a multimodal encoder, then the first blocks of GPT-2 over its frames (Zheng et al., 2025).

Theirs (arXiv 2506.14532, as far as its abstract and a public reimplementation tell): pictures, radar, LiDAR and GPS,
no power; ResNet-18 for pictures, a small convolutional network for radar, an MLP for GPS; features scaled to length one
and fused by attention; the encoder is trained on the beam of its own frame and then frozen; a language model of width
768 reads the frames, and its last two blocks are fine-tuned (in the comparing paper, by low-rank updates too).
Ours: LiDAR has the radar's network, since a depth image is no histogram and the paper's Table IV has no room for a
second ResNet (of its 29.90 GFLOPs one over 8 pictures takes 29.0 G and five blocks over 13 tokens 0.9 G); the future is
asked for by five learned tokens in place of one token after another; no loss aligns the modalities.

Published weights: GPT-2 stays as it is but for its last blocks, of which the attention's queries, keys and values take
a low-rank update (Hu et al., 2021) and the rest trains, and for its final norm. Random weights: all blocks train, since
a frozen random language model knows no language to transfer, and there is no low-rank update, which adds nothing to
weights that train themselves.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.baselines.base import Baseline, as_output, option_of
from jepa.baselines.frame_encoder import ENCODERS, FEATURES, FrameEncoder
from jepa.baselines.modalities import in_parts, require
from jepa.data.preprocess import Normaliser
from jepa.data.samples import History, Samples
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.evaluation.predictions import Output
from jepa.published_weights import assign_weights, read_weights
from jepa.training.loop import Plan, fit
from twin.errors import UserError

__all__ = [
    "PAPER_PARAMETERS",
    "Adaptation",
    "BeamDecoder",
    "LowRank",
    "M2BeamLlm",
    "ParameterCounts",
    "adapt",
    "language_model",
    "load_language",
    "parameter_counts",
]

PAPER_PARAMETERS = 50_580_000
"""As printed in the paper's Table IV."""
ENCODER_PLAN = Plan(epochs=20, learning_rate=3e-4, weight_decay=1e-4, batch_size=32, warmup_share=0.05)
PLAN = Plan(epochs=30, learning_rate=3e-4, weight_decay=1e-2, batch_size=64, warmup_share=0.05)
BEAMS = 64
DECODED_AT_ONCE = 256
"""Windows that the language model reads at once where nothing is trained."""


class LowRank(nn.Module):
    """LoRA: a frozen linear map with a trained update of low rank, x -> W x + b + (alpha / r) B A x, B = 0 at first.

    Args:
        base: the map, as GPT-2's `Conv1D` with a weight (inputs, outputs).
        rank: r.
        alpha: scale of the update before it is divided by r.
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        inputs, outputs = base.get_parameter("weight").shape
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(inputs, rank).normal_(0, inputs**-0.5))
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, values: Float[Tensor, "*batch _"]) -> Float[Tensor, "*batch out"]:
        """The map with its update."""
        mapped: Tensor = self.base(values) + self.scale * (values @ self.down @ self.up)
        return mapped


@dataclass(frozen=True)
class Adaptation:
    """What trains of a language model with published weights.

    Attributes:
        adapted: last blocks whose queries, keys and values take a low-rank update.
        unfrozen: last blocks in which everything else trains.
        rank, alpha: of the update.
    """

    adapted: int = 2
    unfrozen: int = 2
    rank: int = 8
    alpha: float = 16.0


def language_model(width: int, blocks: int, heads: int) -> nn.Module:
    """The first blocks of a GPT-2 and its final norm over the 13 tokens of a window, without words; random weights."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        n_embd=width,
        n_layer=blocks,
        n_head=heads,
        n_positions=T_WINDOW,
        vocab_size=1,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model: nn.Module = GPT2Model(config)
    model.wte = nn.Identity()  # nothing is a word here
    return model


def load_language(model: nn.Module, directory: Path, heads: int) -> None:
    """Give a `language_model` the weights of a GPT-2 in the layout of Hugging Face; of its positions, the first 13.

    Args:
        directory: holds `config.json` and `model.safetensors`.

    Raises:
        UserError: they are missing, damaged, or of another width or number of heads, or of fewer blocks.
    """
    known_as = "GPT-2 in the layout of Hugging Face, of the baseline's width and heads"
    try:
        published = json.loads((directory / "config.json").read_text())["n_head"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("holds no GPT-2", directory, f"name a directory with {known_as}") from None
    if published != heads:
        raise UserError(f"its {published} heads are not the baseline's {heads}", directory, f"name {known_as}")
    found = {name.removeprefix("transformer."): values for name, values in read_weights(directory, known_as).items()}
    if "wpe.weight" in found:
        found["wpe.weight"] = found["wpe.weight"][:T_WINDOW]
    assign_weights(model, found, directory, known_as)


def adapt(model: Any, adaptation: Adaptation) -> None:
    """Freeze a `language_model` but for its final norm and what `adaptation` says of the last blocks."""
    model.requires_grad_(False)
    model.ln_f.requires_grad_(True)
    blocks = len(model.h)
    for block in model.h[blocks - adaptation.unfrozen :]:
        block.requires_grad_(True)
    for block in model.h[blocks - adaptation.adapted :]:
        block.attn.c_attn = LowRank(block.attn.c_attn, adaptation.rank, adaptation.alpha)


class BeamDecoder(nn.Module):
    """Frames' features -> Linear(64, width) -> norm -> language model, with a learned token a future frame -> beams."""

    def __init__(self, language: nn.Module, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(FEATURES, width), nn.LayerNorm(width))
        self.future = nn.Parameter(torch.empty(T_PRED, width).normal_(0, 0.02))
        self.language = language
        self.head = nn.Linear(width, BEAMS)

    def forward(self, features: Float[Tensor, "window 8 feature"]) -> Float[Tensor, "window 5 64"]:
        """Logits of the beams of the future frames."""
        asked = self.future.expand(len(features), -1, -1)
        tokens = torch.cat([self.project(features), asked], 1)
        logits: Tensor = self.head(self.language(inputs_embeds=tokens).last_hidden_state[:, T_OBS:])
        return logits


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of a network: all, and those that train."""

    total: int
    trainable: int

    @property
    def frozen(self) -> int:
        """Those that do not train."""
        return self.total - self.trainable


def parameter_counts(*networks: nn.Module) -> ParameterCounts:
    """Parameters of networks together, as they are frozen at the moment."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return ParameterCounts(
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


class M2BeamLlm(Baseline):
    """Beams from pictures, radar, LiDAR and positions.

    Five blocks bring it nearest to the paper's 50.58 M parameters: 49.88 M (four 42.79 M, six 56.97 M), and 49.93 M
    with low-rank updates.

    Args:
        width, blocks, heads: of the language model; GPT-2 has 768, 12 of which the first are taken, and 12.
        channels: of the first layer of ResNet; the other networks shrink with it.
        modalities: what the encoder reads, of `ENCODERS`.
        language_weights: a directory with GPT-2 in the layout of Hugging Face; none: random weights, which train whole.
        picture_weights: safetensors of Hugging Face's resnet-18; none: random weights.
        adaptation: what trains of published language weights.
        encoder_plan, plan: how to train the encoder, and then the rest.

    Raises:
        UserError: an unknown modality, or none.
    """

    name = "m2beamllm"
    needs: ClassVar[tuple[str, ...]] = ("camera", "radar", "lidar", "gps")
    weights: ClassVar[tuple[str, ...]] = ("language_weights", "picture_weights")

    def __init__(
        self,
        width: int = 768,
        blocks: int = 5,
        heads: int = 12,
        channels: int = 64,
        modalities: Sequence[str] = needs,
        language_weights: Path | None = None,
        picture_weights: Path | None = None,
        adaptation: Adaptation = Adaptation(),
        encoder_plan: Plan = ENCODER_PLAN,
        plan: Plan = PLAN,
    ) -> None:
        unknown = [name for name in modalities if name not in ENCODERS]
        if unknown or not modalities:
            what = f"no modality {unknown[0]!r}" if unknown else "no modality is named"
            raise UserError(what, self.name, f"choose from {', '.join(ENCODERS)}")
        self.width, self.blocks, self.heads, self.channels = width, blocks, heads, channels
        self.modalities = tuple(modalities)
        self.language_weights, self.picture_weights = language_weights, picture_weights
        self.adaptation = adaptation
        self.encoder_plan, self.plan = encoder_plan, plan

    def build(self) -> tuple[FrameEncoder, BeamDecoder]:
        """The two networks as they are fine-tuned, the encoder frozen.

        Raises:
            UserError: weights that are named are missing, damaged or of another network.
        """
        encoder = FrameEncoder(self.modalities, self.channels)
        if self.picture_weights is not None and "camera" in self.modalities:
            camera: Any = encoder.networks["camera"]
            found = read_weights(self.picture_weights, "resnet-18")
            found = {name.removeprefix("resnet."): values for name, values in found.items()}
            assign_weights(camera.network, found, self.picture_weights, "resnet-18")
        language = language_model(self.width, self.blocks, self.heads)
        if self.language_weights is not None:
            load_language(language, self.language_weights, self.heads)
            adapt(language, self.adaptation)
        return encoder.requires_grad_(False), BeamDecoder(language, self.width)

    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Cross-entropy: of the beam of its own frame for the encoder, of the future beams for the rest.

        The encoder is trained first, on the last observed frames; then it is frozen and reads every window once. The
        weights of the best epochs on validation are kept.

        Raises:
            UserError: a modality is absent, or weights that are named are not those of the network.
        """
        require(train.history, self.modalities, self.name)
        train, val = train.on(self.device), val.on(self.device)
        torch.manual_seed(seed)
        self.encoder, self.decoder = self.build()
        print(self._described(), file=sys.stderr)
        self.encoder.to(self.device)
        self.decoder.to(self.device)
        self.normaliser = self._normaliser(train)
        self._fit_encoder(train.history, val.history, seed)
        features, val_features = self._features(train.history), self._features(val.history)

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            logits = self.decoder(features[rows])
            return functional.cross_entropy(logits.flatten(0, 1), train.best_beam[rows].flatten()), {}

        def validate() -> float:
            return float(functional.cross_entropy(self._logits(val_features).flatten(0, 1), val.best_beam.flatten()))

        fit(
            self.decoder,
            loss,
            len(train),
            replace(self.plan, seed=seed),
            label=f"{self.label}: language model" if self.label else "",
            validate=validate if len(val) else None,
        )
        self.decoder.eval()

    def _described(self) -> str:
        """How large it is, and what starts from random weights."""
        counts = parameter_counts(self.encoder, self.decoder)
        size = f"{counts.total / 1e6:.2f} M parameters beside the paper's {PAPER_PARAMETERS / 1e6:.2f} M"
        missing = [option_of(name) for name in self.weights if getattr(self, name) is None]
        start = f"; starts from random weights without {' and '.join(missing)}" if missing else ""
        return f"{self.name}: {size}, {counts.trainable / 1e6:.2f} M of them not frozen{start}"

    def _normaliser(self, train: Samples) -> Normaliser:
        """Statistics of the training windows, those of radar over their last frames."""
        found = Normaliser.of(train)
        if "radar" not in self.modalities:
            return found

        def moments(history: History) -> Float[Tensor, "window 2"]:
            maps = history.last("radar").double()
            return torch.stack([maps.mean((1, 2)), maps.square().mean((1, 2))], 1)

        mean, square = in_parts(train.history, moments).mean(0).tolist()
        return replace(found, radar_mean_db=mean, radar_std_db=max(square - mean**2, 1e-12) ** 0.5)

    def _fit_encoder(self, train: History, val: History, seed: int) -> None:
        teacher = nn.Sequential(self.encoder.requires_grad_(True), nn.Linear(FEATURES, BEAMS)).to(self.device)
        beam, val_beam = train.power[:, -1].argmax(-1), val.power[:, -1].argmax(-1)

        def logits(history: History) -> Float[Tensor, "window 64"]:
            found: Tensor = teacher(self._standardised({name: history.last(name) for name in self.modalities}))
            return found

        def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            return functional.cross_entropy(logits(train.select(rows)), beam[rows]), {}

        def validate() -> float:
            return float(functional.cross_entropy(in_parts(val, logits), val_beam))

        fit(
            teacher,
            loss,
            len(train),
            replace(self.encoder_plan, seed=seed),
            label=f"{self.label}: encoder" if self.label else "",
            validate=validate if len(val) else None,
        )
        self.encoder.requires_grad_(False).eval()

    def _standardised(self, frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.normaliser(name, values.to(self.device)).float() for name, values in frames.items()}

    def _features(self, history: History) -> Float[Tensor, "window 8 feature"]:
        """Every observed frame through the frozen encoder."""

        def features(part: History) -> Float[Tensor, "window 8 feature"]:
            frames = self._standardised({name: part.values[name].flatten(0, 1) for name in self.modalities})
            found: Tensor = self.encoder(frames)
            return found.unflatten(0, (-1, T_OBS))

        return in_parts(history, features)

    @torch.no_grad()
    def _logits(self, features: Float[Tensor, "window 8 feature"]) -> Float[Tensor, "window 5 64"]:
        found = [self.decoder(part) for part in features.split(DECODED_AT_ONCE) if len(part)]
        return torch.cat(found) if found else features.new_empty((0, T_PRED, BEAMS))

    def predict(self, history: History) -> Output:
        """Beams.

        Raises:
            UserError: a modality is absent.
        """
        require(history, self.modalities, self.name)
        return as_output(len(history), beam_logits=self._logits(self._features(history)))
