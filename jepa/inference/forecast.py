"""A trained run as one module with static shapes: from the tokens of eight observed frames to metres and dB.

`JepaPredictor` answers for any windows of a store. Here the question is fixed: which tokens are visible is known in
advance, so that they are slices and nothing is sorted, gathered or decided by values. That is what a stream, a compiler
and an exporter need. Shape suffixes: B windows, T frames, K tokens a frame, V visible tokens, N tokens of a window,
D width.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from jepa.backbone.model import Latents
from jepa.data.inputs import SMALL, Normalisers, relative
from jepa.data.preprocess import Normaliser, power_db
from jepa.data.windows import T_OBS, T_PRED
from jepa.heads.network import TASK_MODALITY
from jepa.inference.predictor import JepaPredictor
from jepa.tokens.fusion import FrameFusion
from jepa.tokens.masking import future_mask
from jepa.tokens.tokenizers import Layout
from twin.errors import UserError

__all__ = ["Forecast", "Forecaster", "Lost", "Standardisation", "Stretch", "Window", "statistics_of", "stretches"]


class Forecast(NamedTuple):
    """What is said of the five frames to come; NaN of a task that the run was not trained on.

    Attributes:
        trajectory_m: east and north of the base station.
        beam_logits: scores of the beams, larger is better.
        spectrum_db: power of the beams.
    """

    trajectory_m: Float[Tensor, "window 5 2"]
    beam_logits: Float[Tensor, "window 5 64"]
    spectrum_db: Float[Tensor, "window 5 64"]


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of a modality, all observed or all to come, whose tokens are all visible or all hidden.

    Attributes:
        frames: first frame, and the one after the last.
        places: of their tokens in the window, likewise.
    """

    name: str
    frames: tuple[int, int]
    places: tuple[int, int]
    visible: bool


Window = tuple[Stretch, ...]
"""All stretches of a window, in the order of its tokens."""
Lost = tuple[tuple[str, int], ...]
"""Modality and number of every observed frame that was lost on the way."""


@lru_cache(maxsize=256)
def stretches(layout: Layout, missing: tuple[str, ...] = (), lost: Lost = ()) -> Window:
    """The window as stretches, in the order of its tokens: the future is hidden, and so are missing modalities and lost
    frames."""
    hidden_N = future_mask(layout, missing)
    found = []
    for name, first, tokens in layout.pieces():
        hidden = [bool(hidden_N[first + frame * tokens]) or (name, frame) in lost for frame in range(layout.frames)]
        changes = [n for n in range(1, layout.frames) if n == T_OBS or hidden[n] != hidden[n - 1]]
        for start, stop in zip([0, *changes], [*changes, layout.frames], strict=True):
            places = (first + start * tokens, first + stop * tokens)
            found.append(Stretch(name, (start, stop), places, not hidden[start]))
    return tuple(found)


def statistics_of(
    normalisers: Normalisers, dataset: str | None = None, joint: Collection[str] | None = None
) -> Normaliser:
    """The statistics of a run: those of all its datasets together, or of the one that is named.

    Args:
        joint: datasets of the run, one of which has to be named, if any is, where the statistics are those of all; any
            name goes without.

    Raises:
        UserError: it holds those of several datasets and none of them is named, or another one.
    """
    known = list(normalisers.found)
    if known == ["*"]:
        if dataset is not None and joint is not None and dataset not in joint:
            what = f"are of all datasets of the run together, and {dataset} is none of them"
            raise UserError(what, "stats.json", f"name none, or one of {', '.join(joint)}")
        return normalisers.found["*"]
    if dataset is None and len(known) == 1:
        return normalisers.found[known[0]]
    if dataset not in known:
        what = "holds statistics of each dataset" if dataset is None else f"has no statistics for {dataset}"
        raise UserError(what, "stats.json", f"name one: {', '.join(known)}")
    return normalisers.found[dataset]


class Standardisation(nn.Module):
    """The statistics of a `Normaliser` as tensors that move with a module: no step copies them to a GPU."""

    def __init__(self, normaliser: Normaliser) -> None:
        super().__init__()
        self.power_mean_db, self.power_std_db = normaliser.power_mean_db, normaliser.power_std_db
        self.position_scale_m = normaliser.position_scale_m
        self.radar_mean_db, self.radar_std_db = normaliser.radar_mean_db, normaliser.radar_std_db
        self.register_buffer("position_mean_m", torch.tensor(normaliser.position_mean_m))
        self.register_buffer("axes", torch.tensor(normaliser.axes))
        self.position_mean_m: Tensor
        self.axes: Tensor

    def forward(self, name: str, values: Shaped[Tensor, "*frame"]) -> Shaped[Tensor, "*frame"]:
        """Raw values of a modality, as its tokenizer takes them: pictures and depth images stay as they are."""
        if name == "rf":
            return (power_db(values.float()) - self.power_mean_db) / self.power_std_db
        if name == "gps":
            return (values.float() - self.position_mean_m) @ self.axes.T / self.position_scale_m
        if name == "radar":
            assert self.radar_mean_db is not None
            assert self.radar_std_db is not None
            return (values.float() - self.radar_mean_db) / self.radar_std_db
        return values

    def position_m(self, standardised: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Position in metres of a standardised one."""
        return standardised @ self.axes * self.position_scale_m + self.position_mean_m

    def power_db(self, standardised: Float[Tensor, "*batch 64"]) -> Float[Tensor, "*batch 64"]:
        """Power in dB of a standardised one."""
        return standardised * self.power_std_db + self.power_mean_db


class _UnrolledGru(nn.Module):
    """A GRU of one layer written out, step by step: compilers and exporters take it, and the number of steps is small.

    r = s(W_r x + U_r h), z = s(W_z x + U_z h), n = tanh(W_n x + r (U_n h)), h <- (1 - z) n + z h, each with its biases.
    """

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        weights = dict(gru.named_parameters())
        self.seen, self.seen_bias = weights["weight_ih_l0"], weights["bias_ih_l0"]
        self.kept, self.kept_bias = weights["weight_hh_l0"], weights["bias_hh_l0"]

    def forward(
        self, values: Float[Tensor, "batch step channel"], state: Float[Tensor, "1 batch dim"] | None = None
    ) -> tuple[Float[Tensor, "batch step dim"], Float[Tensor, "1 batch dim"]]:
        """All states, and the last one, as `nn.GRU` returns them."""
        seen = functional.linear(values, self.seen, self.seen_bias)
        last = values.new_zeros(values.shape[0], self.kept.shape[1]) if state is None else state[0]
        states = []
        for step in seen.unbind(1):
            seen_r, seen_z, seen_n = step.chunk(3, -1)
            kept_r, kept_z, kept_n = functional.linear(last, self.kept, self.kept_bias).chunk(3, -1)
            reset, update = torch.sigmoid(seen_r + kept_r), torch.sigmoid(seen_z + kept_z)
            new = torch.tanh(seen_n + reset * kept_n)
            last = new + update * (last - new)
            states.append(last)
        return torch.stack(states, 1), last[None]


def _unrolled(module: nn.Module) -> nn.Module:
    """The module with every GRU in it written out."""
    for name, child in module.named_children():
        setattr(module, name, _UnrolledGru(child) if isinstance(child, nn.GRU) else _unrolled(child))
    return module


class Forecaster(nn.Module):
    """Frozen backbone, heads and statistics of one dataset.

    Attributes:
        large: modalities read whose tokens are worth keeping from one window to the next.
        small: modalities read that may be relative to their window: tokenized anew with it.
        told: fields of `Forecast` whose tasks the run was trained on.
    """

    def __init__(self, predictor: JepaPredictor, normaliser: Normaliser) -> None:
        super().__init__()
        model, options = predictor.model.eval(), predictor.heads.config
        self.layout, self.inputs = model.layout, predictor.config.inputs
        tasks = predictor.config.supervised or tuple(TASK_MODALITY)
        self.told = tuple(name for name, task in zip(Forecast._fields, TASK_MODALITY, strict=True) if task in tasks)
        self.missing, self.zeroed = tuple(options.missing), options.backbone == "zeroed"
        read = [name for name in self.layout.modalities if name not in self.missing]
        self.large = tuple(name for name in read if name not in SMALL)
        self.small = tuple(name for name in read if name in SMALL)
        if "radar" in self.large:
            normaliser.radar(torch.zeros(1))  # says so where there are no statistics of it
        self.standardise = Standardisation(normaliser)
        self.tokenizers = model.context.embedding.tokenizers
        self.fusion, self.encoder, self.predictor = model.context.fusion, model.context.encoder, model.predictor
        self.heads = _unrolled(copy.deepcopy(predictor.heads).eval())
        with torch.no_grad():
            positions_ND = model.context.embedding.positions()
            self.register_buffer("positions_ND", positions_ND)
            if self.fusion is None:
                self.register_buffer("empty_ND", model.mask_token + positions_ND)
            else:
                self.register_buffer("time_TD", model.context.embedding.time.clone())
        self.positions_ND: Tensor
        self.empty_ND: Tensor
        self.time_TD: Tensor
        self.to(positions_ND.device).requires_grad_(False)

    def tokenize(self, name: str, frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame k dim"]:
        """Tokens of frames as their tokenizer takes them, before they have a place."""
        tokens: Tensor = self.tokenizers[name](frames)
        return tokens

    def small_tokens(self, history: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "batch 8 k dim"]]:
        """Tokens of standardised positions and powers (B, 8, C), relative to their window if the run wants it."""
        seen = relative({name: history[name] for name in self.small}, self.inputs)
        return {
            name: self.tokenize(name, values.flatten(0, 1)).unflatten(0, (-1, T_OBS)) for name, values in seen.items()
        }

    def latents(self, tokens: Mapping[str, Tensor], window: Window) -> Latents:
        """Latents of the future from tokens (B, 8, K, D) of the observed frames, as `JepaModel.future_latents`."""
        if self.fusion is not None:
            latents = self._of_fused(self._fused(tokens, window, self.fusion))
            return latents.zeroed() if self.zeroed else latents
        visible = [
            tokens[part.name][:, slice(*part.frames)].flatten(1, 2) + self.positions_ND[slice(*part.places)]
            for part in window
            if part.visible
        ]
        context_BVD = self.encoder(torch.cat(visible, 1))
        whole_BND = torch.cat(list(self._filled(context_BVD, window)), 1)
        predicted_BND = self.predictor(whole_BND)
        latents = self._read(predicted_BND, context_BVD, window)
        return latents.zeroed() if self.zeroed else latents

    def _fused(
        self, tokens: Mapping[str, Tensor], window: Window, fusion: FrameFusion
    ) -> Float[Tensor, "batch place dim"]:
        """Fusion tokens of all frames that have read the visible tokens."""
        some = next(iter(tokens.values()))
        parts, hidden = [], []
        for part in window:
            count = part.places[1] - part.places[0]
            if part.visible:
                parts.append(tokens[part.name][:, slice(*part.frames)].flatten(1, 2))
            else:
                parts.append(some.new_zeros(some.shape[0], count, some.shape[-1]))
            hidden.append(some.new_full((some.shape[0], count), not part.visible, dtype=torch.bool))
        found: Tensor = fusion(torch.cat(parts, 1) + self.positions_ND, self.time_TD, torch.cat(hidden, 1))
        return found

    def _of_fused(self, fused_BPD: Float[Tensor, "batch place dim"]) -> Latents:
        """The latents of the future from the fusion tokens of all frames."""
        count = fused_BPD.shape[1] // self.layout.frames
        context_BPD = self.encoder(fused_BPD)
        predicted_BPD = self.predictor(context_BPD)
        future = predicted_BPD[:, T_OBS * count :]
        mean = future.unflatten(1, (T_PRED, count)).mean(2)
        told = context_BPD[:, : T_OBS * count].to(predicted_BPD)
        return Latents(dict.fromkeys(self.layout.modalities, mean), future, told)

    def _filled(self, context_BVD: Tensor, window: Window) -> Iterator[Tensor]:
        """What the predictor reads, part by part: the context, or the mask token where a stretch is hidden."""
        empty_BND = self.empty_ND.to(context_BVD.dtype).expand(context_BVD.shape[0], -1, -1)
        for part, context in zip(window, _by_stretch(context_BVD, window), strict=True):
            yield empty_BND[:, slice(*part.places)] if context is None else context

    def _read(self, predicted_BND: Tensor, context_BVD: Tensor, window: Window) -> Latents:
        """The latents of the future; where a frame was lost, the context is what the predictor makes of it."""
        predicted: dict[str, Tensor] = {}
        rest, told = [], []
        for name, first, tokens in self.layout.pieces():
            last = first + self.layout.frames * tokens
            future = predicted_BND[:, last - T_PRED * tokens : last]
            predicted[name] = future.unflatten(1, (T_PRED, tokens)).mean(2)
            rest.append(future)
        for part, context in zip(window, _by_stretch(context_BVD, window), strict=True):
            if part.name not in self.missing and part.frames[0] < T_OBS:
                told.append(predicted_BND[:, slice(*part.places)] if context is None else context.to(predicted_BND))
        return Latents(predicted, torch.cat(rest, 1), torch.cat(told, 1))

    def forecast(self, latents: Latents, history: Mapping[str, Tensor]) -> Forecast:
        """The heads on latents and the standardised positions and powers (B, 8, C), in metres and dB; NaN where they
        were not trained."""
        some = latents.context
        # a model without positions and powers still asks for the shape of a history
        known = history or {"gps": some.new_zeros(some.shape[0], T_OBS, 2)}
        output = self.heads(latents, known)
        whole = Forecast(
            self.standardise.position_m(output.trajectory), output.logits, self.standardise.power_db(output.spectrum)
        )
        untold = {
            name: torch.full_like(getattr(whole, name), torch.nan) for name in whole._fields if name not in self.told
        }
        return whole._replace(**untold)


def _by_stretch(context_BVD: Float[Tensor, "batch visible dim"], window: Window) -> Iterator[Tensor | None]:
    """The context of every stretch, None where it is hidden."""
    first = 0
    for part in window:
        if not part.visible:
            yield None
            continue
        last = first + part.places[1] - part.places[0]
        yield context_BVD[:, first:last]
        first = last
