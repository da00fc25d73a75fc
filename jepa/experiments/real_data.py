"""Real drives: JEPA with a frozen backbone, its controls and every baseline, on imported DeepSense 6G scenarios.

Each row is one model on one scenario, split, fold and seed; a stopped run goes on where it was. A backbone is
pretrained on the twin's `drive_by`, its heads are trained there first and then adapted to the real site. There are
three kinds: `jepa`, the preset `best`, whose heads read the raw history as well; `latents`, the paper's heads on the
same backbone, which read predicted latents alone; and `fused`, these on a backbone of fusion tokens that has also seen
the unlabelled training drives of all sites. The control of each is the same with random weights. The rival is
`gru_cascade` with the inputs of `best`: pretrained on the same twin, in as many epochs as backbone and heads have there
together, and of the site alone. Rows are computed side by side, one thread each; each remembers its seconds.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jepa import workflows
from jepa.baselines import BASELINES, RADIO_BASELINES, InterpolationCeiling
from jepa.config import load_config, preset, save_config, with_settings
from jepa.data.inputs import Normalisers
from jepa.data.samples import Samples
from jepa.data.splits import FOLDS
from jepa.experiments.on_sites.changes import FUSED, ON_LATENTS_ALONE
from jepa.experiments.on_sites.rival import PLAN as RIVAL_PLAN
from jepa.experiments.on_sites.rival import pretrain_rival, rival_row
from jepa.experiments.on_sites.sites import Place, checked_hashes, gathered, made, row_of
from jepa.experiments.pages.real_data import BACKBONES, KINDS, RIVAL_ALONE, TWIN, Results
from jepa.experiments.results.rows import numbers_of_page
from jepa.experiments.results.side_by_side import Job, as_json, compute_rows
from jepa.experiments.results.store import RowStore, recipe, write_json
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import check_not_trained_on, open_run
from twin.errors import UserError
from twin.recording import new_directory

__all__ = ["BUDGETS", "Budget", "run"]


@dataclass(frozen=True)
class Budget:
    """How much is spent: printed with the table.

    Attributes:
        width: of the backbone.
        fractions: shares of the real training sequences that the heads are adapted on, beside none.
    """

    width: int
    twin_episodes: int
    pretrain_epochs: int
    twin_head_epochs: int
    paper_epochs: int
    head_epochs: int
    seeds: int
    folds: tuple[int, ...]
    fractions: tuple[float, ...] = (1.0,)
    baselines: tuple[str, ...] = RADIO_BASELINES


BUDGETS = {
    "quick": Budget(64, 60, 2, 1, 2, 4, 1, ()),
    "default": Budget(64, 2000, 4, 1, 6, 12, 3, tuple(range(FOLDS))),
    "full": Budget(128, 4000, 100, 4, 100, 30, 3, tuple(range(FOLDS)), (0.1, 1.0)),
}
"""`quick` shows that everything runs, `default` is sized for a night on two cores, `full` is for a GPU.
Without folds the split is `blocked`."""

SETTINGS: dict[str, tuple[str, ...]] = dict(
    zip(KINDS, ((), ON_LATENTS_ALONE, (*FUSED, *ON_LATENTS_ALONE)), strict=True)
)
"""What each kind changes of `best`."""
ON_ONE_BACKBONE = (("jepa", "latents"), ("fused",))
"""Kinds, by the backbone that they stand on."""
REAL_SHARE = 0.5
"""Share of real windows in further pretraining, the same of every site."""
ONE_SEED = (
    "hold_last",
    "constant_velocity",
    "least_squares_velocity",
    "kalman",
    "ar",
    "position_knn",
    "gru",
    "transformer",
    "gru_cascade",
)
"""Baselines that draw nothing, or that another of their kind leaves behind on every site: one seed tells enough."""
TWIN_BATCH, SITE_BATCH = 128, 64
FULL_SHARE, LARGEST_REPEAT = 0.3, 3.0
"""Below this share of the real sequences they are passed through more often, up to so many times."""


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, seed by seed; write the tables to `out` after each, and print the last.

    Raises:
        UserError: no recordings are named, or an unknown budget, or rows of another budget lie in `out`.
    """
    if not data:
        raise UserError("no recordings", "--data", "name the imported scenarios, one --data each")
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    spent = BUDGETS[budget]
    places = [place for path in data for place in _places(path, spent)]
    spread = FULL_SHARE, LARGEST_REPEAT, SITE_BATCH, TWIN_BATCH
    made_by = recipe(preset("best"), preset("paper"), SETTINGS, REAL_SHARE, spread, asdict(RIVAL_PLAN))
    stamp = {"name": budget, **as_json(spent), "recipe": made_by, "data": checked_hashes(places)}
    rows = RowStore(out / "rows", stamp)
    rows.row("twin/data", partial(made, TWIN, _twin_path(out), spent.twin_episodes))
    found = compute_rows(rows, [list(_backbones(out, spent))])
    found["twin/data"] = rows.row("twin/data", dict)
    page = ""
    for seed in range(spent.seeds):
        found |= compute_rows(rows, list(_stages(out, list(data), places, spent, seed)))
        results = Results(found, [path.name for path in data])
        page = results.page(budget, as_json(spent), seed + 1)
        (out / "real_data.md").write_text(page)
        done = replace(spent, seeds=seed + 1)
        write_json(out / "real_data.json", numbers_of_page(budget, done, rows=found, **results.numbers()))
    print(page)


def _stages(out: Path, data: list[Path], places: Sequence[Place], budget: Budget, seed: int) -> Iterator[list[Job]]:
    """The rows of a seed, after those of the backbones."""
    of_seed = [place for place in places if place.seed == seed]
    yield list(_twin_heads(out, budget, seed))
    yield list(_with_sites(out, data, budget, seed))
    yield [*_adapted(out, of_seed, budget), *_alone(out, of_seed, budget)]


def _splits(budget: Budget) -> list[tuple[str, int]]:
    return [("folds", fold) for fold in budget.folds] or [("blocked", 0)]


def _places(path: Path, budget: Budget) -> list[Place]:
    return [Place(path, split, fold, seed) for seed in range(budget.seeds) for split, fold in _splits(budget)]


def _backbones(out: Path, budget: Budget) -> Iterator[Job]:
    for seed in range(budget.seeds):
        for kinds in ON_ONE_BACKBONE:
            key = f"twin/seed-{seed}/{kinds[0]}-pretraining"
            yield key, partial(_pretrained_on_twin, out, budget, seed, kinds)


def _alone(out: Path, places: Sequence[Place], budget: Budget) -> Iterator[Job]:
    """Rows that need nothing of the twin: the baselines, and of the first seed the recipe as published."""
    for place in places:
        for name in budget.baselines:
            if place.seed == 0 or name not in ONE_SEED:
                yield place.key(name), partial(_baseline_row, place, name)
        yield place.key(RIVAL_ALONE), partial(_rival_alone_row, place)
        if place.seed == 0:
            yield place.key("interpolation_ceiling"), partial(_ceiling_row, place)
            yield place.key("jepa_paper"), partial(_paper_row, out, place, budget)


def _twin_heads(out: Path, budget: Budget, seed: int) -> Iterator[Job]:
    place = Place(_twin_path(out), "blocked", 0, seed)
    for heads in KINDS:
        for backbone in BACKBONES:
            yield place.key(f"{heads}_{backbone}"), partial(_heads_on_twin, out, place, heads, backbone)
    yield place.key("gru_cascade"), partial(_rival_on_twin, out, place, budget)


def _with_sites(out: Path, data: list[Path], budget: Budget, seed: int) -> Iterator[Job]:
    for split, fold in _splits(budget):
        key = f"twin/{split}-{fold}/seed-{seed}/with-sites"
        yield key, partial(_pretrained_with_sites, out, data, split, fold, seed)


def _adapted(out: Path, places: Sequence[Place], budget: Budget) -> Iterator[Job]:
    """Everything that was trained on the twin: as it is (0), and adapted on shares of the real training sequences."""
    for place in places:
        for share in (0.0, *budget.fractions):
            for heads in KINDS:
                for backbone in BACKBONES:
                    job = partial(_adapted_row, out, place, budget, heads, backbone, share)
                    yield place.key(f"twin_{heads}_{backbone}_{share:g}"), job
            yield place.key(f"twin_gru_cascade_{share:g}"), partial(_rival_row, out, place, budget, share)


def _baseline_row(place: Place, name: str) -> dict[str, Any]:
    samples = gathered(*place.load())
    baseline = BASELINES[name]()
    baseline.device = workflows.pick_device("auto")
    baseline.fit(samples["train"], samples["val"], place.seed)
    return row_of(baseline.predict(samples["test"].history), samples["test"])


def _ceiling_row(place: Place) -> dict[str, Any]:
    store, split = place.load()
    ceiling = InterpolationCeiling()
    ceiling.fit(store, split.parts["train"], split.parts["val"])
    return row_of(ceiling.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _predicted(predictor: JepaPredictor, place: Place) -> dict[str, Any]:
    store, split = place.load()
    return row_of(predictor.predict(store, split.parts["test"]), Samples.gather(store, split.parts["test"]))


def _loaded(run: Path, backbone: str = "pretrained") -> JepaPredictor:
    return JepaPredictor.load(run, workflows.pick_device("auto"), backbone=backbone)


def _paper_row(out: Path, place: Place, budget: Budget) -> dict[str, Any]:
    """The published recipe on the scenario alone, at the budget's width and epochs."""
    run = out / "runs" / place.key("jepa_paper")
    settings = [f"seed={place.seed}", f"model.width={budget.width}", f"epochs={budget.paper_epochs}"]
    settings += [f"heads.epochs={budget.paper_epochs}", "inputs.modalities=[gps, rf]"]
    config = preset("paper", settings)
    workflows.pretrain_run([place.path], run, config, split=place.split, fold=place.fold, resume=True, label="")
    workflows.heads_run(run, [place.path], resume=True, label="")
    return _predicted(_loaded(run), place)


def _twin_path(out: Path) -> Path:
    """The wide twin that everything pretrained here has seen."""
    return out / "twin" / TWIN


def _twin_run(out: Path, seed: int, heads: str) -> Path:
    return out / "runs" / f"twin-{heads}-seed-{seed}"


def _pretrained_on_twin(out: Path, budget: Budget, seed: int, kinds: Sequence[str]) -> dict[str, Any]:
    """A row without numbers: one run for each kind, with the same backbone."""
    settings = [f"seed={seed}", f"model.width={budget.width}", f"epochs={budget.pretrain_epochs}"]
    settings.append(f"heads.epochs={budget.twin_head_epochs}")
    first = _twin_run(out, seed, kinds[0])
    config = preset("best", [*settings, *SETTINGS[kinds[0]]])
    workflows.pretrain_run([_twin_path(out)], first, config, resume=True, label="")
    for heads in kinds[1:]:
        run = _twin_run(out, seed, heads)
        if not run.exists():
            with new_directory(run) as place:
                draft = Path(place)
                shutil.copytree(first, draft, dirs_exist_ok=True)
                save_config(with_settings(config, SETTINGS[heads]), draft / "config.yaml")
    return {}


def _with_sites_run(out: Path, split: str, fold: int, seed: int) -> Path:
    return out / "runs" / f"twin-and-sites-{split}-{fold}-seed-{seed}"


def _pretrained_with_sites(out: Path, data: list[Path], split: str, fold: int, seed: int) -> dict[str, Any]:
    """A row without numbers: one more epoch on the twin and the sites' unlabelled training drives, and twin heads."""
    start, run = _twin_run(out, seed, "fused"), _with_sites_run(out, split, fold, seed)
    config = load_config(start / "config.yaml")
    inputs = config.inputs.model_copy(update={"normalise": "by-dataset"})  # a site has its own axes, scale and unit
    config = config.model_copy(
        update={
            "epochs": 1,
            "learning_rate": config.learning_rate / 2,
            "first_share": 1 - REAL_SHARE,
            "inputs": inputs,
        }
    )
    workflows.pretrain_run(
        [_twin_path(out), *data], run, config, split=split, fold=fold, resume=True, start=start, label=""
    )
    workflows.heads_run(run, [_twin_path(out)], resume=True, label="")
    return {}


def _parent(out: Path, place: Place, heads: str, backbone: str) -> Path:
    """The run whose heads are adapted at a place."""
    if heads == "fused" and backbone == "pretrained":
        return _with_sites_run(out, place.split, place.fold, place.seed)
    return _twin_run(out, place.seed, heads)


def _heads_on_twin(out: Path, place: Place, heads: str, backbone: str) -> dict[str, Any]:
    """Judged on drives of the twin that neither backbone nor heads have seen."""
    run = _twin_run(out, place.seed, heads)
    workflows.heads_run(run, [place.path], backbone=backbone, resume=True, label="")
    return _predicted(_loaded(run, backbone), place)


def _epochs(budget: Budget, share: float) -> int:
    """Epochs on a share of the real sequences: more passes where there is less to pass through."""
    if share == 0:
        return 0
    return round(budget.head_epochs * max(1.0, min(LARGEST_REPEAT, FULL_SHARE / share)))


def _adapted_row(out: Path, place: Place, budget: Budget, heads: str, backbone: str, share: float) -> dict[str, Any]:
    """Twin-trained heads on a frozen backbone, trained further on a share of the real training sequences.

    With a share of 0 they are used as they are: of the real drives only the statistics of the inputs are known.
    """
    parent = _parent(out, place, heads, backbone)
    if share == 0:
        store, split = place.load()
        check_not_trained_on(open_run(parent), store, split.parts["test"], parent)
        predictor = _loaded(parent, backbone)
        normalisers = Normalisers.fit(store, split.parts["train"], predictor.config.inputs)
        return _predicted(replace(predictor, normalisers=normalisers), place)
    run = out / "runs" / place.key(f"twin_{heads}_{backbone}_{share:g}")
    if not run.exists():
        workflows.adapt_run(
            parent,
            [place.path],
            run,
            fraction=share,
            settings=[f"heads.epochs={_epochs(budget, share)}", f"heads.batch_size={SITE_BATCH}"],
            split=place.split,
            fold=place.fold,
            seed=place.seed,
            backbone=backbone,
            label="",
        )
    return _predicted(_loaded(run, backbone), place)


def _rival_place(out: Path, seed: int) -> Path:
    return out / "runs" / f"twin-gru_cascade-seed-{seed}"


def _rival_on_twin(out: Path, place: Place, budget: Budget) -> dict[str, Any]:
    plan = replace(RIVAL_PLAN, epochs=budget.pretrain_epochs + budget.twin_head_epochs, batch_size=TWIN_BATCH)
    return pretrain_rival(_rival_place(out, place.seed), gathered(*place.load()), plan, place.seed)


def _rival_row(out: Path, place: Place, budget: Budget, share: float) -> dict[str, Any]:
    """`gru_cascade` pretrained on the same twin, then trained on the share of real sequences (0: not at all)."""
    store, split = place.load()
    samples = gathered(store, split.with_share(share or 1.0, place.seed))
    plan = replace(RIVAL_PLAN, epochs=_epochs(budget, share))
    return rival_row(_rival_place(out, place.seed), samples, plan, place.seed)


def _rival_alone_row(place: Place) -> dict[str, Any]:
    """`gru_cascade` of the site alone with the inputs of `best`: what they are worth without a twin and a backbone."""
    return rival_row(None, gathered(*place.load()), RIVAL_PLAN, place.seed)
