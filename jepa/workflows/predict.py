"""`jepa predict`: what a run says of some data, written beside it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from jepa.evaluation.predictions import save_predictions
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import check_not_trained_on
from jepa.workflows.configuration import model_run
from jepa.workflows.devices import pick_device
from jepa.workflows.loading import load_observed, say_who_stands_in
from jepa.workflows.parts import PREDICTED, parts_with_windows, split_for
from jepa.workflows.stored_predictions import model_label, replace_predictions
from twin.errors import UserError

__all__ = ["predict_run"]


def predict_run(
    run: Path,
    data: Sequence[Path],
    *,
    parts: Sequence[str] = PREDICTED,
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    dropped: Sequence[str] = (),
    cascade: bool | None = None,
    device: str = "auto",
    predictor: JepaPredictor | None = None,
) -> int:
    """Write the predictions of a run for `data` beside it, replacing older ones; returns the number of episodes.

    Those of other heads, or with a modality dropped, lie in the same place, and their manifests name these options.

    Args:
        backbone: pretrained, or a control: random (weights), zeroed (output).
        missing: modalities that the heads were trained without.
        dropped: modalities that drop out at run time: the heads were trained with them.
        cascade: the heads with the cascade, or those without; as the run's configuration says unless given.
        predictor: that of the run, where it is there already; it stands for the heads.

    Raises:
        UserError: the run or the data do not allow it.
    """
    description, config = model_run(run)
    place = pick_device(device)
    predictor = predictor or JepaPredictor.load(run, place, backbone=backbone, missing=tuple(missing), cascade=cascade)
    store = load_observed(data, place, predictor, run, dropped)
    split = split_for(description, store)
    for part in set(parts_with_windows(split, parts)) - {"train"}:
        check_not_trained_on(description, store, split.parts[part], run)
    for part in parts_with_windows(split, parts):
        say_who_stands_in(predictor, store, split.parts[part], dropped)
    outputs = {
        part: predictor.predict(store, split.parts[part], lambda history: history.without(dropped))
        for part in parts_with_windows(split, parts)
    }
    if not outputs:
        raise UserError(f"hold no window of {' or '.join(parts)}", "the recordings", "choose another --split")
    label = model_label(description.name, predictor.config.heads, config, dropped)
    draft = run / f".predictions.{os.getpid()}"
    try:
        written = save_predictions(draft, label, store, split, outputs)
        replace_predictions(run / "predictions", draft / "predictions")
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written
