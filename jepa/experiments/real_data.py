"""Real drives: JEPA with a frozen backbone, its controls and every baseline, on imported DeepSense 6G scenarios.

Each row is one model on one scenario, split, fold and seed; a stopped run goes on where it was. The backbone is
pretrained on the twin's `drive_by`, its heads are trained there first and then adapted to the real site. The controls
are the same heads on the same backbone with random weights and with its output zeroed, and the fair rival is
`gru_cascade` pretrained on the same twin.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jepa import workflows
from jepa.baselines import BASELINES, InterpolationCeiling
from jepa.baselines.base import TorchState
from jepa.baselines.gru_cascade import PLAN as CASCADE_PLAN
from jepa.baselines.gru_cascade import GruCascade
from jepa.checkpoint import load_tensors, save_tensors
from jepa.config import preset
from jepa.evaluate import measures_of
from jepa.experiments.table import RowStore, markdown_table, write_json
from jepa.frames import FrameStore
from jepa.metrics import BOOTSTRAP_DRAWS
from jepa.predict import Output
from jepa.predictor import JepaPredictor
from jepa.samples import Samples
from jepa.splits import FOLDS, Split, make_split
from twin.console import progress_bar
from twin.errors import UserError
from twin.simulator import generate_dataset

__all__ = ["BUDGETS", "Budget", "run"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table."""

    width: int
    twin_episodes: int
    pretrain_epochs: int
    paper_epochs: int
    head_epochs: int
    seeds: int
    folds: tuple[int, ...]
    fractions: tuple[float, ...] = (0.1, 1.0)


BUDGETS = {
    "quick": Budget(64, 150, 2, 2, 4, 1, ()),
    "default": Budget(64, 600, 12, 20, 20, 1, (0, 2, 4)),
    "full": Budget(128, 1200, 100, 100, 30, 3, tuple(range(FOLDS))),
}
"""`quick` shows that everything runs, `default` is planned for three hours on two cores (not measured), `full` for
a GPU."""

BACKBONES = ("pretrained", "random", "zeroed")
RIVALS = ("gru_power_position", "gru_cascade")
METRICS = (("localization", "ade_m"), ("beam", "top1"), ("beam", "top3"), ("beam", "l1_rsrp_db"), ("rssi", "mae_db"))
WITHOUT_SEED = ("hold_last", "constant_velocity", "least_squares_velocity", "position_knn")
"""Baselines that draw nothing: one seed tells all."""
TWIN = "drive_by"
_console = Console(stderr=True)


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, then print the tables and write them to `out`.

    Raises:
        UserError: no recordings are named, or an unknown budget, or rows of another budget lie in `out`.
    """
    if not data:
        raise UserError("no recordings", "--data", "name the imported scenarios, one --data each")
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    spent = BUDGETS[budget]
    rows = RowStore(out / "rows", {"name": budget, **_as_json(spent)})
    makers = dict(_rows(out, list(data), spent))
    with progress_bar() as bar:
        task = bar.add_task("rows", total=len(makers))
        for key, compute in makers.items():
            if not rows.has(key):
                _console.print(key)
            rows.row(key, compute)
            bar.advance(task)
    found = {key: rows.row(key, compute) for key, compute in makers.items()}
    page = _page(found, [path.name for path in data], budget, spent)
    (out / "real_data.md").write_text(page)
    write_json(out / "real_data.json", found)
    print(page)


def _as_json(budget: Budget) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(budget).items()}


Row = Callable[[], dict[str, Any]]


def _rows(out: Path, data: list[Path], budget: Budget) -> Iterator[tuple[str, Row]]:
    """Key and computation of every row, the cheap ones first."""
    places = [("blocked", 0, seed) for seed in range(budget.seeds)] + [("folds", fold, 0) for fold in budget.folds]
    for path in data:
        for split, fold, seed in places:
            site = _Site(path, split, fold, seed)
            for name in BASELINES:
                if seed == 0 or name not in WITHOUT_SEED:
                    yield site.key(name), lambda site=site, name=name: _baseline_row(site, name)  # type: ignore[misc]
            if seed == 0:
                yield site.key("interpolation_ceiling"), lambda site=site: _ceiling_row(site)  # type: ignore[misc]
    for path in data:
        for split, fold, seed in places:
            site = _Site(path, split, fold, seed)
            yield site.key("jepa_paper"), lambda site=site: _paper_row(out, site, budget)  # type: ignore[misc]
            yield site.key("twin_jepa_0"), lambda site=site: _adapted_row(out, site, budget, "pretrained", 0.0)  # type: ignore[misc]
            for share in budget.fractions:
                for kind in BACKBONES:
                    yield (
                        site.key(f"twin_jepa_{kind}_{share:g}"),
                        lambda site=site, kind=kind, share=share: _adapted_row(out, site, budget, kind, share),  # type: ignore[misc]
                    )
                yield (
                    site.key(f"twin_gru_cascade_{share:g}"),
                    lambda site=site, share=share: _rival_row(out, site, budget, share),  # type: ignore[misc]
                )


@dataclass(frozen=True)
class _Site:
    """A scenario under one split, fold and seed."""

    path: Path
    split: str
    fold: int
    seed: int

    def key(self, model: str) -> str:
        return f"{self.path.name}/{self.split}-{self.fold}/seed-{self.seed}/{model}"

    def load(self, share: float = 1.0) -> tuple[FrameStore, Split]:
        store = FrameStore.load([self.path])
        return store, make_split(store, self.split, self.fold, self.seed).with_share(share, self.seed)


def _summary(output: Output, samples: Samples) -> dict[str, Any]:
    """Windows of every sequence and sums of every metric over them: enough for means, intervals and differences."""
    measures = measures_of(output, samples)
    _, group = np.unique(samples.episode.cpu().numpy(), return_inverse=True)
    found: dict[str, Any] = {"windows": np.bincount(group).tolist()}
    for task, name in METRICS:
        if task in measures:
            found[name] = np.bincount(group, weights=measures[task][name].values.mean(1)).tolist()
    return found


def _baseline_row(site: _Site, name: str) -> dict[str, Any]:
    store, split = site.load()
    samples = {part: Samples.gather(store, windows) for part, windows in split.parts.items()}
    baseline = BASELINES[name]()
    baseline.fit(samples["train"], samples["val"], site.seed)
    return _summary(baseline.predict(samples["test"].history), samples["test"])


def _ceiling_row(site: _Site) -> dict[str, Any]:
    store, split = site.load()
    ceiling = InterpolationCeiling()
    ceiling.fit(store, split.parts["train"], split.parts["val"])
    return _summary(ceiling.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _predicted(run: Path, site: _Site, backbone: str = "pretrained") -> dict[str, Any]:
    store, split = site.load()
    predictor = JepaPredictor.load(run, workflows.pick_device("auto"), backbone=backbone)
    return _summary(predictor.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _paper_row(out: Path, site: _Site, budget: Budget) -> dict[str, Any]:
    """The recipe as published, on the scenario alone."""
    run = out / "runs" / site.key("jepa_paper")
    settings = [f"seed={site.seed}", f"model.width={budget.width}", f"epochs={budget.paper_epochs}"]
    config = preset("paper", [*settings, f"heads.epochs={budget.head_epochs}"])
    workflows.pretrain_run([site.path], run, config, split=site.split, fold=site.fold, resume=True, label="")
    workflows.heads_run(run, [site.path], resume=True, label="")
    return _predicted(run, site)


def _twin_data(out: Path, budget: Budget) -> Path:
    """The wide twin that everything pretrained here has seen."""
    path = out / "twin" / TWIN
    generate_dataset(TWIN, path, episodes=budget.twin_episodes, seed=0, workers=2)
    return path


def _twin_run(out: Path, budget: Budget, seed: int, backbone: str) -> Path:
    """The backbone pretrained on the twin, with heads trained there on it or on one of its controls."""
    run, twin = out / "runs" / f"twin-seed-{seed}", _twin_data(out, budget)
    settings = [f"seed={seed}", f"model.width={budget.width}", f"epochs={budget.pretrain_epochs}"]
    config = preset("best", [*settings, f"heads.epochs={max(1, budget.head_epochs // 3)}"])
    workflows.pretrain_run([twin], run, config, resume=True)
    workflows.heads_run(run, [twin], backbone=backbone, resume=True, label=f"heads on the {backbone} backbone")
    return run


def _adapted_row(out: Path, site: _Site, budget: Budget, backbone: str, share: float) -> dict[str, Any]:
    """Twin-trained heads on a frozen backbone, trained further on a share of the real training sequences; 0 is none."""
    parent = _twin_run(out, budget, site.seed, backbone)
    if share == 0:
        return _unadapted(parent, site)
    run = out / "runs" / site.key(f"twin_jepa_{backbone}_{share:g}")
    if not run.exists():
        workflows.adapt_run(
            parent,
            [site.path],
            run,
            fraction=share,
            settings=[f"heads.epochs={budget.head_epochs}"],
            split=site.split,
            fold=site.fold,
            seed=site.seed,
            backbone=backbone,
            label="",
        )
    return _predicted(run, site, backbone)


def _unadapted(run: Path, site: _Site) -> dict[str, Any]:
    return _predicted(run, site)


def _rival_row(out: Path, site: _Site, budget: Budget, share: float) -> dict[str, Any]:
    """`gru_cascade` pretrained on the same twin, then trained on the share of real sequences."""
    start = _twin_rival(out, budget, site.seed)
    store, split = site.load(share)
    samples = {part: Samples.gather(store, found) for part, found in split.parts.items()}
    rival = GruCascade(start=start, plan=replace(CASCADE_PLAN, epochs=budget.head_epochs))
    rival.fit(samples["train"], samples["val"], site.seed)
    return _summary(rival.predict(samples["test"].history), samples["test"])


def _twin_rival(out: Path, budget: Budget, seed: int) -> TorchState:
    """Weights of `gru_cascade` fitted on the twin, computed once a seed."""
    place = out / "runs" / f"twin-gru_cascade-seed-{seed}"
    if not place.exists():
        store = FrameStore.load([_twin_data(out, budget)])
        parts = make_split(store, "blocked").parts
        rival = GruCascade(plan=replace(CASCADE_PLAN, epochs=max(1, budget.head_epochs // 3)))
        rival.fit(Samples.gather(store, parts["train"]), Samples.gather(store, parts["val"]), seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(place, rival.model.state_dict(), {"seed": seed})
    return load_tensors(place)[0]


def _page(rows: dict[str, dict[str, Any]], scenarios: list[str], budget: str, spent: Budget) -> str:
    """One table a protocol: models by scenarios, mean [interval], with the paired difference to the rivals."""
    lines = [f"Budget `{budget}`: {', '.join(f'{key} {value}' for key, value in _as_json(spent).items())}.", ""]
    for protocol in ("blocked", "folds"):
        chosen = {key: row for key, row in rows.items() if f"/{protocol}-" in key}
        if chosen:
            lines += [f"### {protocol}: power lost, dB (top-1)", "", _table(chosen, scenarios), ""]
    return "\n".join(lines)


def _table(rows: dict[str, dict[str, Any]], scenarios: list[str]) -> str:
    models = list(dict.fromkeys(key.rsplit("/", 1)[1] for key in rows))
    body = []
    for model in models:
        cells = [model]
        for scenario in scenarios:
            cells.append(_cell(rows, scenario, model))
        body.append(cells)
    return markdown_table(["model", *scenarios], body)


def _cell(rows: dict[str, dict[str, Any]], scenario: str, model: str) -> str:
    found = {key: row for key, row in rows.items() if key.startswith(f"{scenario}/") and key.endswith(f"/{model}")}
    if not found or any("l1_rsrp_db" not in row for row in found.values()):
        return ""
    lost, count = _pooled(list(found.values()), "l1_rsrp_db")
    hits, _ = _pooled(list(found.values()), "top1")
    low, high = _interval(lost, count)
    cell = f"{lost.sum() / count.sum():.3f} [{low:.3f}, {high:.3f}] ({hits.sum() / count.sum():.3f})"
    for rival in RIVALS:
        if model != rival and model.startswith(("twin", "jepa")):
            gap = _paired(rows, found, model, rival)
            if gap:
                cell += f"; {gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}] to {rival}"
    return cell


def _pooled(rows: list[dict[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Sums and windows of all sequences of some rows."""
    return np.concatenate([row[metric] for row in rows]), np.concatenate([row["windows"] for row in rows])


def _interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(17).integers(0, len(sums), (BOOTSTRAP_DRAWS, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def _paired(
    rows: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]], model: str, rival: str
) -> tuple[float, float, float] | None:
    """Mean difference to a rival on the same sequences, with its interval."""
    others = [rows.get(key.removesuffix(model) + rival) for key in found]
    if any(other is None for other in others):
        return None
    mine, counts = _pooled(list(found.values()), "l1_rsrp_db")
    theirs, _ = _pooled([other for other in others if other], "l1_rsrp_db")
    low, high = _interval(mine - theirs, counts)
    return float((mine - theirs).sum() / counts.sum()), low, high
