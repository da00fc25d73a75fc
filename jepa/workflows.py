"""What the commands do, as functions: pretrain, heads, finetune, baseline, predict, evaluate on run directories."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa.baselines import BASELINES, Baseline, InterpolationCeiling
from jepa.checkpoint import latest_step, load_checkpoint, save_checkpoint
from jepa.config import HeadConfig, PretrainConfig, load_config, save_config, with_settings
from jepa.evaluate import evaluate
from jepa.frames import FrameStore
from jepa.inputs import Normalisers, WindowInputs
from jepa.predict import Output, load_predictions, save_predictions
from jepa.predictor import (
    JepaPredictor,
    heads_are_whole,
    heads_directory,
    load_heads,
    save_heads,
    train_heads,
    trained_options,
)
from jepa.pretraining import check_config, load_backbone, pretrain
from jepa.representation import VIEWS, view_of
from jepa.runs import RunDescription, check_not_trained_on, create_run, open_run, write_description
from jepa.samples import Samples
from jepa.splits import PARTS, Split, make_split
from jepa.windows import T_OBS, Piece, Windows, cut_windows
from twin.errors import UserError
from twin.recording import new_directory

__all__ = [
    "adapt_run",
    "baseline_run",
    "evaluate_run",
    "heads_run",
    "pick_device",
    "predict_run",
    "pretrain_run",
    "split_for",
    "stored_output",
]

PREDICTED = ("val", "test")
"""Parts that are predicted unless others are named."""


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"no device {name!r} here", "--device", "use auto or cpu") from None
    return device


def pretrain_run(
    data: Sequence[Path],
    out: Path,
    config: PretrainConfig,
    *,
    split: str = "blocked",
    fold: int = 0,
    resume: bool = False,
    device: str = "auto",
    label: str = "pretraining",
) -> None:
    """Pretrain a backbone into a run directory; with `resume` go on where it stopped, or begin.

    Raises:
        UserError: the data, the configuration or the directory do not allow it.
    """
    place = pick_device(device)
    check_config(config)
    store = FrameStore.load(data, place, config.inputs.modalities)
    parts = make_split(store, split, fold, config.seed)
    if resume and (out / "config.yaml").exists():
        _same_config(load_config(out / "config.yaml"), config, out)
    description = RunDescription.of("model", "jepa", store, parts, seed=config.seed)
    normalisers = Normalisers.fit(store, parts.parts["train"], config.inputs)
    frames = normalisers.frames(store)
    with _gone_without_checkpoint(out):
        create_run(out, description, resume)
        parts.save(out / "split.json")
        normalisers.save(out / "stats.json")
        save_config(config, out / "config.yaml")
        pretrain(
            WindowInputs(frames, parts.parts["train"].index),
            config,
            probe=WindowInputs(frames, parts.parts["val"].index),
            run=out,
            resume=resume,
            device=place,
            label=label,
        )


@contextmanager
def _gone_without_checkpoint(run: Path) -> Iterator[None]:
    """A run that is new and fails before its first checkpoint leaves nothing; later there is something to resume."""
    made = [path for path in (run, *run.absolute().parents) if not path.exists()]
    try:
        yield
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(run)
        if made and latest_step(run / "checkpoints") is None:
            shutil.rmtree(run, ignore_errors=True)
            with suppress(OSError):
                for parent in made[1:]:
                    parent.rmdir()
        raise


def _same_config(stored: PretrainConfig, wanted: PretrainConfig, run: Path) -> None:
    old, new = stored.model_dump(), wanted.model_dump()
    differing = sorted(name for name in new if old[name] != new[name])
    if differing:
        what = f"was made with preset {stored.preset}" if stored.preset != wanted.preset else "was made otherwise"
        raise UserError(
            f"{what} (differs in {', '.join(differing)})", run, "resume with what it began with, or another --out"
        )


def heads_run(
    run: Path,
    data: Sequence[Path],
    *,
    settings: Sequence[str] = (),
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    resume: bool = False,
    replace: bool = False,
    device: str = "auto",
    label: str = "heads",
) -> None:
    """Train the heads on the frozen backbone of a run, on the training part of `data` under the run's split.

    Raises:
        UserError: the heads are there already, or the run or the data do not allow it.
    """
    place = pick_device(device)
    description, made_with = _model_run(run)
    config = _for_heads(made_with, settings, backbone, tuple(missing))
    directory = heads_directory(run, config.heads)
    if directory.exists() and not replace:
        if not resume:
            raise UserError("the heads are trained already", directory, "use --replace, or --resume to go on")
        if (directory / "config.yaml").exists():
            _same_config(load_config(directory / "config.yaml"), config, directory)
        if heads_are_whole(directory):
            return
    store = FrameStore.load(data, place, made_with.inputs.modalities)
    parts = description.split_of(store)
    normalisers = Normalisers.load(run / "stats.json")
    # a random backbone is drawn from the seed that the run began with
    model = load_backbone(run, made_with, config.heads.backbone, place)
    if directory.exists() and replace:
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_config(config, directory / "config.yaml")
    heads = train_heads(
        model,
        store,
        parts.parts["train"],
        parts.parts["val"],
        normalisers,
        config,
        run=directory,
        resume=resume,
        label=label,
    )
    _note_trained(run, description, store, parts)
    save_heads(heads, run)
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    if directory == heads_directory(run, HeadConfig()):
        shutil.rmtree(run / "predictions", ignore_errors=True)  # they are of other heads


def _model_run(run: Path) -> tuple[RunDescription, PretrainConfig]:
    description = open_run(run)
    if description.kind != "model":
        raise UserError(f"is a run of the baseline {description.name}", run, "name a run of jepa pretrain")
    return description, load_config(run / "config.yaml")


def _for_heads(
    config: PretrainConfig, settings: Sequence[str], backbone: str, missing: tuple[str, ...]
) -> PretrainConfig:
    """The configuration with settings of the heads alone: the backbone is made."""
    for setting in settings:
        key = setting.partition("=")[0]
        if key in ("heads.backbone", "heads.missing"):
            raise UserError(f"{key} is an option of its own", "--set", f"use --{key.removeprefix('heads.')}")
        if key != "seed" and not key.startswith("heads."):
            with_settings(config, [setting])  # names an unknown key first
            raise UserError(f"{key} belongs to the backbone, which is trained", "--set", "set heads.* keys here")
    chosen = [*settings, f"heads.backbone={backbone}", f"heads.missing=[{', '.join(missing)}]"]
    configured = with_settings(config, chosen)
    check_config(configured)
    unknown = set(missing) - set(config.inputs.modalities)
    if set(missing) >= set(config.inputs.modalities):
        raise UserError("every modality is missing", "--missing", "leave one")
    if unknown:
        raise UserError(
            f"no modality {sorted(unknown)[0]!r} in this run",
            "--missing",
            f"choose from {', '.join(config.inputs.modalities)}",
        )
    return configured


def _note_trained(run: Path, description: RunDescription, store: FrameStore, parts: Split) -> None:
    """Add the training part to `run.json`, so that nobody evaluates on it."""
    extra = RunDescription.of("model", description.name, store, parts, seed=description.seed).trained
    known = set(description.trained)
    new = [piece for piece in extra if piece not in known]
    datasets = description.datasets | {dataset.name: dataset.hash for dataset in store.datasets}
    if new or datasets != description.datasets:
        write_description(
            run, description.model_copy(update={"trained": description.trained + new, "datasets": datasets})
        )


def adapt_run(
    run: Path,
    data: Sequence[Path],
    out: Path,
    *,
    fraction: float = 1.0,
    settings: Sequence[str] = (),
    split: str = "blocked",
    fold: int = 0,
    seed: int | None = None,
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    device: str = "auto",
    label: str = "adapting",
) -> None:
    """Train the heads of a run further on a share of the training sequences of other data, into a run of its own.

    The backbone stays frozen; the statistics are those of the new training part.

    Raises:
        UserError: `out` exists, or the run or the data do not allow it.
    """
    if out.exists():
        raise UserError("exists", out, "choose another --out")
    place = pick_device(device)
    description, parent_config = _model_run(run)
    config = parent_config.model_copy(update={"heads": trained_options(run, parent_config, backbone, tuple(missing))})
    config = _for_heads(config, settings, backbone, tuple(missing))
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    store = FrameStore.load(data, place, config.inputs.modalities)
    parts = make_split(store, split, fold, config.seed).with_share(fraction, config.seed)
    normalisers = Normalisers.fit(store, parts.parts["train"], config.inputs)
    # a random backbone is drawn from the seed that the parent began with
    model = load_backbone(run, parent_config, config.heads.backbone, place)
    start = load_heads(run, model, config.heads)
    _same_heads(start.config, config.heads, run)
    start.config = config.heads
    heads = train_heads(
        model, store, parts.parts["train"], parts.parts["val"], normalisers, config, start=start, label=label
    )
    made = RunDescription.of(
        "model",
        description.name,
        store,
        parts,
        seed=config.seed,
        fraction=fraction,
        parent=description,
        parent_path=str(run),
    )
    tensors, numbers = load_checkpoint(run / "checkpoints")
    kept = {name: values for name, values in tensors.items() if name.startswith("model.")}
    with new_directory(out) as place_of_draft:
        draft = Path(place_of_draft)
        save_checkpoint(draft / "checkpoints", int(numbers["step"]), kept, {})
        save_config(config.model_copy(update={"seed": parent_config.seed}), draft / "config.yaml")
        parts.save(draft / "split.json")
        normalisers.save(draft / "stats.json")
        write_description(draft, made)
        save_heads(heads, draft)


SHAPE_OF_HEADS = ("readout", "width", "skip", "gated", "coarse_beam", "relative_power")
"""Options that decide which weights the heads have."""


def _same_heads(stored: HeadConfig, wanted: HeadConfig, run: Path) -> None:
    for name in SHAPE_OF_HEADS:
        if getattr(stored, name) != getattr(wanted, name):
            raise UserError(
                f"its heads were made with {name} {getattr(stored, name)}", run, f"leave heads.{name} as it is"
            )


def baseline_run(
    name: str,
    data: Sequence[Path],
    out: Path,
    *,
    split: str = "blocked",
    fold: int = 0,
    seed: int = 0,
    fraction: float = 1.0,
    parts: Sequence[str] = PREDICTED,
    make: Callable[[], Baseline] | None = None,
) -> None:
    """Fit a baseline and write its predictions into a run directory.

    Args:
        make: another maker of the baseline, one that starts from weights fitted elsewhere, say.

    Raises:
        UserError: no such baseline, or `out` exists.
    """
    if make is None and name not in BASELINES and name != InterpolationCeiling.name:
        known = ", ".join([*BASELINES, InterpolationCeiling.name])
        raise UserError(f"unknown baseline {name!r}", "jepa baseline", f"choose from {known}")
    if out.exists():
        raise UserError("exists", out, "choose another --out")
    store = FrameStore.load(data, "cpu")
    divided = make_split(store, split, fold, seed).with_share(fraction, seed)
    if name == InterpolationCeiling.name:
        ceiling = InterpolationCeiling()
        ceiling.fit(store, divided.parts["train"], divided.parts["val"])
        outputs = {part: ceiling.predict(store, divided.parts[part]) for part in _some(divided, parts)}
    else:
        baseline = (make or BASELINES[name])()
        baseline.label = name
        samples = {part: Samples.gather(store, windows) for part, windows in divided.parts.items()}
        baseline.fit(samples["train"], samples["val"], seed)
        outputs = {part: baseline.predict(samples[part].history) for part in _some(divided, parts)}
    with new_directory(out) as place_of_draft:
        draft = Path(place_of_draft)
        divided.save(draft / "split.json")
        write_description(draft, RunDescription.of("baseline", name, store, divided, seed=seed, fraction=fraction))
        save_predictions(draft, name, store, divided, outputs)


def _some(split: Split, parts: Sequence[str]) -> list[str]:
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise UserError(f"no part {sorted(unknown)[0]!r}", "--split", f"choose from {', '.join(PARTS)}")
    return [part for part in parts if len(split.parts[part])]


def split_for(description: RunDescription, store: FrameStore) -> Split:
    """The run's split of a store; of recordings that the run never saw, everything is test.

    Raises:
        UserError: some datasets are those of the run and others are not, or there is no window.
    """
    trained = {piece.content_hash for piece in description.trained}
    own = {episode.dataset for episode in store.episodes if episode.content_hash in trained}
    if description.split != "leave-one-scenario-out":  # which never saw the dataset that it holds out
        made_with = description.datasets.values()
        own |= {number for number, dataset in enumerate(store.datasets) if dataset.hash in made_with}
        strange = [dataset for number, dataset in enumerate(store.datasets) if number not in own]
        if own and strange:
            raise UserError(
                "the run never saw it, but saw others named beside it", strange[0].path, "name it in a call of its own"
            )
    if own:
        return description.split_of(store)
    pieces = [Piece(number, 0, episode.frames) for number, episode in enumerate(store.episodes)]
    windows = cut_windows(store, pieces)
    if not len(windows):
        raise UserError("holds no window", store.datasets[0].path, "use longer sequences")
    empty = windows.select(torch.arange(0, device=windows.index.device))
    return Split("unseen", 0, 0, {"train": empty, "val": empty, "test": windows}, {part: [] for part in PARTS})


def predict_run(
    run: Path,
    data: Sequence[Path],
    *,
    parts: Sequence[str] = PREDICTED,
    device: str = "auto",
    predictor: JepaPredictor | None = None,
) -> int:
    """Write the predictions of a run for `data` beside it, replacing older ones; returns the number of episodes.

    Raises:
        UserError: the run or the data do not allow it.
    """
    description, config = _model_run(run)
    place = pick_device(device)
    store = FrameStore.load(data, place, config.inputs.modalities)
    split = split_for(description, store)
    predictor = predictor or JepaPredictor.load(run, place)
    for part in set(_some(split, parts)) - {"train"}:
        check_not_trained_on(description, store, split.parts[part], run)
    outputs = {part: predictor.predict(store, split.parts[part]) for part in _some(split, parts)}
    if not outputs:
        raise UserError(f"hold no window of {' or '.join(parts)}", "the recordings", "choose another --split")
    draft = run / f".predictions.{os.getpid()}"
    try:
        written = save_predictions(draft, description.name, store, split, outputs)
        _replace_predictions(run / "predictions", draft / "predictions")
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written


def _replace_predictions(kept: Path, made: Path) -> None:
    """Move new predictions in the place of those for the same datasets."""
    try:
        kept.mkdir(exist_ok=True)
        for dataset in made.iterdir():
            shutil.rmtree(kept / dataset.name, ignore_errors=True)
            dataset.rename(kept / dataset.name)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise UserError(
            "is no directory, or another command writes there", kept, "remove it, or wait and predict again"
        ) from None


def evaluate_run(
    run: Path,
    data: Sequence[Path],
    *,
    part: str = "test",
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """The evaluation object of a run on a part of `data`.

    A model predicts anew; of a baseline the stored predictions are read.

    Raises:
        UserError: it was trained on them, or they do not allow it.
    """
    description = open_run(run)
    place = pick_device(device)
    if description.kind == "baseline":
        store = FrameStore.load(data, place)
    else:
        store = FrameStore.load(data, place, load_config(run / "config.yaml").inputs.modalities)
    split = split_for(description, store)
    if part not in PARTS:
        raise UserError(f"no part {part!r}", "--split", f"choose from {', '.join(PARTS)}")
    windows = split.parts[part]
    if not len(windows):
        raise UserError(f"the {part} part holds no window", "--split", "choose another part")
    check_not_trained_on(description, store, windows, run)
    views = None
    if description.kind == "baseline":
        output = stored_output(run, store, windows)
    else:
        predictor = JepaPredictor.load(run, place, backbone=backbone, missing=tuple(missing))
        output = predictor.predict(store, windows)
        views = _latent_views(predictor, store, windows)
    report = evaluate(output, Samples.gather(store, windows), part, split.protocol, views=views)
    return {**report, "left_out": {"invalid": windows.invalid, "short": windows.short}}


def _latent_views(predictor: JepaPredictor, store: FrameStore, windows: Windows) -> np.ndarray:
    """Latents of augmented views of the windows, pooled over each."""
    found = []
    for number in range(VIEWS):
        latent = predictor.predict(store, windows, partial(view_of, number=number)).latent
        assert latent is not None
        found.append(latent.mean(1))
    return np.stack(found, 1)


def stored_output(run: Path, store: FrameStore, windows: Windows) -> Output:
    """The stored predictions of a run for some windows.

    Raises:
        UserError: they are not there.
    """
    count = len(windows)
    found = [np.full((count, 5, channels), np.nan, np.float32) for channels in (2, 64, 64)]
    for number in torch.unique(windows.episode).tolist():
        episode = store.episodes[number]
        path = run / "predictions" / store.datasets[episode.dataset].hash / episode.name
        predictions = load_predictions(path)
        rows = torch.nonzero(windows.episode == number)[:, 0].cpu().numpy()
        t = windows.index[rows, T_OBS - 1].cpu().numpy() - episode.start
        place = np.searchsorted(predictions.t, t)
        if (place >= len(predictions.t)).any() or (predictions.t[np.minimum(place, len(predictions.t) - 1)] != t).any():
            raise UserError("does not hold all windows asked for", path, "predict this part as well")
        output = predictions.output
        for kept, values in zip(found, (output.trajectory_m, output.beam_logits, output.spectrum_db), strict=True):
            kept[rows] = values[place]
    return Output(*found)
