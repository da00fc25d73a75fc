"""The JEPA: context encoder on visible tokens, predictor on all positions, EMA target on everything.

Shape suffixes: B batch, N tokens of a window, V visible tokens, H attention heads, D width, T frames, K tokens a frame.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jepa.config import ModelConfig
from jepa.masking import future_mask
from jepa.tokenizers import POSITION_STD, TOKENIZERS, Layout, TokenEmbedding
from jepa.windows import T_PRED
from twin.errors import UserError

__all__ = ["Branch", "JepaModel", "Latents", "Transformer", "TransformerLayer", "parameter_count"]


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
        self, tokens_BND: Float[Tensor, "batch token dim"], average: int = 1
    ) -> Float[Tensor, "batch token dim"]:
        """Normalised output; with `average` > 1 the mean of the normalised outputs of that many top layers."""
        outputs = []
        for number, layer in enumerate(self.layers):
            tokens_BND = layer(tokens_BND)
            if number >= len(self.layers) - average:
                outputs.append(self.norm(tokens_BND))
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)


class Branch(nn.Module):
    """Tokenizers, positions and encoder: trained as the context branch, copied as the target branch."""

    def __init__(self, layout: Layout, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(layout, config.width)
        self.encoder = Transformer(
            config.encoder_layers, config.width, config.attention_heads, config.feed_forward_ratio
        )


@dataclass(frozen=True)
class Latents:
    """What the frozen backbone says of the future.

    Attributes:
        predicted: by modality, mean of its predicted tokens in every future frame.
        predicted_all: all predicted tokens of the future, modality by modality, frame by frame.
        context: the context encoder's tokens of the history, modality by modality, frame by frame.
    """

    predicted: dict[str, Float[Tensor, "batch 5 dim"]]
    predicted_all: Float[Tensor, "batch future_token dim"]
    context: Float[Tensor, "batch context_token dim"]

    def select(self, rows: Tensor) -> "Latents":
        """The latents of the given rows."""
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
        return self.where(self.context.new_zeros(len(self.context), dtype=torch.bool))


class JepaModel(nn.Module):
    """Context branch, predictor and target branch."""

    def __init__(self, modalities: Iterable[str], config: ModelConfig) -> None:
        super().__init__()
        if config.width % config.attention_heads:
            raise UserError(
                f"a width of {config.width} does not divide by {config.attention_heads} heads",
                "model.attention_heads",
                "choose a divisor of model.width",
            )
        self.layout = Layout.of(tuple(modalities))
        self.width = config.width
        self.context = Branch(self.layout, config)
        self.predictor = Transformer(
            config.predictor_layers, config.width, config.attention_heads, config.feed_forward_ratio
        )
        self.mask_token = nn.Parameter(torch.empty(config.width).normal_(0, POSITION_STD))
        self.target = copy.deepcopy(self.context).requires_grad_(False)

    def encode(
        self, inputs: Mapping[str, Tensor], hidden_BN: Bool[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "batch visible dim"], Tensor]:
        """Context C = f(visible tokens only), and the places of the visible tokens, in order."""
        tokens_BND = self.context.embedding(inputs)
        visible = int((~hidden_BN[0]).sum())
        places_BV = torch.sort(hidden_BN.to(torch.uint8), dim=1, stable=True).indices[:, :visible]
        spread = places_BV[..., None].expand(-1, -1, self.width)
        return self.context.encoder(tokens_BND.gather(1, spread)), places_BV

    def predict(
        self, context_BVD: Float[Tensor, "batch visible dim"], places_BV: Tensor
    ) -> Float[Tensor, "batch token dim"]:
        """Predictor on C at visible positions, mask token plus position embedding at hidden ones: all positions."""
        empty = (self.mask_token + self.context.embedding.positions()).to(context_BVD.dtype)
        filled = empty.expand(len(context_BVD), -1, -1).scatter(
            1, places_BV[..., None].expand(-1, -1, self.width), context_BVD
        )
        return self.predictor(filled)

    @torch.no_grad()
    def targets(self, inputs: Mapping[str, Tensor], average: int = 1) -> Float[Tensor, "batch token dim"]:
        """Target branch on all tokens, without gradient."""
        return self.target.encoder(self.target.embedding(inputs), average)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """theta_target <- m theta_target + (1 - m) theta; buffers are copied."""
        target: list[Tensor] = [*self.target.parameters()]
        source: list[Tensor] = [*self.context.parameters()]
        torch._foreach_lerp_(target, source, 1 - momentum)
        for kept, new in zip(self.target.buffers(), self.context.buffers(), strict=True):
            kept.copy_(new)

    @torch.no_grad()
    def future_latents(self, history: Mapping[str, Tensor], missing: Iterable[str] = ()) -> Latents:
        """Latents of the future from the observed frames alone, frozen.

        Args:
            history: by modality, standardised inputs (B, 8, ...). A missing one may be left out.
        """
        missing = tuple(missing)
        if set(missing) >= set(self.layout.modalities):
            raise UserError("every modality is missing", "heads.missing", "leave one")
        training = self.training
        self.eval()
        some = next(iter(history.values()))
        known = dict(history)
        for name in missing:
            known[name] = some.new_zeros(*some.shape[:2], *TOKENIZERS[name].shape)
        hidden_N = future_mask(self.layout, missing).to(some.device)
        context_BVD, places = self.encode(known, hidden_N.expand(len(some), -1))
        predicted_BND = self.predict(context_BVD, places)
        self.train(training)
        predicted, rest, first = {}, [], 0
        for name in self.layout.modalities:
            tokens = TOKENIZERS[name].tokens
            last = first + self.layout.frames * tokens
            future = predicted_BND[:, last - T_PRED * tokens : last]
            predicted[name] = future.unflatten(1, (T_PRED, tokens)).mean(2)
            rest.append(future)
            first = last
        return Latents(predicted, torch.cat(rest, 1), context_BVD)
