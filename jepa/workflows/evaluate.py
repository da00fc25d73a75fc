"""`jepa evaluate`: how good a run is on a part of some data that it never trained on."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jepa.data.frames import FrameStore
from jepa.data.samples import History, Samples
from jepa.data.splits import PARTS
from jepa.data.windows import Windows
from jepa.evaluation.evaluate import evaluate
from jepa.evaluation.representation import VIEWS, view_of
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import check_not_trained_on, open_run
from jepa.workflows.devices import pick_device
from jepa.workflows.loading import load_observed, say_who_stands_in
from jepa.workflows.parts import split_for
from jepa.workflows.stored_predictions import stored_output
from twin.errors import UserError

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Path,
    data: Sequence[Path],
    *,
    part: str = "test",
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    dropped: Sequence[str] = (),
    cascade: bool | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """The evaluation object of a run on a part of `data`.

    A model predicts anew; of a baseline the stored predictions are read.

    Args:
        backbone: pretrained, or a control: random (weights), zeroed (output).
        missing: modalities that the heads were trained without.
        dropped: modalities that drop out at run time: the heads were trained with them.
        cascade: the heads with the cascade, or those without; as the run's configuration says unless given.

    Raises:
        UserError: it was trained on them, or they do not allow it.
    """
    if part not in PARTS:
        raise UserError(f"no part {part!r}", "--split", f"choose from {', '.join(PARTS)}")
    description = open_run(run)
    place = pick_device(device)
    if description.kind == "baseline":
        _check_stored(backbone, missing, dropped, cascade)
        predictor = None
        store = FrameStore.load(data, place)
    else:
        predictor = JepaPredictor.load(run, place, backbone=backbone, missing=tuple(missing), cascade=cascade)
        store = load_observed(data, place, predictor, run, dropped)
    split = split_for(description, store)
    windows = split.parts[part]
    if not len(windows):
        raise UserError(f"the {part} part holds no window", "--split", "choose another part")
    check_not_trained_on(description, store, windows, run)
    views = None
    if predictor is None:
        output = stored_output(run, store, windows)
    else:
        say_who_stands_in(predictor, store, windows, dropped)
        output = predictor.predict(store, windows, lambda history: history.without(dropped))
        views = _latent_views(predictor, store, windows, dropped)
    report = evaluate(output, Samples.gather(store, windows), part, split.protocol, views=views)
    return {**report, "left_out": {"invalid": windows.invalid, "short": windows.short}}


def _check_stored(backbone: str, missing: Sequence[str], dropped: Sequence[str], cascade: bool | None) -> None:
    """Refuse what changes predictions where they are made already.

    Raises:
        UserError: it is asked for.
    """
    given = {
        "--backbone": backbone != "pretrained",
        "--missing": bool(missing),
        "--dropped": bool(dropped),
        "--cascade" if cascade else "--no-cascade": cascade is not None,
    }
    for option, asked in given.items():
        if asked:
            raise UserError("a baseline's predictions are made already", option, "name a run of jepa pretrain")


def _latent_views(
    predictor: JepaPredictor, store: FrameStore, windows: Windows, dropped: Sequence[str] = ()
) -> np.ndarray:
    """Latents of augmented views of the windows, pooled over each."""
    found = []
    for number in range(VIEWS):
        latent = predictor.predict(store, windows, partial(_view, number=number, dropped=dropped)).latent
        assert latent is not None
        found.append(latent.mean(1))
    return np.stack(found, 1)


def _view(history: History, number: int, dropped: Sequence[str]) -> History:
    return view_of(history, number).without(dropped)
