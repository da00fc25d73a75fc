"""The predictions that lie beside a run: new ones in the place of older, and those of given windows read again."""

import errno
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from jepa.config import HeadConfig, PretrainConfig
from jepa.data.frames import FrameStore
from jepa.data.windows import T_OBS, Windows
from jepa.evaluation.predictions import Output, PredictionsManifest, load_predictions
from jepa.workflows.configuration import heads_options
from twin.errors import UserError
from twin.recording import read_manifest

__all__ = ["model_label", "remove_predictions", "replace_predictions", "stored_output"]

DROPPED = "--dropped"
"""In the label of predictions, before a modality that dropped out."""


def model_label(name: str, heads: HeadConfig, config: PretrainConfig, dropped: Sequence[str] = ()) -> str:
    """What stored predictions say they are of: the name of the run, and the options that chose other heads of it."""
    lost = [part for modality in dropped for part in (DROPPED, modality)]
    return " ".join([name, *heads_options(heads, config), *lost])


def remove_predictions(run: Path, label: str) -> None:
    """Remove the predictions of some heads, whatever dropped out; those of other heads stay."""
    for dataset in (run / "predictions").glob("*"):
        try:
            stored = [read_manifest(path, PredictionsManifest).model for path in dataset.iterdir()]
        except (UserError, OSError):
            stored = [label]  # of nobody knows what
        if any(model.partition(f" {DROPPED} ")[0] == label for model in stored):
            shutil.rmtree(dataset, ignore_errors=True)
    with suppress(OSError):
        (run / "predictions").rmdir()


def replace_predictions(kept: Path, made: Path) -> None:
    """Move new predictions in the place of those for the same datasets.

    Raises:
        UserError: there is no place for them.
    """
    try:
        kept.mkdir(exist_ok=True)
        for dataset in made.iterdir():
            shutil.rmtree(kept / dataset.name, ignore_errors=True)
            dataset.rename(kept / dataset.name)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise UserError(
            "is no directory, or another command writes there", kept, "remove it, or wait and predict again"
        ) from None


def stored_output(run: Path, store: FrameStore, windows: Windows) -> Output:
    """The stored predictions of a run for some windows.

    Raises:
        UserError: they are not there.
    """
    count = len(windows)
    found = [np.full((count, 5, channels), np.nan, np.float32) for channels in (2, 64, 64)]
    for number in torch.unique(windows.episode).tolist():
        episode = store.episodes[number]
        path = run / "predictions" / store.datasets[episode.dataset].hash / episode.name
        predictions = load_predictions(path)
        rows = torch.nonzero(windows.episode == number)[:, 0].cpu().numpy()
        t = windows.index[rows, T_OBS - 1].cpu().numpy() - episode.start
        place = np.searchsorted(predictions.t, t)
        if (place >= len(predictions.t)).any() or (predictions.t[np.minimum(place, len(predictions.t) - 1)] != t).any():
            raise UserError("does not hold all windows asked for", path, "predict this part as well")
        output = predictions.output
        for kept, values in zip(found, (output.trajectory_m, output.beam_logits, output.spectrum_db), strict=True):
            kept[rows] = values[place]
    return Output(*found)
