"""`jepa heads`: heads on the frozen backbone of a run."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from jepa.config import HeadConfig, load_config, save_config
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers
from jepa.data.splits import Split
from jepa.heads.training import train_heads
from jepa.paradigms.pretraining import load_backbone
from jepa.runs.directory import RunDescription, write_description
from jepa.runs.heads import heads_are_whole, heads_directory, save_heads
from jepa.workflows.configuration import check_same_config, heads_config, model_run
from jepa.workflows.devices import pick_device
from jepa.workflows.loading import load_frames, training_windows, whole_windows
from jepa.workflows.stored_predictions import model_label, remove_predictions
from twin.errors import UserError

__all__ = ["heads_run"]


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
    store: FrameStore | None = None,
) -> HeadConfig:
    """Train the heads on the frozen backbone of a run, on the training part of `data` under the run's split;
    returns the options of the heads.

    Args:
        settings: `key=value` of the heads (`heads.*`), or the seed.
        backbone: pretrained, or a control: random (weights), zeroed (output).
        missing: modalities that the heads are trained without.
        resume: go on where training stopped; heads that are whole stay.
        replace: train new ones in the place of those that are there.
        store: the frames of `data` as `load_frames` gives them, where they are there already.

    Raises:
        UserError: the heads are there already, or the run or the data do not allow it.
    """
    place = pick_device(device)
    description, made_with = model_run(run)
    if made_with.supervised:
        raise UserError(
            f"was trained with its heads (paradigm {made_with.paradigm})",
            run,
            "evaluate it, or end it with jepa pretrain --resume",
        )
    config = heads_config(made_with, settings, backbone, tuple(missing))
    directory = heads_directory(run, config.heads)
    if directory.exists() and not replace:
        if not resume:
            raise UserError("the heads are trained already", directory, "use --replace, or --resume to go on")
        if (directory / "config.yaml").exists():
            check_same_config(load_config(directory / "config.yaml"), config, directory)
        if heads_are_whole(directory):
            return config.heads
    # a random backbone is drawn from the seed that the run began with
    model = load_backbone(run, made_with, config.heads.backbone, place)
    store = store or load_frames(data, place, config, run, model)
    parts = description.split_of(store).with_share(description.fraction, description.seed)
    normalisers = Normalisers.load(run / "stats.json")
    with _in_place_of(directory) if directory.exists() and replace else nullcontext(run) as root:
        draft = heads_directory(root, config.heads)
        draft.mkdir(parents=True, exist_ok=True)
        save_config(config, draft / "config.yaml")
        heads = train_heads(
            model,
            store,
            training_windows(store, parts.parts["train"], config),
            whole_windows(store, parts.parts["val"], config),
            normalisers,
            config,
            run=draft,
            resume=resume,
            label=label,
        )
        _note_trained(run, description, store, parts)
        save_heads(heads, root)
        shutil.rmtree(draft / "checkpoints", ignore_errors=True)
    remove_predictions(run, model_label(description.name, config.heads, made_with))  # they are of other heads
    return config.heads


@contextmanager
def _in_place_of(directory: Path) -> Iterator[Path]:
    """Where new heads are written before they take the place of a directory: those that are there stay until then."""
    root = directory.parent / ".replacing"
    shutil.rmtree(root, ignore_errors=True)  # of a run that was killed
    try:
        yield root
        shutil.rmtree(directory)
        (root / directory.name).rename(directory)
    finally:
        shutil.rmtree(root, ignore_errors=True)


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
