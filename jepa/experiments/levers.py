"""Levers: what changes of the preset `best` do for a site, judged on its validation drives.

Each lever is a change of pretraining, of the heads or of how they are adapted. Its backbone is pretrained on the twin's
`drive_by` (that of `none` serves where the lever changes no pretraining; with real windows it is pretrained on from
there, with the unlabelled training drives of all sites), its heads are trained on the twin and then adapted to the
training drives of each site, like those of `best` without it (`none`), in as many optimiser steps. Levers of
pretraining are tried with the heads of `best`, which read the raw history as well, and with the paper's, which read
latents alone. Beside each stands its control: the same heads on random weights, which levers of pretraining alone share
with what they are compared with. The test part of a fold is never looked at; but the validation drives of one fold are
test drives of another, so that what is chosen here on some folds is judged without that favour on the others alone.
What came of it is written in `LOG.md`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from jepa.backbone.model import JepaModel
from jepa.config import PretrainConfig, preset
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, WindowInputs, balanced
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from jepa.data.windows import Windows, dataset_of_windows
from jepa.experiments.on_sites.backbones import epochs_of, heads_row, pretraining_row, some_windows, steps_in
from jepa.experiments.on_sites.changes import LATENTS_ALONE, LEVERS, backbone_of, control_of, slug
from jepa.experiments.on_sites.sites import Place, checked_hashes, made, row_of, stand_ins
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.pages.levers import Results
from jepa.experiments.results.rows import numbers_of_page
from jepa.experiments.results.side_by_side import Job, as_json, compute_rows
from jepa.experiments.results.store import RowStore, check_stamp, recipe, write_json
from jepa.experiments.transfer import TWIN
from jepa.heads.training import train_heads
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import load_backbone, new_model, pretrain
from jepa.runs.heads import load_heads
from jepa.workflows import pick_device
from twin.errors import UserError

__all__ = ["BUDGETS", "Budget", "run"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table.

    Attributes:
        pretrain_steps, head_steps: optimiser steps of a backbone, to an epoch, and of the heads on the twin.
        site_steps: of further pretraining with the sites' windows, to an epoch.
        adapt_steps: of the heads at a site.
        scenario_episodes: drives of each further scenario.
        site_episodes, site_frames: drives of each site that stands in where none are named, and their length; that of
            further scenarios too.
        levers: which; all of them unless said otherwise.
        more: further settings.
    """

    width: int
    twin_episodes: int
    pretrain_steps: int
    head_steps: int
    site_steps: int
    adapt_steps: int
    seeds: int
    folds: tuple[int, ...]
    scenario_episodes: int = 300
    site_episodes: int = 40
    site_frames: int | None = None
    levers: tuple[str, ...] = tuple(LEVERS)
    more: tuple[str, ...] = ()


QUICK = (
    "none",
    "real windows",
    "several scenarios",
    "modality dropout",
    "mirrored drives",
    "SIGReg without EMA, the last layer as target",
    LATENTS_ALONE,
    f"{LATENTS_ALONE}, real windows",
    "a fifth of the twin's heads kept",
)
BUDGETS = {
    "quick": Budget(
        width=16,
        twin_episodes=12,
        pretrain_steps=6,
        head_steps=6,
        site_steps=2,
        adapt_steps=6,
        seeds=1,
        folds=(0,),
        scenario_episodes=10,
        site_episodes=10,
        site_frames=30,
        levers=QUICK,
        more=("model.attention_heads=2", "heads.width=32", "heads.skip=32"),
    ),
    "default": Budget(64, 2000, 2500, 600, 500, 400, 1, (0, 2)),
    "full": Budget(128, 4000, 60_000, 5000, 5000, 2000, 3, (0, 1, 2, 3, 4)),
}
"""`quick` shows that everything runs, `default` is sized for a night on two cores, `full` is for a GPU."""
PART = "val"
"""The part on which everything is judged."""
BATCH = 64
"""Windows in a batch at a site."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, print the table, write it to `out`.

    Args:
        data: datasets of real sites, one directory each; without any, two scenarios of the twin stand in.

    Raises:
        UserError: an unknown budget, a dataset that cannot be split, or rows of another budget in `out`.
    """
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    spent = BUDGETS[budget]
    levers = {name: asdict(lever) for name, lever in LEVERS.items()}
    stamp = {"name": budget, **as_json(spent), "recipe": recipe(preset("best"), levers, BATCH)}
    check_stamp(out / "rows", stamp)
    sites = list(data) or stand_ins(out, spent.site_episodes, spent.site_frames)
    places = [Place(path, "folds", fold, seed) for seed in range(spent.seeds) for path in sites for fold in spent.folds]
    rows = RowStore(out / "rows", {**stamp, "data": checked_hashes(places)})
    rows.row("twin/data", partial(made, TWIN, _twin(out), spent.twin_episodes))
    for name in sorted({name for lever in spent.levers for name in LEVERS[lever].scenarios}):
        scenario, place = in_view(name, out / "scenario"), out / "twin" / name
        rows.row(f"twin/data-{name}", partial(made, scenario, place, spent.scenario_episodes, spent.site_frames))
    found = compute_rows(
        rows,
        [
            list(_backbones(out, spent)),
            list(_with_sites(out, sites, spent)),
            list(_heads(out, spent)),
            [job for place in places for job in _cells(out, place, spent)],
        ],
    )
    told = as_json(replace(spent, levers=()))
    results = Results(found, [path.name for path in sites], spent.levers, budget, told)
    page = results.page()
    (out / "levers.md").write_text(page)
    write_json(out / "levers.json", numbers_of_page(budget, spent, **results.numbers()))
    print(page)


def _twin(out: Path) -> Path:
    return out / "twin" / TWIN


def _run_of(out: Path, name: str, seed: int) -> Path:
    """Where the backbone of a lever from the twin lies."""
    return out / "runs" / slug(backbone_of(name)) / f"seed-{seed}"


def _with_sites_run(out: Path, name: str, fold: int, seed: int) -> Path:
    """Where it lies when it was pretrained on with the training drives that the sites have in a fold."""
    return out / "runs" / f"{slug(backbone_of(name))}-with-sites-{fold}" / f"seed-{seed}"


def _sees_sites(name: str, arm: str) -> bool:
    return bool(LEVERS[name].real_share) and arm == "pretrained"


def _judged(levers: Sequence[str]) -> list[tuple[str, str]]:
    """Levers with their arms, and every control once."""
    controls = dict.fromkeys(map(control_of, levers))
    return [*((name, "pretrained") for name in levers), *((name, "random") for name in controls)]


def _heads_of(out: Path, name: str, arm: str, fold: int, seed: int) -> Path:
    """Where the heads from the twin lie: one for each fold where the backbone has seen its drives."""
    of_fold = f"-fold-{fold}" if _sees_sites(name, arm) else ""
    return out / "runs" / slug(name) / f"heads-{arm}{of_fold}-seed-{seed}"


def _config(budget: Budget, seed: int, steps: int, settings: Sequence[str]) -> PretrainConfig:
    """`best` at the size of the budget with a lever's settings, heads trained for some steps."""
    base = [f"seed={seed}", f"model.width={budget.width}", f"heads.steps={steps}", "inputs.normalise=by-dataset"]
    return preset("best", [*base, *budget.more, *settings])


def _backbones(out: Path, budget: Budget) -> Iterator[Job]:
    for seed in range(budget.seeds):
        for name in dict.fromkeys(map(backbone_of, budget.levers)):
            yield f"twin/seed-{seed}/{slug(name)}-pretraining", partial(_pretrained, out, name, budget, seed)


def _with_sites(out: Path, sites: Sequence[Path], budget: Budget) -> Iterator[Job]:
    """Each backbone once, with the share of the first lever that asks for it."""
    asking = {backbone_of(name): name for name in reversed(budget.levers) if LEVERS[name].real_share}
    for seed in range(budget.seeds):
        for own, name in asking.items():
            for fold in budget.folds:
                key = f"twin/seed-{seed}/{slug(own)}-with-sites-{fold}"
                yield key, partial(_pretrained_with_sites, out, sites, name, budget, fold, seed)


def _heads(out: Path, budget: Budget) -> Iterator[Job]:
    for seed in range(budget.seeds):
        for name, arm in _judged(budget.levers):
            for fold in budget.folds if _sees_sites(name, arm) else budget.folds[:1]:
                key = "/".join(_heads_of(Path("twin"), name, arm, fold, seed).parts[2:])
                yield f"twin/{key}", partial(_twin_heads, out, name, arm, budget, fold, seed)


def _cells(out: Path, place: Place, budget: Budget) -> Iterator[Job]:
    for name, arm in _judged(budget.levers):
        yield place.key(f"{slug(name)}_{arm}"), partial(_cell, out, place, name, arm, budget)


def _loaded(out: Path, scenarios: Sequence[str] = ()) -> tuple[FrameStore, Windows]:
    """The training part of the twin, with further scenarios."""
    store = FrameStore.load([_twin(out), *(out / "twin" / name for name in scenarios)])
    return store, make_split(store).parts["train"]


def _pretrained(out: Path, name: str, budget: Budget, seed: int) -> dict[str, Any]:
    config = _config(budget, seed, budget.head_steps, LEVERS[name].settings)
    store, windows = _loaded(out, LEVERS[name].scenarios)
    return pretraining_row(store, windows, config, budget.pretrain_steps, _run_of(out, name, seed))


def _backbone(out: Path, name: str, arm: str, config: PretrainConfig, fold: int) -> JepaModel:
    device = pick_device("auto")
    if arm == "random":
        return new_model(config, device).eval().requires_grad_(False)
    further = _with_sites_run(out, name, fold, config.seed)
    run = further if _sees_sites(name, arm) else _run_of(out, name, config.seed)
    return load_backbone(run, config, device=device)


def _twin_heads(out: Path, name: str, arm: str, budget: Budget, fold: int, seed: int) -> dict[str, Any]:
    config = _config(budget, seed, budget.head_steps, LEVERS[name].settings)
    model = _backbone(out, name, arm, config, fold)
    return heads_row(model, *_loaded(out), config, _heads_of(out, name, arm, fold, seed))


def _cell(out: Path, place: Place, name: str, arm: str, budget: Budget) -> dict[str, Any]:
    """The lever's model adapted to the training drives of a site, judged on its validation drives."""
    lever = LEVERS[name]
    store, split = place.load()
    config = _config(budget, place.seed, budget.adapt_steps, (*lever.settings, *lever.adapting))
    config = config.model_copy(update={"heads": config.heads.model_copy(update={"batch_size": BATCH})})
    model = _backbone(out, name, arm, config, place.fold)
    train, judged = split.parts["train"], split.parts[PART]
    normalisers = Normalisers.fit(store, train, config.inputs)
    heads = load_heads(_heads_of(out, name, arm, place.fold, place.seed), model, config.heads)
    heads.config = config.heads
    heads = train_heads(model, store, train, train, normalisers, config, start=heads, label="")
    predicted = JepaPredictor(model, heads, normalisers, config).predict(store, judged)
    return row_of(predicted, Samples.gather(store, judged))


def _pretrained_with_sites(
    out: Path, sites: Sequence[Path], name: str, budget: Budget, fold: int, seed: int
) -> dict[str, Any]:
    """A row without metrics: the backbone pretrained on with the twin's windows, and those of the training drives that
    the sites have in a fold again and again, every site alike."""
    config = _config(budget, seed, budget.head_steps, LEVERS[name].settings)
    device = pick_device("auto")
    start = load_backbone(_run_of(out, name, seed), config, device=device)
    store = FrameStore.load([_twin(out), *sites])
    windows = _of_twin_and_sites(store, fold, seed)
    normalisers = Normalisers.fit(store, windows, config.inputs)
    windows = windows.select(balanced(dataset_of_windows(store, windows), 1 - LEVERS[name].real_share))
    windows = some_windows(windows, budget.site_steps * config.batch_size, seed)
    epochs = epochs_of(budget.site_steps, len(windows), config.batch_size)
    further = config.model_copy(update={"epochs": epochs, "learning_rate": config.learning_rate / 2})
    inputs, run = WindowInputs(normalisers.frames(store), windows.index, device), _with_sites_run(out, name, fold, seed)
    run.mkdir(parents=True, exist_ok=True)
    pretrain(inputs, further, run=run, resume=True, start=start, device=device, label="")
    return {"epochs": epochs, "windows": len(windows), "steps": steps_in(epochs, len(windows), config.batch_size)}


def _of_twin_and_sites(store: FrameStore, fold: int, seed: int) -> Windows:
    """The training windows of the twin, dataset 0, as everywhere here, and those of the sites in a fold."""
    twin, sites = (make_split(store, kind, at, seed).parts["train"] for kind, at in (("blocked", 0), ("folds", fold)))
    twin = twin.select(dataset_of_windows(store, twin) == 0)
    sites = sites.select(dataset_of_windows(store, sites) > 0)
    return Windows(torch.cat([twin.index, sites.index]), torch.cat([twin.episode, sites.episode]))
