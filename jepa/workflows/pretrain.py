"""`jepa pretrain`: a backbone into a run directory, with its heads where the paradigm is supervised."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from jepa.backbone.features import with_camera_features
from jepa.backbone.model import JepaModel
from jepa.config import PretrainConfig, load_config, save_config
from jepa.config_checks import check_config, check_unread
from jepa.data.augment import Augmentation
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, WindowInputs, balanced
from jepa.data.splits import Split, make_split
from jepa.data.windows import Windows, complete_windows, dataset_of_windows
from jepa.heads.training import HeadData
from jepa.paradigms.pretraining import load_backbone, pretrain
from jepa.paradigms.supervised import check_supervised, train_supervised
from jepa.runs.directory import RunDescription, create_run, open_run
from jepa.runs.heads import save_heads
from jepa.training.checkpoint import latest_step
from jepa.training.parallel import Processes, joined, local_device
from jepa.workflows.configuration import check_same_config, model_run
from jepa.workflows.devices import pick_device
from jepa.workflows.loading import training_windows
from twin.errors import UserError

__all__ = ["pretrain_run"]

PROBED_DRIVES = 2
"""Drives of validation from which on they are watched for collapse in place of the training part."""


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
    start: Path | None = None,
    store: FrameStore | None = None,
) -> None:
    """Pretrain a backbone into a run directory; with `resume` go on where it stopped, or begin.

    A supervised paradigm trains its heads with it: the run is complete. Processes that `torchrun` started train
    together, with any number of them in any part of a run.

    Args:
        start: a run whose backbone is trained further, under new heads where they are trained with it; random weights
            without.
        store: the frames of `data` as `load_frames` gives them, where they are there already.

    Raises:
        UserError: the data, the configuration or the directory do not allow it.
    """
    place = pick_device(local_device(device))
    with joined(place) as processes:
        _check_request(config, out, resume, processes)
        modalities, side = config.inputs.modalities, config.inputs.image_size
        given = store
        loaded = processes.together(lambda: given or FrameStore.load(data, place, modalities, side))
        parts = make_split(loaded, split, fold, config.seed)
        train = training_windows(loaded, parts.parts["train"], config)
        begun = _backbone_of(start, config, place) if start else None
        if config.first_share:
            train = train.select(balanced(dataset_of_windows(loaded, train), config.first_share))
        normalisers = processes.by_first(lambda: Normalisers.fit(loaded, train, config.inputs))
        augmentation = Augmentation.of(config.augment, loaded, train, normalisers)
        with _gone_without_checkpoint(out) if processes.is_first else nullcontext():
            processes.by_first(lambda: _begin(out, loaded, parts, normalisers, config, start, resume))
            frames = normalisers.frames(
                processes.in_turn(lambda: with_camera_features(loaded, config, out / "features"))
            )
            watched = _watched(loaded, parts, train, modalities)
            windows, probe = (WindowInputs(frames, some.index, place) for some in (train, watched))
            going: Any = {"run": out, "resume": resume, "device": place, "label": label, "start": begun, "probe": probe}
            if config.supervised:
                truth = HeadData.of(windows, loaded, train, normalisers)
                save_heads(train_supervised(windows, truth, normalisers, config, **going).heads, out)
            else:
                pretrain(windows, config, **going, augmentation=augmentation, processes=processes)


def _check_request(config: PretrainConfig, out: Path, resume: bool, processes: Processes) -> None:
    """Refuse, before anything is read, what cannot be trained.

    Raises:
        UserError: the configuration contradicts itself, the processes, or the run that is resumed.
    """
    check_config(config)
    if config.supervised:
        check_supervised(config)
    else:
        check_unread(config)
    processes.check_batch(config.batch_size)
    if config.supervised and processes.world > 1:
        raise UserError(f"the paradigm {config.paradigm} trains in one process", "torchrun", "start it without")
    if resume and (out / "config.yaml").exists():
        check_same_config(load_config(out / "config.yaml"), config, out)


def _watched(store: FrameStore, parts: Split, train: Windows, modalities: Sequence[str]) -> Windows:
    """Windows that are watched for collapse: of validation, where that has enough drives."""
    val = complete_windows(store, parts.parts["val"], modalities)
    return val if len(torch.unique(val.episode)) >= PROBED_DRIVES else train


def _begin(
    out: Path,
    store: FrameStore,
    parts: Split,
    normalisers: Normalisers,
    config: PretrainConfig,
    start: Path | None,
    resume: bool,
) -> None:
    """The directory of the run, with all that is known before it is trained."""
    described = RunDescription.of(
        "model",
        config.paradigm,
        store,
        parts,
        seed=config.seed,
        parent=open_run(start) if start else None,
        parent_path=str(start) if start else None,
    )
    create_run(out, described, resume)
    parts.save(out / "split.json")
    normalisers.save(out / "stats.json")
    save_config(config, out / "config.yaml")


def _backbone_of(run: Path, config: PretrainConfig, device: torch.device) -> JepaModel:
    """The backbone of a run, to be trained further as `config` says.

    Raises:
        UserError: it is of another shape.
    """
    _, made_with = model_run(run)
    for name in ("paradigm", "model"):
        if getattr(made_with, name) != getattr(config, name):
            raise UserError(f"its {name} is another", run, "start from a run with the same model.* settings")
    if made_with.inputs.modalities != config.inputs.modalities:
        raise UserError("it reads other modalities", run, "set inputs.modalities as it has them")
    if len(made_with.objective.target_levels) != len(config.objective.target_levels):
        raise UserError("it predicts other levels", run, "set objective.target_levels as it has them")
    return load_backbone(run, made_with, device=device)


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
