"""What every baseline is: fitted on training samples, selected on validation, shown eight frames, asked for five."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jepa.data.frames import FrameStore
from jepa.data.samples import History, Samples
from jepa.data.splits import Split
from jepa.data.windows import T_PRED, complete_windows
from jepa.evaluation.predictions import Output

__all__ = ["Baseline", "TorchState", "as_output", "option_of"]

TorchState = dict[str, Tensor]


class Baseline(ABC):
    """A predictor of one or more tasks. `name` is that of the command line and the tables.

    `needs` are the modalities that it reads; those that the tasks are about are always there. `weights` are its
    arguments that name published weights to start from. `label` names the progress bar of its training; nothing is
    shown without. `device` is where its networks train and predict: what they read is moved there, pictures and maps
    batch by batch. Set it before `fit`; what has no network ignores it.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("gps", "rf")
    weights: ClassVar[tuple[str, ...]] = ()
    label: str = ""
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def fit(self, train: Samples, val: Samples, seed: int) -> None:
        """Fit on `train`; hyperparameters are chosen on `val`, which may be empty."""

    def samples(self, store: FrameStore, split: Split) -> dict[str, Samples]:
        """The samples of every part. Windows in which a frame of what is read was lost are predicted, but neither
        trained nor chosen on."""
        lossy = dict(split.parts)
        for part in ("train", "val"):
            lossy[part] = complete_windows(store, lossy[part], self.needs)
        return {part: Samples.gather(store, windows) for part, windows in lossy.items()}

    @abstractmethod
    def predict(self, history: History) -> Output:
        """Predict from the observed frames alone."""


def option_of(name: str) -> str:
    """The option of `jepa baseline` that names published weights: `--picture-weights` for `picture_weights`."""
    return "--" + name.replace("_", "-")


def as_output(
    windows: int,
    trajectory_m: Float[Tensor, "window 5 2"] | None = None,
    beam_logits: Float[Tensor, "window 5 64"] | None = None,
    spectrum_db: Float[Tensor, "window 5 64"] | None = None,
) -> Output:
    """An output in which the tasks that are not given are NaN."""

    def filled(values: Tensor | None, channels: int) -> np.ndarray:
        if values is None:
            return np.full((windows, T_PRED, channels), np.nan, np.float32)
        return values.detach().to("cpu", torch.float32).numpy()

    return Output(filled(trajectory_m, 2), filled(beam_logits, 64), filled(spectrum_db, 64))
