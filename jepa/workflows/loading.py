"""The recordings as a model reads them: their frames, and the windows that it can be trained on."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from jepa.backbone.features import with_camera_features
from jepa.backbone.model import JepaModel
from jepa.config import PretrainConfig
from jepa.data.frames import TARGETS, FrameStore
from jepa.data.samples import History
from jepa.data.windows import Windows, complete_windows
from jepa.inference.predictor import JepaPredictor
from twin.errors import UserError

__all__ = ["load_frames", "load_observed", "say_who_stands_in", "training_windows", "whole_windows"]


def load_frames(
    data: Sequence[Path], device: torch.device, config: PretrainConfig, run: Path, model: JepaModel | None = None
) -> FrameStore:
    """The frames that a model is trained on; features in place of pictures where its camera is frozen, kept in the run.
    Camera, radar and LiDAR that its heads are trained without need not be in the recordings.

    Args:
        model: the one that reads them, where there is one already.
    """
    store = FrameStore.load(data, device, _trained_on(config), config.inputs.image_size)
    return with_camera_features(store, config, run / "features", model)


def _trained_on(config: PretrainConfig) -> list[str]:
    """Modalities without those that heads are trained without; what is predicted stays."""
    return [name for name in config.inputs.modalities if name in TARGETS or name not in config.heads.missing]


def load_observed(
    data: Sequence[Path], device: torch.device, predictor: JepaPredictor, run: Path, dropped: Sequence[str] = ()
) -> FrameStore:
    """The frames that a predictor reads. Camera, radar and LiDAR that drop out, that the heads were trained
    without, or that a recording does not hold, are not read: their frames count as lost, as a line says of the last.

    Raises:
        UserError: the heads read no such modality.
    """
    config = predictor.config
    read = [name for name in config.inputs.modalities if name not in config.heads.missing]
    unknown = set(dropped) - set(read)
    if unknown:
        raise UserError(f"the model reads no {sorted(unknown)[0]}", "--dropped", f"choose from {', '.join(read)}")
    names = [name for name in read if name not in dropped]
    store = FrameStore.load(data, device, names, config.inputs.image_size, absent_is_lost=True)
    absent = [said for said in (_absence(store, name) for name in names) if said]
    if absent:
        print(f"not in the recordings, so all of its frames count as lost: {', '.join(absent)}", file=sys.stderr)
    return with_camera_features(store, config, run / "features", predictor.model)


def say_who_stands_in(
    predictor: JepaPredictor, store: FrameStore, windows: Windows, dropped: Sequence[str] = ()
) -> None:
    """A line on stderr for the windows that other heads answer, because all positions or powers in them were lost.

    Raises:
        UserError: there are no such heads.
    """
    for rows, other in predictor.answering(History.gather(store, windows).without(dropped)):
        if other is not predictor:
            without = " and ".join(other.config.heads.missing)
            print(f"{len(rows)} windows are answered by the heads trained without {without}", file=sys.stderr)


def _absence(store: FrameStore, name: str) -> str:
    """The name of a modality that recordings do not hold, and of how many where others do; else nothing."""
    if name not in store.values:
        return name
    without = sum(not bool(store.valid[name][part.start : part.stop].any()) for part in store.episodes)
    return f"{name} (in {without} of {len(store.episodes)})" if without else ""


def training_windows(store: FrameStore, windows: Windows, config: PretrainConfig) -> Windows:
    """The training windows in which nothing that is trained on is lost.

    Raises:
        UserError: there is none.
    """
    found = whole_windows(store, windows, config)
    if not len(found):
        names = " and ".join(_trained_on(config))
        raise UserError(f"no training window has all of {names}", store.datasets[0].path, "use longer sequences")
    return found


def whole_windows(store: FrameStore, windows: Windows, config: PretrainConfig) -> Windows:
    """The windows, none perhaps, in which nothing that is trained on is lost."""
    return complete_windows(store, windows, _trained_on(config))
