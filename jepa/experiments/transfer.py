"""How many real drives pretraining saves: one model, pretrained in several ways, adapted with few and many drives.

The model is that of `best`: a backbone that is pretrained and then frozen, and heads that are trained with it, before
they are adapted to a site with none, 1, 2, 4, 8, 16 and all of its training drives. What it is pretrained on:

- `jepa_twin`: the twin's `drive_by`, and nothing real;
- `jepa_others`: all drives of the other sites;
- `jepa_shuffled`: the same twin, the frames of each drive in any order: what frames look like stays, how they go on
  does not;
- `jepa_real`: nothing. The backbone has random weights, the heads are trained on the drives of the site alone.

`gru_twin` and `gru_real` are `gru_cascade`, pretrained on the same twin or on nothing. All have as many optimiser steps
in pretraining, to an epoch, and as many in every cell of the table, few drives or many. The drives of a cell are drawn
by the seed, and those of fewer are among those of more. Nothing is chosen on validation drives: they would be further
real drives. Statistics of the inputs are those of the drives of the cell; with none, those of all, read without labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa.config import PretrainConfig, preset
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.samples import Samples
from jepa.data.splits import FOLDS
from jepa.data.windows import Piece, Windows, cut_windows
from jepa.experiments.on_sites.backbones import heads_row, pretraining_row
from jepa.experiments.on_sites.rival import PLAN as RIVAL_PLAN
from jepa.experiments.on_sites.rival import pretrain_rival, rival_row
from jepa.experiments.on_sites.sites import Place, checked_hashes, gathered, made, row_of, stand_ins
from jepa.experiments.pages.canvas import check_that_figures_can_be_drawn
from jepa.experiments.pages.transfer import ALL, Count, Results
from jepa.experiments.results.side_by_side import Job, as_json, compute_rows
from jepa.experiments.results.store import RowStore, check_stamp, recipe, write_json
from jepa.heads.training import train_heads
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model
from jepa.runs.heads import load_heads
from jepa.workflows import pick_device
from twin.errors import UserError

__all__ = ["BUDGETS", "Budget", "Source", "run", "shuffled"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table.

    Attributes:
        width: of the backbone.
        twin_episodes: drives of the twin.
        pretrain_steps, head_steps: optimiser steps of a backbone, to an epoch, and of the heads on it; `gru_cascade`
            has those of both.
        adapt_steps: optimiser steps of every cell.
        counts: numbers of real drives, beside all.
        site_episodes, site_frames: drives of each site that stands in where none are named, and their length (None:
            until the car is gone).
        more: further settings.
    """

    width: int
    twin_episodes: int
    pretrain_steps: int
    head_steps: int
    adapt_steps: int
    counts: tuple[int, ...]
    seeds: int
    folds: tuple[int, ...]
    site_episodes: int = 40
    site_frames: int | None = None
    more: tuple[str, ...] = ()


COUNTS = (0, 1, 2, 4, 8, 16)
BUDGETS = {
    "quick": Budget(
        width=16,
        twin_episodes=12,
        pretrain_steps=6,
        head_steps=6,
        adapt_steps=6,
        counts=(0, 1, 4),
        seeds=1,
        folds=(0,),
        site_episodes=10,
        site_frames=30,
        more=("model.attention_heads=2", "heads.width=32", "heads.skip=32"),
    ),
    "default": Budget(64, 2000, 2500, 600, 400, COUNTS, 3, tuple(range(FOLDS))),
    "full": Budget(128, 4000, 60_000, 5000, 2000, COUNTS, 3, tuple(range(FOLDS))),
}
"""`quick` shows that everything runs, `default` is sized for a night on two cores, `full` is for a GPU."""

TWIN = "drive_by"
BATCH = 64
"""Windows in a batch of every cell."""
SCRATCH_RATE, PRETRAINED_RATE = 1e-3, 3e-4
"""Learning rates of every cell: what is pretrained goes on slowly. They were set once, and tuned for no site."""
SHUFFLE = 13
"""Stream of the random numbers that shuffle frames."""


@dataclass(frozen=True)
class Source:
    """What a model is pretrained on: all drives of some datasets.

    Attributes:
        name: in the keys of rows and the paths of runs.
        shuffle: whether the frames of each drive are shuffled.
    """

    name: str
    data: tuple[Path, ...]
    shuffle: bool = False

    def load(self) -> tuple[FrameStore, Windows]:
        """Its frames and windows."""
        store = FrameStore.load(self.data)
        store = shuffled(store) if self.shuffle else store
        return store, cut_windows(store, [Piece(n, 0, episode.frames) for n, episode in enumerate(store.episodes)])


def shuffled(store: FrameStore) -> FrameStore:
    """The same frames, those of each drive in another order: their marginals stay, their dynamics go."""
    parts = [
        episode.start + np.random.default_rng([SHUFFLE, number]).permutation(episode.frames)
        for number, episode in enumerate(store.episodes)
    ]
    order = torch.from_numpy(np.concatenate(parts))
    return replace(
        store,
        values={name: values[order] for name, values in store.values.items()},
        valid={name: values[order] for name, values in store.valid.items()},
        best_beam=store.best_beam[order],
    )


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, seed by seed; write tables and figures to `out` after each, print the last.

    Args:
        data: datasets of real sites, one directory each; without any, two scenarios of the twin stand in.

    Raises:
        UserError: an unknown budget, a dataset that cannot be split, rows of another budget in `out`, or matplotlib is
            not installed.
    """
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    check_that_figures_can_be_drawn()
    spent = BUDGETS[budget]
    made_by = recipe(preset("best"), SCRATCH_RATE, PRETRAINED_RATE, BATCH, asdict(RIVAL_PLAN))
    stamp = {"name": budget, **as_json(spent), "recipe": made_by}
    check_stamp(out / "rows", stamp)
    sites = list(data) or stand_ins(out, spent.site_episodes, spent.site_frames)
    places = [Place(path, "folds", fold, seed) for seed in range(spent.seeds) for path in sites for fold in spent.folds]
    rows = RowStore(out / "rows", {**stamp, "data": checked_hashes(places)})
    twin = rows.row("twin/data", partial(made, TWIN, _twin(out), spent.twin_episodes))
    counts = {path: _counts([place for place in places if place.path == path], spent) for path in sites}
    found = {"twin/data": twin}
    page = ""
    for seed in range(spent.seeds):
        found |= compute_rows(rows, list(_stages(out, places, sites, counts, spent, seed)))
        told = {path.name: counts[path] for path in sites}
        results = Results(found, told, budget, as_json(replace(spent, seeds=seed + 1)))
        page = results.page()
        (out / "transfer.md").write_text(page)
        write_json(out / "transfer.json", results.as_json())
        results.draw(out)
    print(page)


def _stages(
    out: Path,
    places: Sequence[Place],
    sites: Sequence[Path],
    counts: Mapping[Path, Sequence[Count]],
    budget: Budget,
    seed: int,
) -> Iterator[list[Job]]:
    """The rows of a seed: backbones, heads on them, cells."""
    yield list(_backbones(out, sites, seed, budget))
    yield list(_heads(out, sites, seed, budget))
    of_seed = [place for place in places if place.seed == seed]
    yield [job for place in of_seed for job in _cells(out, place, sites, counts[place.path], budget)]


def _twin(out: Path) -> Path:
    return out / "twin" / TWIN


def _counts(places: Sequence[Place], budget: Budget) -> list[Count]:
    """Numbers of drives that every fold of a site has more than, and all."""
    least = min(place.load()[1].drives for place in places)
    return [*(count for count in budget.counts if count < least), ALL]


def _sources(out: Path, sites: Sequence[Path]) -> list[Source]:
    twin = (_twin(out),)
    return [
        Source("twin", twin),
        Source("shuffled", twin, shuffle=True),
        *(_others(path, sites) for path in sites if len(sites) > 1),
    ]


def _others(site: Path, sites: Sequence[Path]) -> Source:
    return Source(f"others-than-{site.name}", tuple(path for path in sites if path != site))


def _run_of(out: Path, source: Source, seed: int) -> Path:
    return out / "runs" / source.name / f"seed-{seed}"


def _config(budget: Budget, seed: int, steps: int) -> PretrainConfig:
    """`best` at the size of the budget, its heads trained for some steps; each site has its own statistics."""
    settings = [f"seed={seed}", f"model.width={budget.width}", f"heads.steps={steps}", "inputs.normalise=by-dataset"]
    return preset("best", [*settings, *budget.more])


def _backbones(out: Path, sites: Sequence[Path], seed: int, budget: Budget) -> Iterator[Job]:
    for source in _sources(out, sites):
        yield f"{source.name}/seed-{seed}/pretraining", partial(_pretrained, out, source, budget, seed)


def _heads(out: Path, sites: Sequence[Path], seed: int, budget: Budget) -> Iterator[Job]:
    for source in _sources(out, sites):
        yield f"{source.name}/seed-{seed}/heads", partial(_heads_row, out, source, budget, seed)
    yield f"twin/seed-{seed}/gru_cascade", partial(_rival_on_twin, out, budget, seed)


def _cells(out: Path, place: Place, sites: Sequence[Path], counts: Sequence[Count], budget: Budget) -> Iterator[Job]:
    """All rows of a place."""
    twin, mixed, *_ = _sources(out, sites)
    arms: dict[str, Source | None] = {"twin": twin, "shuffled": mixed, "real": None}
    if len(sites) > 1:
        arms["others"] = _others(place.path, sites)
    for count in counts:
        for arm, source in arms.items():
            if count or source:
                yield place.key(f"jepa_{arm}_{count}"), partial(_cell, out, place, source, count, budget)
        for arm in ("twin", "real") if count else ("twin",):
            yield place.key(f"gru_{arm}_{count}"), partial(_rival_cell, out, place, arm == "twin", count, budget)


def _pretrained(out: Path, source: Source, budget: Budget, seed: int) -> dict[str, Any]:
    config = _config(budget, seed, budget.head_steps)
    return pretraining_row(*source.load(), config, budget.pretrain_steps, _run_of(out, source, seed))


def _heads_row(out: Path, source: Source, budget: Budget, seed: int) -> dict[str, Any]:
    config, place = _config(budget, seed, budget.head_steps), _run_of(out, source, seed)
    return heads_row(load_backbone(place, config, device=pick_device("auto")), *source.load(), config, place)


def _rival_path(out: Path, seed: int) -> Path:
    return out / "runs" / "twin" / f"gru_cascade-seed-{seed}"


def _rival_on_twin(out: Path, budget: Budget, seed: int) -> dict[str, Any]:
    store, windows = Source("twin", (_twin(out),)).load()
    samples = Samples.gather(store, windows)
    batch, steps = preset("best").batch_size, budget.pretrain_steps + budget.head_steps
    plan = replace(RIVAL_PLAN, steps=steps, batch_size=batch)
    return pretrain_rival(_rival_path(out, seed), {"train": samples, "val": samples}, plan, seed)


def _cell(out: Path, place: Place, source: Source | None, count: Count, budget: Budget) -> dict[str, Any]:
    """The model, pretrained on a source or on nothing, adapted with so many drives of the site and judged there."""
    store, whole = place.load()
    split = whole.with_drives(count, place.seed) if isinstance(count, int) and count else whole
    config, device = _config(budget, place.seed, budget.adapt_steps), pick_device("auto")
    pace = {"batch_size": BATCH, "learning_rate": PRETRAINED_RATE if source else SCRATCH_RATE}
    config = config.model_copy(update={"heads": config.heads.model_copy(update=pace)})
    train, test = split.parts["train"], split.parts["test"]
    normalisers = Normalisers.fit(store, train, config.inputs)
    heads = None
    if source:
        model = load_backbone(_run_of(out, source, place.seed), config, device=device)
        heads = load_heads(_run_of(out, source, place.seed), model, config.heads)
        heads.config = config.heads
    else:
        model = new_model(config, device).eval().requires_grad_(False)
    if count or not heads:
        heads = train_heads(model, store, train, train, normalisers, config, start=heads, label="")
    predicted = JepaPredictor(model, heads, normalisers, config).predict(store, test)
    return {"drives": split.drives if count else 0, **row_of(predicted, Samples.gather(store, test))}


def _rival_cell(out: Path, place: Place, pretrained: bool, count: Count, budget: Budget) -> dict[str, Any]:
    """The same of `gru_cascade`."""
    store, whole = place.load()
    split = whole.with_drives(count, place.seed) if isinstance(count, int) and count else whole
    steps = budget.adapt_steps if count else None
    rate = PRETRAINED_RATE if pretrained else SCRATCH_RATE
    plan = replace(RIVAL_PLAN, batch_size=BATCH, learning_rate=rate, epochs=0, steps=steps)
    start = _rival_path(out, place.seed) if pretrained else None
    return {
        "drives": split.drives if count else 0,
        **rival_row(start, gathered(store, split), plan, place.seed),
    }
