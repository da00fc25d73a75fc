"""The JEPA: context encoder on visible tokens, predictor on all positions, EMA target on everything.

Shape suffixes: B batch, N tokens of a window, V visible tokens, H attention heads, D width, T frames, K tokens a frame.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.config import ModelConfig
from jepa.data.sending import send
from jepa.data.sharing import SharedFrames
from jepa.data.windows import T_OBS, T_PRED
from jepa.tokens.fusion import FrameFusion, FusedLayout
from jepa.tokens.masking import future_mask, visible_places
from jepa.tokens.tokenizers import POSITION_STD, Inputs, Layout, TokenEmbedding
from twin.errors import UserError

__all__ = ["Branch", "JepaModel", "Latents", "Transformer", "TransformerLayer", "parameter_count"]

GRAPHS = 64
"""Compiled graphs of one function that a process keeps: one for each shape, model and mode."""


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not."""
    return sum(parameter.numel() for parameter in module.parameters())


class TransformerLayer(nn.Module):
    """Pre-LN attention and GELU feed-forward network: 12 D^2 + 13 D parameters at ratio 4."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, tokens_BND: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Tokens that have looked at each other."""
        mixed = self.query_key_value(self.attention_norm(tokens_BND))
        query, key, value = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        tokens_BND = tokens_BND + self.out(attended.transpose(1, 2).flatten(2))
        return tokens_BND + self.feed_forward(self.feed_forward_norm(tokens_BND))


class Transformer(nn.Module):
    """Layers and a final norm without affine parameters."""

    def __init__(self, layers: int, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(width, heads, ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(
        self, tokens_BND: Float[Tensor, "batch token dim"], average: int = 1, levels: tuple[int, ...] = ()
    ) -> Float[Tensor, "batch token wide"]:
        """Normalised outputs: level 0 is the tokens themselves, level n what layer n makes of them.

        Args:
            average: how many of the top levels are averaged, at most all; 1: the last layer alone.
            levels: these side by side in place of it.
        """
        top = len(self.layers)
        wanted = levels or range(top + 1 - average, top + 1)
        found = {}
        for level in range(top + 1):
            if level:
                tokens_BND = self.layers[level - 1](tokens_BND)
            if level in wanted:
                found[level] = self.norm(tokens_BND)
        outputs = [found[level] for level in wanted]
        if levels:
            return torch.cat(outputs, -1)
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)


class Branch(nn.Module):
    """Tokenizers, positions and encoder: trained as the context branch, copied as the target branch.

    With fusion tokens `fusion` is the first of the encoder's layers, and `encoder` holds the others.
    """

    def __init__(self, layout: Layout, config: ModelConfig) -> None:
        super().__init__()
        sizes = (config.width, config.attention_heads, config.feed_forward_ratio)
        fused = isinstance(layout, FusedLayout)
        self.embedding = TokenEmbedding(layout, config)
        self.encoder = Transformer(config.encoder_layers - fused, *sizes)
        self.fusion = FrameFusion(layout, *sizes, config.fusion_tokens) if fused else None

    def tokens(
        self, inputs: Inputs, hidden_BN: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch place dim"]:
        """What the layers of `encoder` read: all tokens, or the fusion tokens that have read the visible ones."""
        tokens_BND = self.embedding(inputs)
        if self.fusion is None:
            return tokens_BND
        fused: Tensor = self.fusion(tokens_BND, self.embedding.time, hidden_BN)
        return fused

    def forward(
        self, inputs: Inputs, average: int = 1, levels: tuple[int, ...] = ()
    ) -> Float[Tensor, "batch place wide"]:
        """All of the inputs encoded, as `Transformer` has it; the fusion layer is the first, and drops level 0. As many
        layers are averaged as there are."""
        dropped = 0 if self.fusion is None else 1
        average = min(average, dropped + len(self.encoder.layers))
        found: Tensor = self.encoder(self.tokens(inputs), average, tuple(level - dropped for level in levels))
        return found


@dataclass(frozen=True)
class Latents:
    """What the frozen backbone says of the future.

    Attributes:
        predicted: by modality, mean of its predicted tokens in every future frame; fusion tokens are those of all.
        predicted_all: all predicted tokens of the future, modality by modality, frame by frame.
        context: the context encoder's tokens of the history, modality by modality, frame by frame.
    """

    predicted: dict[str, Float[Tensor, "batch 5 dim"]]
    predicted_all: Float[Tensor, "batch future_token dim"]
    context: Float[Tensor, "batch context_token dim"]

    def select(self, rows: Tensor) -> "Latents":
        """The latents of the given rows."""
        rows = send(rows, self.context.device)
        predicted = {name: values[rows] for name, values in self.predicted.items()}
        return Latents(predicted, self.predicted_all[rows], self.context[rows])

    @classmethod
    def cat(cls, parts: Iterable["Latents"]) -> "Latents":
        """Latents one after another."""
        found = list(parts)
        return cls(
            {name: torch.cat([part.predicted[name] for part in found]) for name in found[0].predicted},
            torch.cat([part.predicted_all for part in found]),
            torch.cat([part.context for part in found]),
        )

    def predicted_alone(self) -> "Latents":
        """Only the mean predicted tokens: all that the paper's heads read, and little to keep."""
        return Latents(self.predicted, self.predicted_all[:, :0], self.context[:, :0])

    def where(self, kept: Bool[Tensor, "batch"]) -> "Latents":
        """The latents of the kept windows, zeros for the others."""
        absent = ~kept[:, None, None]
        return Latents(
            {name: values.masked_fill(absent, 0) for name, values in self.predicted.items()},
            self.predicted_all.masked_fill(absent, 0),
            self.context.masked_fill(absent, 0),
        )

    def zeroed(self) -> "Latents":
        """Zeros of the same shapes: the control that shows what heads do without a backbone."""
        return self.where(torch.zeros(len(self.context), dtype=torch.bool, device=self.context.device))


class JepaModel(nn.Module):
    """Context branch, predictor and target branch.

    With fusion tokens encoder and predictor work on S T places. Those of a frame of which nothing is visible know its
    time alone and stay in the context, where they stand for the mask token: how many frames a mask hides altogether
    differs from window to window.
    """

    def __init__(self, modalities: Iterable[str], config: ModelConfig, target_levels: int = 0) -> None:
        super().__init__()
        if config.width % config.attention_heads:
            raise UserError(
                f"a width of {config.width} does not divide by {config.attention_heads} heads",
                "model.attention_heads",
                "choose a divisor of model.width",
            )
        if config.fusion_tokens and config.encoder_layers < 2:
            raise UserError(
                "replace the only layer of the encoder: no frame would see another",
                "model.fusion_tokens",
                "set model.encoder_layers to at least 2",
            )
        self.layout = Layout.of(tuple(modalities))
        if config.fusion_tokens:
            self.layout = FusedLayout(self.layout.modalities, fusion_tokens=config.fusion_tokens)
        self.width = config.width
        self.context = Branch(self.layout, config)
        self.predictor = Transformer(
            config.predictor_layers, config.width, config.attention_heads, config.feed_forward_ratio
        )
        if not config.fusion_tokens:
            self.mask_token = nn.Parameter(torch.empty(config.width).normal_(0, POSITION_STD))
        if config.tokenizers == "frozen":
            self.context.embedding.tokenizers.requires_grad_(False)
        self.target = copy.deepcopy(self.context).requires_grad_(False)
        if target_levels:
            self.out = nn.Linear(config.width, target_levels * config.width)
        self.train()

    def train(self, mode: bool = True) -> "JepaModel":
        """The target branch normalises by its statistics, never by the batch."""
        super().train(mode)
        self.target.eval()
        return self

    @property
    def places(self) -> int:
        """Number of positions that the predictor works on: a token each."""
        return self.layout.places if isinstance(self.layout, FusedLayout) else self.layout.tokens

    def pieces(self) -> list[tuple[str, int, int]]:
        """Modality, first position and positions a frame; with fusion tokens all modalities are one, `fusion`."""
        if isinstance(self.layout, FusedLayout):
            return [("fusion", 0, self.layout.fusion_tokens)]
        return self.layout.pieces()

    def compile_transformers(
        self, backend: str | Callable[..., Any] = "inductor", dynamic: bool | None = False
    ) -> None:
        """Have both encoders and the predictor compiled, each when it first sees a shape: worth it on a GPU alone.

        Args:
            dynamic: as in `torch.compile`: None where there are too many shapes for one graph each.
        """
        # the three share one forward, of this and of all models of a process: eight graphs are soon spent
        from torch._dynamo import config as dynamo

        dynamo.recompile_limit = max(GRAPHS, dynamo.recompile_limit)
        for part in (self.context.encoder, self.predictor, self.target.encoder):
            part.compile(backend=backend, dynamic=dynamic)

    def encode(
        self, inputs: Inputs, hidden_BN: Bool[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "batch visible dim"], Tensor]:
        """Context C = f(visible tokens only), and the places of the visible tokens, in order; of all fusion tokens.

        Of frames that windows share only those are tokenized that some window sees.
        """
        device = self.context.embedding.time.device
        if self.context.fusion is not None:
            read = self.context.tokens(self._seen(inputs, hidden_BN), send(hidden_BN, device))
            return self.context.encoder(read), torch.arange(self.places, device=device).expand(len(hidden_BN), -1)
        places_BV = send(visible_places(hidden_BN), device)
        tokens_BND = self.context.embedding(self._seen(inputs, hidden_BN))
        spread = places_BV[..., None].expand(-1, -1, self.width)
        return self.context.encoder(tokens_BND.gather(1, spread)), places_BV

    def _seen(self, inputs: Inputs, hidden_BN: Bool[Tensor, "batch token"]) -> Inputs:
        found = dict(inputs)
        for name, first, tokens in self.layout.pieces():
            values = found.get(name)
            if isinstance(values, SharedFrames):
                times = values.index.shape[1]
                hidden_BTK = hidden_BN[:, first : first + times * tokens].unflatten(1, (times, tokens))
                visible_BT = ~hidden_BTK.all(-1).cpu()
                if bool(visible_BT.any()):
                    found[name] = values.seen(visible_BT)
                else:
                    del found[name]
        return found

    def predict(
        self, context_BVD: Float[Tensor, "batch visible dim"], places_BV: Tensor
    ) -> Float[Tensor, "batch token dim"]:
        """Predictor on C at visible positions, mask token plus position embedding at hidden ones: all positions."""
        if self.context.fusion is not None:
            return self.predictor(context_BVD)
        empty = (self.mask_token + self.context.embedding.positions()).to(context_BVD.dtype)
        filled = empty.expand(len(context_BVD), -1, -1).scatter(
            1, places_BV[..., None].expand(-1, -1, self.width), context_BVD
        )
        return self.predictor(filled)

    @torch.no_grad()
    def targets(self, inputs: Inputs, average: int = 1) -> Float[Tensor, "batch token dim"]:
        """Target branch on all tokens, without gradient."""
        return self.target(inputs, average)

    @torch.no_grad()
    def target_levels(self, inputs: Inputs, levels: Iterable[int]) -> Float[Tensor, "batch token wide"]:
        """Some levels of the target branch on all tokens, side by side, without gradient: what `out` is trained on."""
        return self.target(inputs, levels=tuple(levels))

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """theta_target <- m theta_target + (1 - m) theta; buffers are copied."""
        target: list[Tensor] = [*self.target.parameters()]
        source: list[Tensor] = [*self.context.parameters()]
        torch._foreach_lerp_(target, source, 1 - momentum)
        for kept, new in zip(self.target.buffers(), self.context.buffers(), strict=True):
            kept.copy_(new)

    @torch.no_grad()
    def future_latents(
        self,
        history: Inputs,
        missing: Iterable[str] = (),
        lost: Mapping[str, Bool[Tensor, "8"]] | None = None,
    ) -> Latents:
        """What `latents` says, frozen: without gradients, in eval mode."""
        training = self.training
        self.eval()
        found = self.latents(history, missing, lost)
        self.train(training)
        return found

    def latents(
        self,
        history: Inputs,
        missing: Iterable[str] = (),
        lost: Mapping[str, Bool[Tensor, "8"]] | None = None,
    ) -> Latents:
        """Latents of the future from the observed frames alone.

        Args:
            history: by modality, inputs (B, 8, ...). A missing one may be left out.
            missing: modalities that the heads never see: their tokens are hidden, and left out of the context.
            lost: by modality, the observed frames that were lost on the way, the same in all windows: their tokens are
                hidden, and the context holds what the predictor makes of them (the encoder, of fusion tokens).
        """
        missing, lost = tuple(missing), dict(lost or {})
        if set(missing) >= set(self.layout.modalities):
            raise UserError("every modality is missing", "heads.missing", "leave one")
        known = {
            name: values for name, values in history.items() if name not in missing and name in self.layout.modalities
        }
        if not known:
            raise UserError("nothing was observed", "the windows", "leave some frames of one modality")
        count = next(iter(known.values())).shape[0]
        hidden_N = future_mask(self.layout, missing)
        for name, first, tokens in self.layout.pieces():
            if name in lost and name not in missing:
                hidden_N[first : first + T_OBS * tokens] |= lost[name].cpu().repeat_interleave(tokens)
        if bool(hidden_N.all()):
            raise UserError("nothing was observed", "the windows", "leave some frames of one modality")
        context_BVD, places = self.encode(known, hidden_N.expand(count, -1))
        predicted_BND = self.predict(context_BVD, places)
        whole_BND = predicted_BND.scatter(
            1, places[..., None].expand(-1, -1, self.width), context_BVD.to(predicted_BND)
        )
        predicted, rest, context = {}, [], []
        for name, first, tokens in self.pieces():
            last = first + self.layout.frames * tokens
            future = predicted_BND[:, last - T_PRED * tokens : last]
            predicted[name] = future.unflatten(1, (T_PRED, tokens)).mean(2)
            rest.append(future)
            if name not in missing:
                context.append(whole_BND[:, first : first + T_OBS * tokens])
        if self.context.fusion is not None:
            predicted = dict.fromkeys(self.layout.modalities, predicted["fusion"])
        return Latents(predicted, torch.cat(rest, 1), torch.cat(context, 1))
