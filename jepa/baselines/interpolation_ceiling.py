"""No predictor: a regression that sees the sweeps right before and after. It tells how noisy the label is."""

import math

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from jepa.data.frames import FrameStore
from jepa.data.preprocess import Normaliser
from jepa.data.windows import T_PRED, Windows
from jepa.evaluation.predictions import Output

__all__ = ["InterpolationCeiling"]

BANDWIDTHS = (0.5, 1.0, 2.0)
"""Kernel widths, in medians of the distance between training frames."""
RIDGES = (1e-3, 1e-2, 1e-1)
POSITION_WEIGHT = 8.0
"""Of the standardised position against 128 standardised powers: the squares then weigh alike."""
LARGEST_FIT = 4000
"""Training frames beyond this are thinned evenly: the solver is cubic."""


class InterpolationCeiling:
    """Kernel ridge from the sweeps at t - 1 and t + 1 and the position at t to the sweep at t."""

    name = "interpolation_ceiling"

    def fit(self, store: FrameStore, train: Windows, val: Windows) -> None:
        """Solve on the training frames; width and ridge are chosen by the power lost on validation."""
        self.normaliser = Normaliser.fit(store, train)
        frames = np.unique(train.future.numpy())
        frames = frames[:: math.ceil(len(frames) / LARGEST_FIT)]
        self.inputs, target = self._inputs(store, frames), self._sweep(store, frames)
        self.offset = target.mean(0)
        distance = cdist(self.inputs, self.inputs)
        unit = float(np.median(distance))
        judged = np.unique((val if len(val) else train).future.numpy())
        judged_inputs, judged_db = self._inputs(store, judged), self._sweep(store, judged)
        best = np.inf
        for bandwidth in BANDWIDTHS:
            kernel = np.exp(-0.5 * (distance / (bandwidth * unit)) ** 2)
            for ridge in RIDGES:
                factor = cho_factor(kernel + ridge * np.eye(len(kernel)))
                self.width, self.weights = bandwidth * unit, cho_solve(factor, target - self.offset)
                chosen = self._at(judged_inputs).argmax(1)
                lost = (judged_db.max(1) - np.take_along_axis(judged_db, chosen[:, None], 1)[:, 0]).mean()
                if lost < best:
                    best, kept = lost, (self.width, self.weights)
        self.width, self.weights = kept

    def predict(self, store: FrameStore, windows: Windows) -> Output:
        """The regression at every future frame of the windows; it looks at the frames around it."""
        future = windows.future.numpy()
        frames, place = np.unique(future, return_inverse=True)
        sweep = self._at(self._inputs(store, frames))[place].reshape(*future.shape, 64)
        spectrum = sweep * self.normaliser.power_std_db + self.normaliser.power_mean_db
        return Output(np.full((len(future), T_PRED, 2), np.nan), spectrum, spectrum)

    def _sweep(self, store: FrameStore, frames: np.ndarray) -> Float[np.ndarray, "frame 64"]:
        return self.normaliser.power(store.values["rf"][frames]).numpy().astype(float)

    def _inputs(self, store: FrameStore, frames: np.ndarray) -> Float[np.ndarray, "frame 130"]:
        """Sweeps before and after (where one is of another episode or invalid, the other twice) and the position."""
        episode = store.episode_of_frame.numpy()
        usable = store.valid["rf"].numpy()

        def neighbour(step: int) -> np.ndarray:
            other = np.clip(frames + step, 0, store.frames - 1)
            good = (episode[other] == episode[frames]) & usable[other]
            return np.where(good, other, np.clip(frames - step, 0, store.frames - 1))

        position = self.normaliser.position(store.values["gps"][frames]).numpy()
        return np.concatenate(
            [self._sweep(store, neighbour(-1)), self._sweep(store, neighbour(1)), POSITION_WEIGHT * position], 1
        )

    def _at(self, inputs: np.ndarray) -> Float[np.ndarray, "frame 64"]:
        kernel = np.exp(-0.5 * (cdist(inputs, self.inputs) / self.width) ** 2)
        mixed: np.ndarray = kernel @ self.weights + self.offset
        return mixed
