"""The demonstration: a dataset, a backbone, three heads, the baselines, one table. What is there is reused.

Beside it the model that comes with the project, on drives with all sensors that it has not seen: the first replay.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jepa import workflows
from jepa.config import PretrainConfig, preset
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.on_twin.recorded import recorded
from jepa.experiments.pages.tables import report_table
from jepa.experiments.results.store import write_json
from jepa.runs.shipped import shipped_checkpoint
from twin.console import progress_bar
from twin.errors import UserError
from twin.recording import new_directory, verify_dataset
from twin.simulator import MODALITIES

__all__ = ["BASELINES", "EPISODES", "SCENARIO", "run"]

SCENARIO, EPISODES, SEED = "street_canyon", 24, 0
SHOWN, SHOWN_EPISODES, SHIPPED = "deepsense32", 8, "twin64"
"""The dashboard opens the first dataset by name, which has to be this one."""
PRESETS = ("small", "best")
"""Those that read power and position alone, as the drives of `SCENARIO` hold nothing else."""
BACKBONES = ("pretrained", "random", "zeroed")
"""The model, and its controls: the same heads on a backbone with random weights, and on none."""
BASELINES = (
    "hold_last",
    "constant_velocity",
    "least_squares_velocity",
    "kalman",
    "ar",
    "gru",
    "position_knn",
    "gru_power_position",
    "gru_cascade",
)
_console = Console(stderr=True)


def run(out: Path, data: Sequence[Path] = (), budget: str = "small") -> None:
    """Generate, verify, pretrain, train the heads, fit the baselines, print the table, write the predictions.

    Args:
        budget: the preset of the model, one of `PRESETS`.

    Raises:
        UserError: recordings are named (it makes its own), an unknown budget, or `out` holds something else.
    """
    if data:
        raise UserError("makes its own recordings", "jepa experiment demo", "leave out --data")
    if budget not in PRESETS:
        remedy = f"the demonstration takes a preset of the model: choose from {', '.join(PRESETS)}"
        raise UserError(f"unknown budget {budget!r}", "--budget", remedy)
    started = time.monotonic()
    recordings, runs = out / "data" / SCENARIO, out / "runs"
    config = preset(budget, [f"seed={SEED}"])
    shown = out / "data" / SHOWN
    _generate(SCENARIO, recordings, EPISODES, ("rf", "gps"))
    _generate(in_view(SHOWN, out / "scenario"), shown, SHOWN_EPISODES, MODALITIES)
    _train(runs / "jepa", recordings, config, predict=not (out / "results.json").exists())
    for name in BASELINES:
        if not (runs / name).exists():
            workflows.baseline_run(name, [recordings], runs / name, seed=SEED)
    _predict_with_shipped(runs / SHIPPED, shown)
    reports = _evaluated(runs, recordings)
    known = {SHIPPED: workflows.evaluate_run(runs / SHIPPED, [shown])}
    write_json(out / "results.json", {**reports, **known})
    _print_table(reports, f"{SCENARIO}, trained here: held-out episodes")
    _print_table(known, f"{SHOWN}, trained before on other drives: episodes")
    _console.print(f"{time.monotonic() - started:.0f} s; recordings in {out / 'data'}, runs in {runs}")


def _print_table(reports: dict[str, dict[str, Any]], title: str) -> None:
    first = next(iter(reports.values()))
    print(f"{title}: {first['sequences']}, {first['windows']} windows; mean over 0.1 to 0.5 s ahead")
    print(report_table(reports))


def _predict_with_shipped(run: Path, shown: Path) -> None:
    """Predictions of the model that comes with the project; a copy of it lies beside the other runs."""
    if not run.exists():
        with new_directory(run) as draft:
            shutil.copytree(shipped_checkpoint(SHIPPED), draft, dirs_exist_ok=True)
    if not (run / "predictions").exists():
        workflows.predict_run(run, [shown])


def _generate(scenario: str | Path, recordings: Path, episodes: int, modalities: Sequence[str]) -> None:
    """Drives of a scenario with some modalities; every byte of them is verified."""
    name = recordings.name
    recorded(scenario, recordings, episodes, seed=SEED, modalities=modalities)
    with progress_bar() as bar:
        task = bar.add_task(f"{name}: verifying", total=episodes)
        every = verify_dataset(recordings, lambda done, total: bar.update(task, completed=done, total=total))
    problems = {name: found for name, found in every.items() if found}
    if problems:
        episode, found = next(iter(problems.items()))
        raise UserError(f"{episode}: {found[0]}", recordings, "remove the directory and run again")
    _console.print(f"{name}: {episodes} episodes, every byte verified")


def _train(model: Path, recordings: Path, config: PretrainConfig, predict: bool) -> None:
    workflows.pretrain_run([recordings], model, config, resume=True)
    for backbone in BACKBONES:
        label = "heads" if backbone == "pretrained" else f"heads, {backbone} backbone"
        workflows.heads_run(model, [recordings], backbone=backbone, resume=True, label=label)
    if predict:
        workflows.predict_run(model, [recordings])


def _evaluated(runs: Path, recordings: Path) -> dict[str, dict[str, Any]]:
    reports = {}
    with progress_bar() as bar:
        task = bar.add_task("evaluating", total=len(BACKBONES) + len(BASELINES))
        for backbone in BACKBONES:
            name = "jepa" if backbone == "pretrained" else f"jepa, backbone {backbone}"
            reports[name] = workflows.evaluate_run(runs / "jepa", [recordings], backbone=backbone)
            bar.advance(task)
        for name in BASELINES:
            reports[name] = workflows.evaluate_run(runs / name, [recordings])
            bar.advance(task)
    return reports
