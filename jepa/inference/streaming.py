"""One new frame at a time: its tokens are made once and kept while it is among the last eight.

A window shares seven of its eight observed frames with the one before it. Of a stream, each picture and each map goes
through its tokenizer once; positions and powers, which may be relative to their window and cost next to nothing, are
tokenized with it. On a GPU what is not metres or dB runs in bfloat16, nothing waits for the host, and the fixed window
without losses is compiled. Shape suffixes as in `jepa.inference.forecast`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from jepa.data.preprocess import Normaliser
from jepa.data.sending import send
from jepa.data.windows import T_OBS
from jepa.inference.forecast import Forecast, Forecaster, Lost, Window, statistics_of, stretches
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import open_run
from twin.errors import UserError

__all__ = ["StreamingPredictor"]

FRAMES_AT_ONCE = 64
"""Frames that go through a tokenizer at once."""


class StreamingPredictor:
    """Forecasts of streams that run side by side, frame by frame; while all positions or powers of the last eight
    frames are lost, those of heads that stand in.

    Args:
        normaliser: the statistics of the site.
        compiled: compile tokenizers, backbone and heads (CUDA graphs); on a GPU unless it says otherwise.
    """

    def __init__(self, predictor: JepaPredictor, normaliser: Normaliser, *, compiled: bool | None = None) -> None:
        self.forecaster = Forecaster(predictor, normaliser)
        self._predictor, self._normaliser = predictor, normaliser
        self._standing_in: dict[tuple[str, ...], Forecaster] = {}
        self.device = self.forecaster.positions_ND.device
        self.accelerated = self.device.type == "cuda"
        self._compiled = self.accelerated if compiled is None else compiled
        self._tokens_of, self._answer = self._tokenize_part, self._answer_whole
        if self._compiled:
            self._tokens_of = torch.compile(self._tokens_of, mode="reduce-overhead", fullgraph=True)
            self._answer = torch.compile(self._answer, mode="reduce-overhead", fullgraph=True)
        self.reset()

    @classmethod
    def load(
        cls,
        run: Path,
        device: torch.device | str = "cpu",
        *,
        dataset: str | None = None,
        missing: tuple[str, ...] = (),
        compiled: bool | None = None,
    ) -> "StreamingPredictor":
        """The streaming predictor of a run with heads.

        Args:
            dataset: whose statistics are taken, where the run has those of several.

        Raises:
            UserError: the run is incomplete or damaged, or has no such statistics.
        """
        predictor = JepaPredictor.load(run, device, missing=missing)
        normaliser = statistics_of(predictor.normalisers, dataset, open_run(run).datasets)
        return cls(predictor, normaliser, compiled=compiled)

    def reset(self) -> None:
        """Forget all frames: other streams begin."""
        self._kept: dict[str, list[Tensor | None]] = {
            name: [] for name in (*self.forecaster.large, *self.forecaster.small)
        }

    @torch.no_grad()
    def push(self, frame: Mapping[str, Shaped[Tensor, "stream ..."] | None]) -> Forecast | None:
        """Take in one new frame of every stream; the forecasts from the last eight, None before the eighth.

        They equal those of `JepaPredictor.predict_history` of the same eight frames.

        Args:
            frame: by modality raw values, `camera` bytes (B, H, W, 3), `radar` dB (B, 64, 256), `lidar` metres
                (B, 64, 256) with NaN for no return, `gps` metres east and north of the base station (B, 2), `rf` linear
                power (B, 64); None where the frame was lost.

        Raises:
            UserError: a modality is left out, or all eight frames of positions or powers are lost and the run holds no
                heads that stand in.
        """
        absent = [name for name in self._kept if name not in frame]
        if absent:
            raise UserError(f"the frame holds no {absent[0]}", "the stream", "give None where it is lost")
        if self._compiled and self.accelerated:
            torch.compiler.cudagraph_mark_step_begin()
        for name, kept in self._kept.items():
            values = frame[name]
            if values is not None:
                values = send(values, self.device)
                values = self.tokenize(name, values) if name in self.forecaster.large else values.float()
            kept.append(values)
            del kept[:-T_OBS]
        if any(len(kept) < T_OBS for kept in self._kept.values()):
            return None
        lost = tuple((name, n) for name, kept in self._kept.items() for n, one in enumerate(kept) if one is None)
        tokens = {name: _stacked(self._kept[name]) for name in self.forecaster.large if _received(self._kept[name])}
        gone = tuple(name for name in self.forecaster.small if not _received(self._kept[name]))
        history = {name: self._repeated(name) for name in self.forecaster.small if name not in gone}
        if gone:
            return self._answer_without(gone, tokens, history, lost)
        return self.predict_tokens(tokens, history, lost)

    def _answer_without(
        self, gone: tuple[str, ...], tokens: dict[str, Tensor], history: dict[str, Tensor], lost: Lost
    ) -> Forecast:
        """The forecasts of the heads that stand in where all frames of some modalities are lost."""
        if gone not in self._standing_in:
            predictor = self._predictor.without(gone, "the stream")
            self._standing_in[gone] = Forecaster(predictor, self._normaliser)
        forecaster = self._standing_in[gone]
        return self._answer_whole(tokens, history, _seen(forecaster, lost), forecaster)

    def _repeated(self, name: str) -> Float[Tensor, "stream 8 channel"]:
        """Positions or powers in which a lost frame repeats the one before it; before the first, the first one."""
        found, last = [], _received(self._kept[name])[0]
        for values in self._kept[name]:
            last = last if values is None else values
            found.append(last)
        return torch.stack(found, 1)

    @torch.no_grad()
    def tokenize(self, name: str, frames: Shaped[Tensor, "frame ..."]) -> Float[Tensor, "frame k dim"]:
        """Tokens of raw frames of camera, radar or LiDAR, before they have a place."""
        parts = [self._tokens_of(name, part) for part in frames.split(FRAMES_AT_ONCE)]
        # a compiled function writes its next result where it wrote this one
        return parts[0].clone() if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def predict_tokens(
        self,
        tokens: Mapping[str, Float[Tensor, "window 8 k dim"]],
        history: Mapping[str, Float[Tensor, "window 8 channel"]],
        lost: Lost = (),
    ) -> Forecast:
        """Forecasts of many windows at once.

        Args:
            tokens: of camera, radar and LiDAR, as `tokenize` makes them.
            history: raw positions [m] and linear powers.
            lost: modality and number of the frames that all windows lost.

        Raises:
            UserError: nothing is left to see.
        """
        window = _seen(self.forecaster, lost)
        if lost or not self._compiled:
            return self._answer_whole(dict(tokens), dict(history), window)
        return Forecast(*(values.clone() for values in self._answer(dict(tokens), dict(history), window)))

    def _half(self) -> AbstractContextManager[None]:
        found: AbstractContextManager[None] = torch.autocast(self.device.type, torch.bfloat16, enabled=self.accelerated)
        return found

    def _tokenize_part(self, name: str, frames: Tensor) -> Tensor:
        with self._half():
            return self.forecaster.tokenize(name, self.forecaster.standardise(name, frames))

    def _answer_whole(
        self,
        tokens: dict[str, Tensor],
        history: dict[str, Tensor],
        window: Window,
        stand_in: Forecaster | None = None,
    ) -> Forecast:
        forecaster = stand_in or self.forecaster
        standardised = {name: forecaster.standardise(name, values) for name, values in history.items()}
        known = {**tokens, **forecaster.small_tokens(standardised)}
        with self._half():
            latents = forecaster.latents(known, window)
        return forecaster.forecast(latents, standardised)


def _seen(forecaster: Forecaster, lost: Lost) -> Window:
    """The window without what was lost.

    Raises:
        UserError: nothing is left.
    """
    window = stretches(forecaster.layout, forecaster.missing, lost)
    if not any(part.visible for part in window):
        raise UserError("nothing was observed", "the stream", "leave some frames of one modality")
    return window


def _received(kept: list[Tensor | None]) -> list[Tensor]:
    return [values for values in kept if values is not None]


def _stacked(kept: list[Tensor | None]) -> Float[Tensor, "stream 8 k dim"]:
    """Tokens by frame; zeros, which nobody reads, where it was lost."""
    nothing = torch.zeros_like(_received(kept)[0])
    return torch.stack([nothing if values is None else values for values in kept], 1)
