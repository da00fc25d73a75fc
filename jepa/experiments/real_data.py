"""Real drives: JEPA with a frozen backbone, its controls and every baseline, on imported DeepSense 6G scenarios.

Each row is one model on one scenario, split, fold and seed; a stopped run goes on where it was. The backbone is
pretrained on the twin's `drive_by`, its heads are trained there first and then adapted to the real site. The controls
are the same heads on the same backbone with random weights and with its output zeroed, and the fair rival is
`gru_cascade` pretrained on the same twin. Rows are computed side by side, one thread each; each remembers its seconds.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from jepa.inputs import Normalisers
from jepa.metrics import BOOTSTRAP_DRAWS
from jepa.predict import Output
from jepa.predictor import JepaPredictor
from jepa.samples import Samples
from jepa.splits import FOLDS, Split, make_split
from twin.console import progress_bar
from twin.errors import UserError
from twin.generation import generate_dataset

__all__ = ["BUDGETS", "Budget", "run"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table."""

    width: int
    twin_episodes: int
    pretrain_epochs: int
    twin_head_epochs: int
    paper_epochs: int
    head_epochs: int
    seeds: int
    folds: tuple[int, ...]
    fold_seeds: int = 1
    fractions: tuple[float, ...] = (0.1, 1.0)


BUDGETS = {
    "quick": Budget(64, 150, 2, 1, 2, 4, 1, ()),
    "default": Budget(64, 2000, 4, 1, 6, 12, 3, tuple(range(FOLDS))),
    "full": Budget(128, 4000, 100, 4, 100, 30, 3, tuple(range(FOLDS)), fold_seeds=3),
}
"""`quick` shows that everything runs, `default` ends within three hours on two cores, `full` is for a GPU."""

BACKBONES = ("pretrained", "random", "zeroed")
RIVALS = ("gru_power_position", "gru_cascade", "twin_jepa_random_1", "twin_jepa_zeroed_1", "twin_gru_cascade_1")
METRICS = (("localization", "ade_m"), ("beam", "top1"), ("beam", "top3"), ("beam", "l1_rsrp_db"), ("rssi", "mae_db"))
WITHOUT_SEED = ("hold_last", "constant_velocity", "least_squares_velocity", "position_knn")
"""Baselines that draw nothing: one seed tells all."""
TWIN = "drive_by"
TWIN_BATCH = 128
FULL_SHARE, LARGEST_REPEAT = 0.3, 3.0
"""Below this share of the real sequences they are passed through more often, up to so many times."""
MOST_WORKERS = 8

Row = Callable[[], dict[str, Any]]


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
    if len({path.name for path in data}) < len(data):
        raise UserError("two datasets have one name", "--data", "rows go by the names of the directories: rename one")
    hashes = {}
    for path in data:
        for place in _places(path, spent):
            store, _ = place.load()  # what is wrong with the data is said before hours of work
            hashes[path.name] = store.datasets[0].hash
    rows = RowStore(out / "rows", {"name": budget, **_as_json(spent), "data": hashes})
    workers = 1 if torch.cuda.is_available() else min(MOST_WORKERS, os.cpu_count() or 1)
    rows.row("twin/data", partial(_twin_data, out, spent, workers))
    stages = [
        [*_backbones(out, spent), *_alone(out, list(data), spent)],
        list(_twin_heads(out, spent)),
        list(_adapted(out, list(data), spent)),
    ]
    with progress_bar() as bar:
        task = bar.add_task("rows", total=sum(map(len, stages)))
        for stage in stages:
            for _ in _computed(rows, stage, workers):
                bar.advance(task)
    found = {key: rows.row(key, job) for stage in stages for key, job in stage}
    page = _page({"twin/data": rows.row("twin/data", dict), **found}, [path.name for path in data], budget, spent)
    (out / "real_data.md").write_text(page)
    write_json(out / "real_data.json", found)
    print(page)


def _as_json(budget: Budget) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(budget).items()}


def _computed(rows: RowStore, jobs: Iterable[tuple[str, Row]], workers: int) -> Iterator[str]:
    """The keys of some rows, as they are there."""
    missing = []
    for key, job in jobs:
        if rows.has(key):
            yield key
        else:
            missing.append((key, job))
    if workers == 1:
        for key, job in missing:
            yield _compute(rows, key, job)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_single_thread) as pool:
        try:
            for future in as_completed([pool.submit(_compute, rows, key, job) for key, job in missing]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _single_thread() -> None:
    torch.set_num_threads(1)


def _compute(rows: RowStore, key: str, job: Row) -> str:
    rows.row(key, partial(_timed, job))
    return key


def _timed(job: Row) -> dict[str, Any]:
    start = time.monotonic()
    found = job()
    return {**found, "seconds": time.monotonic() - start}


@dataclass(frozen=True)
class _Place:
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


def _places(path: Path, budget: Budget) -> list[_Place]:
    blocked = [_Place(path, "blocked", 0, seed) for seed in range(budget.seeds)]
    return blocked + [_Place(path, "folds", fold, seed) for fold in budget.folds for seed in range(budget.fold_seeds)]


def _seed_by_seed(data: list[Path], budget: Budget) -> list[_Place]:
    """All places, every scenario's first before any second: a run that is stopped early has a whole table of less."""
    return [place for places in zip(*(_places(path, budget) for path in data), strict=True) for place in places]


def _backbones(out: Path, budget: Budget) -> Iterator[tuple[str, Row]]:
    for seed in range(budget.seeds):
        yield f"twin/seed-{seed}/pretraining", partial(_pretrained_on_twin, out, budget, seed)


def _alone(out: Path, data: list[Path], budget: Budget) -> Iterator[tuple[str, Row]]:
    """Rows that need nothing of the twin: the recipe as published, and the baselines."""
    for place in _seed_by_seed(data, budget):
        for name in BASELINES:
            if place.seed == 0 or name not in WITHOUT_SEED:
                yield place.key(name), partial(_baseline_row, place, name)
        if place.seed == 0:
            yield place.key("interpolation_ceiling"), partial(_ceiling_row, place)
        yield place.key("jepa_paper"), partial(_paper_row, out, place, budget)


def _twin_heads(out: Path, budget: Budget) -> Iterator[tuple[str, Row]]:
    for seed in range(budget.seeds):
        for kind in BACKBONES:
            yield f"twin/seed-{seed}/heads-{kind}", partial(_heads_on_twin, out, seed, kind)
        yield f"twin/seed-{seed}/gru_cascade", partial(_rival_on_twin, out, budget, seed)


def _adapted(out: Path, data: list[Path], budget: Budget) -> Iterator[tuple[str, Row]]:
    """Everything that was trained on the twin: as it is (0), and adapted on shares of the real training sequences."""
    for place in _seed_by_seed(data, budget):
        for share in (0.0, *budget.fractions):
            for kind in BACKBONES:
                job = partial(_adapted_row, out, place, budget, kind, share)
                yield place.key(f"twin_jepa_{kind}_{share:g}"), job
            yield place.key(f"twin_gru_cascade_{share:g}"), partial(_rival_row, out, place, budget, share)


def _summary(output: Output, samples: Samples) -> dict[str, Any]:
    """Windows of every sequence and sums of every metric over them: enough for means, intervals and differences."""
    measures = measures_of(output, samples)
    _, group = np.unique(samples.episode.cpu().numpy(), return_inverse=True)
    found: dict[str, Any] = {"windows": np.bincount(group).tolist()}
    for task, name in METRICS:
        if task in measures:
            found[name] = np.bincount(group, weights=measures[task][name].values.mean(1)).tolist()
    return found


def _baseline_row(place: _Place, name: str) -> dict[str, Any]:
    store, split = place.load()
    samples = {part: Samples.gather(store, windows) for part, windows in split.parts.items()}
    baseline = BASELINES[name]()
    baseline.fit(samples["train"], samples["val"], place.seed)
    return _summary(baseline.predict(samples["test"].history), samples["test"])


def _ceiling_row(place: _Place) -> dict[str, Any]:
    store, split = place.load()
    ceiling = InterpolationCeiling()
    ceiling.fit(store, split.parts["train"], split.parts["val"])
    return _summary(ceiling.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _predicted(predictor: JepaPredictor, place: _Place) -> dict[str, Any]:
    store, split = place.load()
    return _summary(predictor.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _loaded(run: Path, backbone: str = "pretrained") -> JepaPredictor:
    return JepaPredictor.load(run, workflows.pick_device("auto"), backbone=backbone)


def _paper_row(out: Path, place: _Place, budget: Budget) -> dict[str, Any]:
    """The published recipe on the scenario alone, at the budget's width and epochs."""
    run = out / "runs" / place.key("jepa_paper")
    settings = [f"seed={place.seed}", f"model.width={budget.width}", f"epochs={budget.paper_epochs}"]
    config = preset("paper", [*settings, f"heads.epochs={budget.paper_epochs}"])
    workflows.pretrain_run([place.path], run, config, split=place.split, fold=place.fold, resume=True, label="")
    workflows.heads_run(run, [place.path], resume=True, label="")
    return _predicted(_loaded(run), place)


def _twin_path(out: Path) -> Path:
    """The wide twin that everything pretrained here has seen."""
    return out / "twin" / TWIN


def _twin_data(out: Path, budget: Budget, workers: int) -> dict[str, Any]:
    start = time.monotonic()
    frames = generate_dataset(
        TWIN, _twin_path(out), episodes=budget.twin_episodes, seed=0, modalities=("rf", "gps"), workers=workers
    )
    return {"frames": frames, "seconds": (time.monotonic() - start) * workers}


def _twin_run(out: Path, seed: int) -> Path:
    return out / "runs" / f"twin-seed-{seed}"


def _pretrained_on_twin(out: Path, budget: Budget, seed: int) -> dict[str, Any]:
    settings = [f"seed={seed}", f"model.width={budget.width}", f"epochs={budget.pretrain_epochs}"]
    config = preset("best", [*settings, f"heads.epochs={budget.twin_head_epochs}"])
    workflows.pretrain_run([_twin_path(out)], _twin_run(out, seed), config, resume=True, label="")
    return {}


def _heads_on_twin(out: Path, seed: int, backbone: str) -> dict[str, Any]:
    run = _twin_run(out, seed)
    workflows.heads_run(run, [_twin_path(out)], backbone=backbone, resume=True, label="")
    return {}


def _epochs(budget: Budget, share: float) -> int:
    """Epochs on a share of the real sequences: more passes where there is less to pass through."""
    if share == 0:
        return 0
    return round(budget.head_epochs * max(1.0, min(LARGEST_REPEAT, FULL_SHARE / share)))


def _adapted_row(out: Path, place: _Place, budget: Budget, backbone: str, share: float) -> dict[str, Any]:
    """Twin-trained heads on a frozen backbone, trained further on a share of the real training sequences.

    With a share of 0 they are used as they are: of the real drives only the statistics of the inputs are known.
    """
    parent = _twin_run(out, place.seed)
    if share == 0:
        store, split = place.load()
        predictor = _loaded(parent, backbone)
        normalisers = Normalisers.fit(store, split.parts["train"], predictor.config.inputs)
        return _predicted(replace(predictor, normalisers=normalisers), place)
    run = out / "runs" / place.key(f"twin_jepa_{backbone}_{share:g}")
    if not run.exists():
        workflows.adapt_run(
            parent,
            [place.path],
            run,
            fraction=share,
            settings=[f"heads.epochs={_epochs(budget, share)}", "heads.batch_size=64"],
            split=place.split,
            fold=place.fold,
            seed=place.seed,
            backbone=backbone,
            label="",
        )
    return _predicted(_loaded(run, backbone), place)


def _rival_place(out: Path, seed: int) -> Path:
    return out / "runs" / f"twin-gru_cascade-seed-{seed}"


def _rival_on_twin(out: Path, budget: Budget, seed: int) -> dict[str, Any]:
    """Weights of `gru_cascade` fitted on the twin."""
    store = FrameStore.load([_twin_path(out)])
    parts = make_split(store, "blocked").parts
    plan = replace(CASCADE_PLAN, epochs=budget.twin_head_epochs, batch_size=TWIN_BATCH)
    rival = GruCascade(plan=plan, inputs=preset("best").inputs)
    rival.fit(Samples.gather(store, parts["train"]), Samples.gather(store, parts["val"]), seed)
    place = _rival_place(out, seed)
    place.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(place, rival.model.state_dict(), {"seed": seed})
    return {}


def _rival_row(out: Path, place: _Place, budget: Budget, share: float) -> dict[str, Any]:
    """`gru_cascade` pretrained on the same twin, then trained on the share of real sequences (0: not at all)."""
    start: TorchState = load_tensors(_rival_place(out, place.seed))[0]
    store, split = place.load(share or 1.0)
    samples = {part: Samples.gather(store, found) for part, found in split.parts.items()}
    plan = replace(CASCADE_PLAN, epochs=_epochs(budget, share))
    rival = GruCascade(start, plan, preset("best").inputs)
    rival.fit(samples["train"], samples["val"], place.seed)
    return _summary(rival.predict(samples["test"].history), samples["test"])


def _page(rows: dict[str, dict[str, Any]], scenarios: list[str], budget: str, spent: Budget) -> str:
    """For each protocol the power lost, what pairs of models differ by, and the other two tasks."""
    lines = [f"Budget `{budget}`: {', '.join(f'{key} {value}' for key, value in _as_json(spent).items())}.", ""]
    lines += [_cost(rows), ""]
    for protocol in ("blocked", "folds"):
        table = _Table({key: row for key, row in rows.items() if f"/{protocol}-" in key}, scenarios)
        if table.rows:
            lines += [f"### {protocol}: power lost, dB [95 % interval] (top-1)", "", table.losses(), ""]
            lines += [f"### {protocol}: difference in power lost, dB, paired by sequence", "", table.differences(), ""]
            lines += [f"### {protocol}: displacement error, m / RSSI error, dB", "", table.other_tasks(), ""]
    return "\n".join(lines)


def _cost(rows: dict[str, dict[str, Any]]) -> str:
    """Core time by kind of row."""
    kinds = {"data": "twin data", "pretraining": "pretraining", "jepa_paper": "the paper's recipe"}
    sums: dict[str, float] = {}
    for key, row in rows.items():
        model = key.rsplit("/", 1)[1]
        kind = kinds.get(model, "on the twin" if key.startswith("twin/") else "baselines")
        kind = "adapting" if model.startswith("twin_") else kind
        sums[kind] = sums.get(kind, 0.0) + row["seconds"]
    parts = ", ".join(f"{kind} {seconds / 60:.0f}" for kind, seconds in sums.items())
    return f"Cost: {sum(sums.values()) / 60:.0f} minutes of one core ({parts})."


PAIRS = tuple(("twin_jepa_pretrained_1", rival) for rival in RIVALS) + tuple(
    (f"twin_jepa_pretrained_{share}", f"twin_{rival}_{share}")
    for share in ("0.1", "0")
    for rival in ("jepa_random", "jepa_zeroed", "gru_cascade")
)


@dataclass(frozen=True)
class _Table:
    """The rows of one protocol. Of a sequence the seeds are averaged; the interval is over sequences."""

    rows: dict[str, dict[str, Any]]
    scenarios: list[str]

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(key.rsplit("/", 1)[1] for key in self.rows))

    def _sums(self, scenario: str, model: str, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Sums of a metric and windows by sequence, mean over seeds, folds one after another."""
        folds: dict[str, list[dict[str, Any]]] = {}
        for key, row in self.rows.items():
            if key.startswith(f"{scenario}/") and key.endswith(f"/{model}") and metric in row:
                folds.setdefault(key.split("/")[1], []).append(row)
        if not folds:
            return None
        sums = [np.mean([row[metric] for row in seeds], 0) for seeds in folds.values()]
        return np.concatenate(sums), np.concatenate([seeds[0]["windows"] for seeds in folds.values()])

    def _mean(self, scenario: str, model: str, metric: str) -> str:
        found = self._sums(scenario, model, metric)
        return f"{found[0].sum() / found[1].sum():.3f}" if found else ""

    def losses(self) -> str:
        def cell(scenario: str, model: str) -> str:
            found = self._sums(scenario, model, "l1_rsrp_db")
            if not found:
                return ""
            mean, low, high = _interval(*found)
            return f"{mean:.3f} [{low:.3f}, {high:.3f}] ({self._mean(scenario, model, 'top1')})"

        models = [model for model in self.models if any(cell(scenario, model) for scenario in self.scenarios)]
        body = [[model, *(cell(scenario, model) for scenario in self.scenarios)] for model in models]
        return markdown_table(["model", *self.scenarios], body)

    def differences(self) -> str:
        """Negative: the first loses less power. A star: the interval excludes zero."""

        def cell(scenario: str, model: str, rival: str) -> str:
            mine, theirs = (self._sums(scenario, name, "l1_rsrp_db") for name in (model, rival))
            if not mine or not theirs:
                return ""
            mean, low, high = _interval(mine[0] - theirs[0], mine[1])
            return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]{'*' if low * high > 0 else ''}"

        body = [[f"{m} - {r}", *(cell(scenario, m, r) for scenario in self.scenarios)] for m, r in PAIRS]
        return markdown_table(["pair", *self.scenarios], [row for row in body if any(row[1:])])

    def other_tasks(self) -> str:
        def cell(scenario: str, model: str) -> str:
            parts = [self._mean(scenario, model, metric) for metric in ("ade_m", "mae_db")]
            return " / ".join(part or "-" for part in parts)

        body = [[model, *(cell(scenario, model) for scenario in self.scenarios)] for model in self.models]
        return markdown_table(["model", *self.scenarios], body)


def _interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """Mean over windows, and its 95 % interval by drawing sequences."""
    drawn = np.random.default_rng(17).integers(0, len(sums), (BOOTSTRAP_DRAWS, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(sums.sum() / counts.sum()), float(low), float(high)
