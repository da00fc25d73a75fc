"""Rows on the twin's `deepsense32`: models trained under one budget and one split, judged on the same windows.

Experiments that are given one directory share its recordings, its runs and its rows: what one has trained, the next one
reads.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa import workflows
from jepa.config import PretrainConfig, load_config, preset
from jepa.data.frames import TARGETS, FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import Split, make_split
from jepa.data.windows import Windows
from jepa.evaluation.evaluate import TASKS
from jepa.evaluation.predictions import Output
from jepa.experiments.on_twin.budgets import BUDGETS
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.on_twin.recorded import recorded
from jepa.experiments.results.rows import Rows, ranks, summary
from jepa.experiments.results.side_by_side import as_json
from jepa.experiments.results.store import RowStore, check_stamp, recipe
from jepa.inference.predictor import JepaPredictor
from twin.errors import UserError
from twin.recording import whole_episodes

__all__ = ["HEADS_AS_PUBLISHED", "HeadSetup", "Place", "Study"]

SCENARIO, DATA_SEED = "deepsense32", 0
ORIGINS = {"twin": "simulated", "deepsense": "measured"}
"""What a caption calls the sources of recordings."""
BASE_RUN = "jepa"
"""The run of the model that varies nothing."""


@dataclass(frozen=True)
class HeadSetup:
    """How heads stand on a backbone.

    Attributes:
        backbone: its weights, `pretrained` or `random`.
        missing: modalities whose history it does not see.
        cascade: whether the beam and the RSSI head read the predicted trajectory.
    """

    backbone: str = "pretrained"
    missing: tuple[str, ...] = ()
    cascade: bool = True


HEADS_AS_PUBLISHED = HeadSetup()


@dataclass(frozen=True)
class Place:
    """What part of the recordings is the test, and the seed."""

    split: str = "blocked"
    fold: int = 0
    seed: int = 0

    @property
    def key(self) -> str:
        """As in the paths of rows and runs."""
        return f"{self.split}-{self.fold}/seed-{self.seed}"


@dataclass
class Study:
    """Recordings, rows and runs of a directory under one budget."""

    out: Path
    data: Sequence[Path]
    name: str

    def __post_init__(self) -> None:
        if self.name not in BUDGETS:
            raise UserError(f"unknown budget {self.name!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
        if len(self.data) > 1:
            raise UserError("several datasets are named", "--data", "name one, or none to have it made")
        self.budget = BUDGETS[self.name]
        self.device = workflows.pick_device("auto")
        self._store: tuple[object, FrameStore] | None = None
        self._trained: dict[Path, PretrainConfig] = {}
        self._took: dict[str, float] = {}

    @cached_property
    def recordings(self) -> Path:
        """The dataset: the one that is named, or one that is made here.

        Raises:
            UserError: the directory holds rows of another budget, whose recordings would be changed.
        """
        if self.data:
            return Path(self.data[0])
        check_stamp(self.out / "rows", self._spent)
        place, scenario = self.out / "data" / SCENARIO, in_view(SCENARIO, self.out / "scenario")
        recorded(scenario, place, self.budget.episodes, frames=self.budget.frames, seed=DATA_SEED)
        return place

    @cached_property
    def rows(self) -> RowStore:
        """The rows; a directory holds those of one budget and one dataset."""
        return RowStore(self.out / "rows", {**self._spent, "data": self.radio.datasets[0].hash})

    @property
    def _spent(self) -> dict[str, Any]:
        """What rows have in common but for their recordings."""
        return {"name": self.name, **as_json(self.budget), "recipe": recipe(preset("paper"), preset("best"))}

    @cached_property
    def radio(self) -> FrameStore:
        """Positions and powers of all frames."""
        return FrameStore.load([self.recordings])

    @property
    def places(self) -> list[Place]:
        """Splits, folds and seeds of the budget."""
        splits = [("folds", fold) for fold in self.budget.folds] or [("blocked", 0)]
        return [Place(split, fold, seed) for split, fold in splits for seed in range(self.budget.seeds)]

    def describe(self) -> str:
        """The budget in a sentence."""
        spent = {
            key: value for key, value in as_json(self.budget).items() if key != "baselines" and value not in (None, [])
        }
        parts = ", ".join(f"{key} {value}" for key, value in spent.items())
        smaller = [
            f"{name} ({', '.join(f'{option} {value:g}' for option, value in options.items())})"
            for name, options in self.budget.baselines.items()
        ]
        shrunk = f" Baselines smaller than published: {', '.join(smaller)}." if smaller else ""
        made = f"Recordings: {self.recordings.name}, device {self.device}, threads {torch.get_num_threads()}."
        return f"Budget `{self.name}`: {parts}.{shrunk} {made}{self._cost()}"

    def _cost(self) -> str:
        """The time of the rows that were asked for."""
        if not self._took:
            return ""
        longest = max(self._took, key=self._took.__getitem__)
        whole, most = (f"{seconds / 60:.1f}" for seconds in (sum(self._took.values()), self._took[longest]))
        return f" Minutes: {whole} for all rows, {most} for the longest ({longest})."

    @property
    def protocol(self) -> str:
        """How numbers were made, for a caption."""
        folds = len(self.budget.folds)
        split = f"{folds} folds" if folds else "split blocked"
        seeds = f"{self.budget.seeds} seed{'s' if self.budget.seeds > 1 else ''}"
        return f"{self.recordings.name} ({self._origin}), {split}, test part, {seeds}, budget {self.name}"

    @property
    def _origin(self) -> str:
        """Whether the recordings are simulated or measured."""
        sources = {entry.manifest.source for entry in whole_episodes(self.recordings)}
        return " and ".join(ORIGINS[source] for source in sorted(sources))

    def config(self, place: Place, settings: Sequence[str] = (), recipe: str = "paper") -> PretrainConfig:
        """A preset at the size of the budget, with settings."""
        return preset(recipe, [f"seed={place.seed}", *self.budget.settings(recipe), *settings])

    def run(self, place: Place, key: str) -> Path:
        """Where a run lies."""
        return self.out / "runs" / place.key / key

    def pretrained(self, place: Place, key: str, settings: Sequence[str] = (), recipe: str = "paper") -> Path:
        """A pretrained backbone, trained where it is not there yet; it goes on where it stopped."""
        run = self.run(place, key)
        config = self.config(place, settings, recipe)
        if self._trained.get(run) != config:
            workflows.pretrain_run(
                [self.recordings],
                run,
                config,
                split=place.split,
                fold=place.fold,
                resume=True,
                label=f"{key}: pretraining",
                store=self.store(config),
            )
            self._trained[run] = config
        return run

    def store(self, config: PretrainConfig) -> FrameStore:
        """The frames that a model reads; those of the last one are kept."""
        inputs, model = config.inputs, config.model
        reads = inputs.modalities, inputs.image_size, model.camera, model.camera_weights
        if self._store is None or self._store[0] != reads:
            self._store = None  # two would take twice the memory
            self._store = reads, workflows.load_frames([self.recordings], self.device, config, self.out)
        return self._store[1]

    def split(self, store: FrameStore, place: Place) -> Split:
        """The split of a place."""
        return make_split(store, place.split, place.fold, place.seed)

    def judged(self, place: Place, key: str, run: Path, setup: HeadSetup = HEADS_AS_PUBLISHED) -> dict[str, Any]:
        """Train heads on a backbone and judge them on the test part; with ranks of the latents."""
        predictor, store, windows, output = self._predicted(place, key, run, setup)
        row = summary(output, Samples.gather(store, windows))
        row["representation"] = ranks(predictor, store, windows, output)
        return row

    def _predicted(
        self, place: Place, key: str, run: Path, setup: HeadSetup = HEADS_AS_PUBLISHED
    ) -> tuple[JepaPredictor, FrameStore, Windows, Output]:
        """A predictor with trained heads, and what it says of the test part."""
        store = self.store(load_config(run / "config.yaml"))
        workflows.heads_run(
            run,
            [self.recordings],
            settings=[] if setup.cascade else ["heads.cascade=false"],
            backbone=setup.backbone,
            missing=setup.missing,
            resume=True,
            label=f"{key}: heads",
            store=store,
        )
        predictor = JepaPredictor.load(run, self.device, **asdict(setup))
        windows = self.split(store, place).parts["test"]
        return predictor, store, windows, predictor.predict(store, windows)

    @property
    def base_key(self) -> str:
        """The key of the model that varies nothing: table III's row of the budget's width."""
        return f"jepa-d{self.budget.width}"

    def base(self, place: Place) -> dict[str, Any]:
        """The model that varies nothing, judged."""
        return self.judged(place, self.base_key, self.pretrained(place, BASE_RUN))

    def best(self, place: Place, setup: HeadSetup = HEADS_AS_PUBLISHED) -> dict[str, Any]:
        """The preset `best` on the same recordings, judged."""
        return self.judged(place, "best", self.pretrained(place, "best", recipe="best"), setup)

    def base_by_spectrum(self, place: Place) -> dict[str, Any]:
        """The same model where beams are ranked by the spectrum that its RSSI head predicts (paper, IV-B)."""
        run = self.pretrained(place, BASE_RUN)
        _, store, windows, output = self._predicted(place, self.base_key, run)
        samples = Samples.gather(store, windows)
        unused = np.full_like(output.trajectory_m, np.nan), np.full_like(output.spectrum_db, np.nan)
        return summary(Output(unused[0], output.spectrum_db, unused[1]), samples)

    def supervised(self, place: Place, paradigm: str) -> dict[str, Any]:
        """Backbone and heads trained as one, on one task or all of them, and judged."""
        settings = [f"paradigm={paradigm}", f"heads.epochs={self.budget.supervised_epochs}"]
        run = self.pretrained(place, f"jepa-{paradigm}", settings)
        predictor = JepaPredictor.load(run, self.device)
        store = self.store(predictor.config)
        windows = self.split(store, place).parts["test"]
        return summary(predictor.predict(store, windows), Samples.gather(store, windows))

    def end_to_end(self) -> Rows:
        """One model a task, each a row of its own, as one row: what each says of its task."""
        return _by_fold(self.places, self._of_all_tasks)

    def _of_all_tasks(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {"steps": {}}
        for task in TASKS:
            row = self._of_one_task(place, task)
            found = {**row, **found, "steps": {**row["steps"], **found["steps"]}}
        return found

    def _of_one_task(self, place: Place, task: str) -> dict[str, Any]:
        return self.row(place, f"jepa-end-to-end-{task}", lambda: self.supervised(place, task))

    def baseline(self, place: Place, name: str) -> dict[str, Any]:
        """A baseline, fitted and judged on the test part; it looks at pictures of the budget's size."""
        fitted = self.budget.baseline(name)
        fitted.device = self.device
        store = self.radio
        if not set(fitted.needs) <= set(TARGETS):
            store = FrameStore.load([self.recordings], self.device, fitted.needs, self.budget.image_size)
        parts = fitted.samples(store, self.split(store, place))
        fitted.label = name
        fitted.fit(parts["train"], parts["val"], place.seed)
        return summary(fitted.predict(parts["test"].history), parts["test"])

    def row(self, place: Place, key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A row, computed where it is not there yet, with the seconds that it took."""

        def timed() -> dict[str, Any]:
            began = time.monotonic()
            return {**compute(), "seconds": time.monotonic() - began}

        found = self.rows.row(f"{place.key}/{key}", timed)
        self._took[f"{place.key}/{key}"] = found["seconds"]
        return found

    def collected(
        self, key: str, compute: Callable[[Place], dict[str, Any]], places: Sequence[Place] | None = None
    ) -> Rows:
        """The rows of a model: for each fold those of its seeds; at the places of the budget, or at others."""
        where = self.places if places is None else places
        return _by_fold(where, lambda place: self.row(place, key, partial(compute, place)))


def _by_fold(places: Sequence[Place], row: Callable[[Place], dict[str, Any]]) -> Rows:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for place in places:
        found.setdefault((place.split, place.fold), []).append(row(place))
    return list(found.values())
