"""The demonstration: a dataset, a backbone, three heads, the baselines, one table. What is there is reused."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jepa import workflows
from jepa.config import PretrainConfig, preset
from jepa.experiments.table import markdown_table, write_json
from twin.console import progress_bar
from twin.errors import UserError
from twin.generation import generate_dataset
from twin.recording import verify_dataset

__all__ = ["BASELINES", "EPISODES", "SCENARIO", "run"]

SCENARIO, EPISODES, SEED = "street_canyon", 24, 0
BACKBONES = ("pretrained", "random", "zeroed")
"""The model, and its controls: the same heads on a backbone with random weights, and on none."""
BASELINES = (
    "hold_last",
    "constant_velocity",
    "least_squares_velocity",
    "ar",
    "gru",
    "position_knn",
    "gru_power_position",
    "gru_cascade",
)
COLUMNS = (
    ("ADE m", "localization", "ade_m"),
    ("FDE m", "localization", "fde_m"),
    ("top-1", "beam", "top1"),
    ("top-3", "beam", "top3"),
    ("power lost dB", "beam", "l1_rsrp_db"),
    ("RSSI MAE dB", "rssi", "mae_db"),
)
_console = Console(stderr=True)


def run(out: Path, data: Sequence[Path] = (), budget: str = "small") -> None:
    """Generate, verify, pretrain, train the heads, fit the baselines, print the table, write the predictions.

    Args:
        budget: the preset of the model.

    Raises:
        UserError: recordings are named (the demonstration makes its own), or `out` holds something else.
    """
    if data:
        raise UserError("makes its own recordings", "jepa experiment demo", "leave out --data")
    started = time.monotonic()
    recordings, runs = out / "data" / SCENARIO, out / "runs"
    config = preset(budget, [f"seed={SEED}"])
    _generate(recordings)
    _train(runs / "jepa", recordings, config, predict=not (out / "results.json").exists())
    for name in BASELINES:
        if not (runs / name).exists():
            workflows.baseline_run(name, [recordings], runs / name, seed=SEED)
    reports = _evaluated(runs, recordings)
    write_json(out / "results.json", reports)
    first = reports["jepa"]
    print(f"held-out episodes: {first['sequences']}, {first['windows']} windows; mean over 0.1 to 0.5 s ahead")
    print(markdown_table(["model", *(title for title, _, _ in COLUMNS)], map(_row, reports.items())))
    _console.print(f"{time.monotonic() - started:.0f} s; recordings in {recordings}, runs in {runs}")


def _generate(recordings: Path) -> None:
    with progress_bar() as bar:
        task = bar.add_task(f"{SCENARIO}: generating", total=EPISODES)
        generate_dataset(
            SCENARIO,
            recordings,
            episodes=EPISODES,
            seed=SEED,
            modalities=("rf", "gps"),
            workers=2,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        task = bar.add_task(f"{SCENARIO}: verifying", total=EPISODES)
        every = verify_dataset(recordings, lambda done, total: bar.update(task, completed=done, total=total))
    problems = {name: found for name, found in every.items() if found}
    if problems:
        name, found = next(iter(problems.items()))
        raise UserError(f"{name}: {found[0]}", recordings, "remove the directory and run again")
    _console.print(f"{EPISODES} episodes, every byte verified")


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


def _row(report: tuple[str, dict[str, Any]]) -> list[str]:
    name, tasks = report
    return [name, *(_cell(tasks.get(task, {}).get(metric)) for _, task, metric in COLUMNS)]


def _cell(metric: dict[str, Any] | None) -> str:
    if metric is None:
        return ""
    if metric["ci95"] is None:
        return f"{metric['value']:.3f}"
    low, high = metric["ci95"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"
