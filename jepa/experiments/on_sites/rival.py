"""The rival of a pretrained backbone: `gru_cascade`, pretrained on the same drives and adapted to the same site.

It reads powers relative to the window and positions in the frame of the site, as the raw path of the heads of `best`
does; the shifts and the noise with which those are trained are not part of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa.baselines.gru_cascade import PLAN, GruCascade
from jepa.config import preset
from jepa.data.samples import Samples
from jepa.experiments.on_sites.sites import row_of
from jepa.training.checkpoint import load_tensors, save_tensors
from jepa.training.loop import Plan
from jepa.workflows import pick_device

__all__ = ["PLAN", "pretrain_rival", "rival_row"]


def pretrain_rival(place: Path, samples: Mapping[str, Samples], plan: Plan, seed: int) -> dict[str, Any]:
    """A row without numbers; the weights lie at `place`."""
    rival = _rival(None, plan)
    rival.fit(samples["train"], samples["val"], seed)
    place.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(place, rival.model.state_dict(), {"seed": seed})
    return {}


def _rival(start: Path | None, plan: Plan) -> GruCascade:
    rival = GruCascade(load_tensors(start)[0] if start else None, plan, preset("best").inputs)
    rival.device = pick_device("auto")
    return rival


def rival_row(start: Path | None, samples: Mapping[str, Samples], plan: Plan, seed: int) -> dict[str, Any]:
    """A row: trained on a site by `plan`, from the weights at `start` where there are some, and judged on its test."""
    rival = _rival(start, plan)
    rival.fit(samples["train"], samples["val"], seed)
    return row_of(rival.predict(samples["test"].history), samples["test"])
