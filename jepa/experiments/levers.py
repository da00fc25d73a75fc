"""Levers: what changes of the preset `best` do for a site, judged on its validation drives.

Each lever is a change of pretraining, of the heads or of how they are adapted. Its backbone is pretrained on the twin's
`drive_by` (that of `none` serves where the lever changes no pretraining; with real windows it is pretrained on from
there, with the unlabelled training drives of all sites), its heads are trained on the twin and then adapted to the
training drives of each site, like those of `best` without it (`none`), in as many optimiser steps. Beside each stands
its control: the same heads on random weights, which levers of pretraining alone share with `none`. The test part of a
fold is never looked at; but the validation drives of one fold are test drives of another, so that what is chosen here
on some folds is judged without that favour on the others alone. What came of it is written in `LOG.md`.
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
from jepa.experiments.on_sites.sites import Place, checked_hashes, made, row_of, stand_ins, sums_at, values_at
from jepa.experiments.on_twin.in_view import in_view
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.real_data import HEADS
from jepa.experiments.results.comparison import Estimate, difference, mean
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

__all__ = ["BUDGETS", "LEVERS", "Budget", "Lever", "run"]


_TRAINED = ("model.tokenizers=trained",)
"""In pretraining: random weights are the same, and frozen."""


@dataclass(frozen=True)
class Lever:
    """A change.

    Attributes:
        settings: of the configuration.
        adapting: further settings where the heads are adapted to a site.
        real_share: share of the sites' unlabelled training windows in further pretraining; 0: there is none.
        scenarios: of the twin, beside `drive_by`, that the backbone is pretrained on.
    """

    settings: tuple[str, ...] = ()
    adapting: tuple[str, ...] = ()
    real_share: float = 0.0
    scenarios: tuple[str, ...] = ()

    @property
    def of_backbone(self) -> bool:
        """Whether it needs a backbone of its own from the twin."""
        return bool(self.scenarios) or any(not setting.startswith("heads.") for setting in self.settings)

    @property
    def of_control(self) -> tuple[str, ...]:
        """The settings that heads on random weights notice: those of the heads and of the model's parts."""
        seen = (setting for setting in self.settings if setting.startswith(("heads.", "model.")))
        return (*(setting for setting in seen if setting not in _TRAINED), *self.adapting)


_TOP_LAYERS = ("objective.target_levels=[]", "objective.target_layers=4", "objective.error=smooth-l1")
_ONE_LEVEL = ("objective.target_levels=[]",)
_LATENTS_ALONE = HEADS["latents"]
_SIGREG = ("objective.sigreg_weight=0.02",)
_NO_VARIANCE = ("objective.variance_weight=0", "objective.covariance_weight=0")
LEVERS: dict[str, Lever] = {
    "none": Lever(),
    "mean of the top layers as target": Lever(_TOP_LAYERS),
    "trained tokenizers": Lever(_TRAINED),
    "mean of the top layers, trained tokenizers": Lever((*_TOP_LAYERS, *_TRAINED)),
    "real windows": Lever(real_share=0.5),
    "several scenarios": Lever(scenarios=("intersection", "highway", "bus_blockage")),
    "modality dropout": Lever(("mask.modality_dropout=0.2",)),
    "fusion tokens": Lever(("model.fusion_tokens=2", "objective.target_levels=[1, 4]")),
    "SIGReg with EMA": Lever((*_NO_VARIANCE, *_SIGREG)),
    "SIGReg with EMA, the last layer as target": Lever((*_NO_VARIANCE, *_ONE_LEVEL, *_SIGREG)),
    "SIGReg without EMA, the last layer as target": Lever(
        (*_NO_VARIANCE, *_ONE_LEVEL, *_SIGREG, "objective.target=online")
    ),
    "mirrored drives": Lever(("augment.mirror=0.5",)),
    "reversed drives": Lever(("augment.reverse=0.5",)),
    "slower drives": Lever(("augment.slowest=0.5",)),
    "stronger variance term": Lever(("objective.variance_weight=2", "objective.covariance_weight=0.1")),
    "heads on latents alone": Lever(_LATENTS_ALONE),
    "heads on latents alone, real windows": Lever(_LATENTS_ALONE, real_share=0.5),
    "attentive read-out": Lever(("heads.readout=attentive",)),
    "linear paths": Lever(("heads.linear=true",)),
    "spectrum in the logits": Lever(("heads.spectrum_in_logits=true",)),
    "trajectory from a line": Lever(("heads.coarse_trajectory=line",)),
    "a fifth of the twin's heads kept": Lever(adapting=("heads.kept_share=0.2",)),
}
"""By what the table calls them."""


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
SHOWN = {"l1_rsrp_db": "power lost, dB", "ade_m": "displacement error, m", "top1": "top-1"}
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
    page = _page(found, [path.name for path in sites], budget, spent)
    (out / "levers.md").write_text(page)
    names = [path.name for path in sites]
    compared = {
        site: {name: {metric: _compared(found, site, name, metric) for metric in SHOWN} for name in spent.levers}
        for site in names
    }
    numbers = {"rows": found, "values": values_at(found, names), "levers": compared}
    write_json(out / "levers.json", numbers_of_page(budget, spent, **numbers))
    print(page)


def _twin(out: Path) -> Path:
    return out / "twin" / TWIN


def _slug(name: str) -> str:
    return name.replace(",", "").replace("'", "").replace(" ", "-")


def _own(name: str) -> str:
    """The lever whose backbone from the twin it stands on: `none` where it changes the heads alone."""
    return name if LEVERS[name].of_backbone else "none"


def _run_of(out: Path, name: str, seed: int) -> Path:
    """Where the backbone of a lever from the twin lies."""
    return out / "runs" / _slug(_own(name)) / f"seed-{seed}"


def _with_sites_run(out: Path, name: str, fold: int, seed: int) -> Path:
    """Where it lies when it was pretrained on with the training drives that the sites have in a fold."""
    return out / "runs" / f"{_slug(_own(name))}-with-sites-{fold}" / f"seed-{seed}"


def _sees_sites(name: str, arm: str) -> bool:
    return bool(LEVERS[name].real_share) and arm == "pretrained"


def _control_of(name: str) -> str:
    """The first lever whose heads on random weights are the same."""
    return next(other for other, lever in LEVERS.items() if lever.of_control == LEVERS[name].of_control)


def _judged(levers: Sequence[str]) -> list[tuple[str, str]]:
    """Levers with their arms, and every control once."""
    controls = dict.fromkeys(map(_control_of, levers))
    return [*((name, "pretrained") for name in levers), *((name, "random") for name in controls)]


def _heads_of(out: Path, name: str, arm: str, fold: int, seed: int) -> Path:
    """Where the heads from the twin lie: one for each fold where the backbone has seen its drives."""
    of_fold = f"-fold-{fold}" if _sees_sites(name, arm) else ""
    return out / "runs" / _slug(name) / f"heads-{arm}{of_fold}-seed-{seed}"


def _config(budget: Budget, seed: int, steps: int, settings: Sequence[str]) -> PretrainConfig:
    """`best` at the size of the budget with a lever's settings, heads trained for some steps."""
    base = [f"seed={seed}", f"model.width={budget.width}", f"heads.steps={steps}", "inputs.normalise=by-dataset"]
    return preset("best", [*base, *budget.more, *settings])


def _backbones(out: Path, budget: Budget) -> Iterator[Job]:
    for seed in range(budget.seeds):
        for name in budget.levers:
            if name == "none" or LEVERS[name].of_backbone:
                yield f"twin/seed-{seed}/{_slug(name)}-pretraining", partial(_pretrained, out, name, budget, seed)


def _with_sites(out: Path, sites: Sequence[Path], budget: Budget) -> Iterator[Job]:
    """Each backbone once, with the share of the first lever that asks for it."""
    asking = {_own(name): name for name in reversed(budget.levers) if LEVERS[name].real_share}
    for seed in range(budget.seeds):
        for own, name in asking.items():
            for fold in budget.folds:
                key = f"twin/seed-{seed}/{_slug(own)}-with-sites-{fold}"
                yield key, partial(_pretrained_with_sites, out, sites, name, budget, fold, seed)


def _heads(out: Path, budget: Budget) -> Iterator[Job]:
    for seed in range(budget.seeds):
        for name, arm in _judged(budget.levers):
            for fold in budget.folds if _sees_sites(name, arm) else budget.folds[:1]:
                key = "/".join(_heads_of(Path("twin"), name, arm, fold, seed).parts[2:])
                yield f"twin/{key}", partial(_twin_heads, out, name, arm, budget, fold, seed)


def _cells(out: Path, place: Place, budget: Budget) -> Iterator[Job]:
    for name, arm in _judged(budget.levers):
        yield place.key(f"{_slug(name)}_{arm}"), partial(_cell, out, place, name, arm, budget)


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


def _page(rows: dict[str, dict[str, Any]], sites: Sequence[str], budget: str, spent: Budget) -> str:
    """Power lost, and displacement error: each with the difference that the lever makes, and pretraining under it."""
    described = ", ".join(
        f"{key} {value}" for key, value in as_json(replace(spent, levers=())).items() if key != "levers"
    )
    lines = ["# Levers", "", f"Budget `{budget}`: {described}.", "", _steps(rows, spent), "", NOTE, ""]
    for metric, title in SHOWN.items():
        body = [[name, *(_cell_text(_compared(rows, site, name, metric)) for site in sites)] for name in spent.levers]
        lines += [f"## {title[0].upper()}{title[1:]}", "", markdown_table(["lever", *sites], body), ""]
    return "\n".join(lines)


def _steps(rows: dict[str, dict[str, Any]], spent: Budget) -> str:
    """Whole epochs do not come out at the same number of optimiser steps."""
    found = [rows[f"twin/seed-0/{_slug(name)}-pretraining"]["steps"] for name in spent.levers if _own(name) == name]
    return f"Optimiser steps of pretraining on the twin: {min(found):,} to {max(found):,}, in whole epochs."


NOTE = """Judged on validation drives. In each cell: the mean; what the lever changes against `none` (in all rows but
that one); what pretraining changes against random weights under the same lever. In brackets: 95 % intervals over
drives; a star: the interval excludes zero."""


def _compared(rows: dict[str, dict[str, Any]], site: str, name: str, metric: str) -> dict[str, Estimate]:
    """A lever's mean, and its differences to `none` and to its control; empty where there is no such metric."""
    own = sums_at(rows, site, f"{_slug(name)}_pretrained", metric)
    base = sums_at(rows, site, "none_pretrained", metric)
    control = sums_at(rows, site, f"{_slug(_control_of(name))}_random", metric)
    if own is None or base is None or control is None:
        return {}
    against_none = {} if name == "none" else {"against none": difference(own, base)}
    return {"mean": mean(own), **against_none, "against random weights": difference(own, control)}


def _cell_text(compared: dict[str, Estimate]) -> str:
    if not compared:
        return ""
    average, *differences = compared.values()
    starred = (f"{found.text(sign=True)}{'*' if found.excludes(0.0) else ''}" for found in differences)
    return "; ".join([f"{average.value:.3f}", *starred])
