"""The model that comes with the project: one backbone on five modalities and two scenarios of the twin, and its heads.

It makes the drives, pretrains, trains the heads, and writes the run in half precision to `checkpoint` with what it
scored on drives that it has not seen: as they are, with each modality gone at run time, and beside baselines that were
fitted on the same drives. What is evaluated is what was written, not what was trained. A stopped run goes on.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jepa import workflows
from jepa.config import PretrainConfig, preset
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.on_twin.recorded import recorded
from jepa.experiments.pages.tables import report_table
from jepa.experiments.results.store import write_json
from jepa.runs.shipped import save_small
from twin.errors import UserError

__all__ = ["BUDGETS", "DATA_SEED", "Budget", "run"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table.

    Attributes:
        episodes: drives of each scenario, recorded while the car is in view.
        frames: their length (None: until the car is gone).
        more: further settings.
    """

    episodes: dict[str, int]
    image_size: int
    epochs: int
    head_epochs: int
    batch_size: int
    frames: int | None = None
    more: tuple[str, ...] = ()


BUDGETS = {
    "quick": Budget(
        {"deepsense32": 10, "street_canyon": 10},
        image_size=32,
        epochs=1,
        head_epochs=1,
        batch_size=16,
        frames=16,
        more=("model.width=16", "model.attention_heads=2", "heads.width=32", "heads.skip=32"),
    ),
    "default": Budget({"deepsense32": 160, "street_canyon": 48}, 64, 6, 20, 32),
}
"""`quick` shows that it runs, `default` made the checkpoint in `assets/checkpoints`, on a CPU."""
DATA_SEED = 1000
"""Of the drives: no other drives of the project have it, so that nothing else that is made here was trained on."""
SENSORS = ("camera", "radar", "lidar")
"""Each of them may drop out at run time, and all of them: the heads read the history of position and power alone."""
STOOD_IN = "gps"
"""Where it drops out, heads that were trained without it stand in. Those for lost powers would be too large a file."""
MODALITIES = (*SENSORS, "gps", "rf")
BASELINES = ("hold_last", "constant_velocity", "kalman", "gru_cascade")
PAGE = "README.md"
"""Written last."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Make what is missing, write the checkpoint to `out`/checkpoint, print its evaluation.

    Raises:
        UserError: recordings are named (it makes its own), an unknown budget, or `out` holds something else.
    """
    if data:
        raise UserError("makes its own recordings", "jepa experiment checkpoint", "leave out --data")
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    spent = BUDGETS[budget]
    recordings = [_generated(out, name, count, spent) for name, count in spent.episodes.items()]
    trained = out / "runs" / "jepa"
    workflows.pretrain_run(recordings, trained, _config(spent), resume=True)
    workflows.heads_run(trained, recordings, resume=True)
    workflows.heads_run(trained, recordings, missing=[STOOD_IN], resume=True)
    small = out / "checkpoint"
    if not (small / PAGE).exists():
        if not small.exists():
            save_small(trained, small)
        reports = _evaluated(out, small, recordings)
        shutil.rmtree(small / "features", ignore_errors=True)
        write_json(small / "evaluation.json", {"budget": asdict(spent), "reports": reports})
        (small / PAGE).write_text(_page(budget, spent, reports))
    print((small / PAGE).read_text())


def _generated(out: Path, scenario: str, episodes: int, budget: Budget) -> Path:
    place = out / "data" / scenario
    recorded(in_view(scenario, out / "scenario"), place, episodes, frames=budget.frames, seed=DATA_SEED)
    return place


def _config(budget: Budget) -> PretrainConfig:
    """`best` with all modalities; the camera is as it was drawn, so that its features are computed once a frame."""
    settings = [
        f"inputs.modalities=[{', '.join(MODALITIES)}]",
        "inputs.normalise=by-dataset",
        f"inputs.image_size={budget.image_size}",
        "model.width=64",
        "model.camera=frozen",
        "group=8",
        f"epochs={budget.epochs}",
        f"heads.epochs={budget.head_epochs}",
        f"batch_size={budget.batch_size}",
        *budget.more,
    ]
    return preset("best", settings)


def _evaluated(out: Path, small: Path, recordings: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Reports of the checkpoint on its test part, whole and without each modality, and of baselines."""
    found = {"checkpoint": workflows.evaluate_run(small, recordings)}
    for gone in (*((name,) for name in SENSORS), SENSORS, (STOOD_IN,)):
        name = f"checkpoint, {', '.join(gone)} gone"
        found[name] = workflows.evaluate_run(small, recordings, dropped=gone)
    for name in BASELINES:
        place = out / "runs" / name
        if not place.exists():
            workflows.baseline_run(name, recordings, place)
        found[name] = workflows.evaluate_run(place, recordings)
    return found


def _page(budget: str, spent: Budget, reports: dict[str, dict[str, Any]]) -> str:
    whole = reports["checkpoint"]
    drives = " and ".join(f"{count} of `{name}`" for name, count in spent.episodes.items())
    how = f"{spent.epochs} epochs of pretraining with batches of {spent.batch_size}, {spent.head_epochs} of the heads"
    held_out = f"{whole['sequences']} drives, {whole['windows']} windows"
    return f"""# A model of five modalities, trained on the twin

Made by `jepa experiment checkpoint --budget {budget} --out DIR`: preset `best` with every modality, pictures of
{spent.image_size} pixels, seed 0, {how}.
Drives of the twin, recorded while the car is in view, with seed {DATA_SEED}: {drives},
70 % of which train.
In half precision, without target branch and optimiser. The camera network has random weights, and stays as drawn.

Held out of both scenarios: {held_out}; mean over 0.1 to 0.5 s ahead, 95 % intervals over
drives. The baselines were fitted on the same training drives. "Gone": the modality drops out at run time; without
any position, heads that were trained without it stand in.

{report_table(reports)}
"""
