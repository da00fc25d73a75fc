"""`jepa finetune`: the heads of a run trained further on other data, into a run of their own."""

from collections.abc import Sequence
from pathlib import Path

from jepa.backbone.model import JepaModel
from jepa.config import HeadConfig, save_config
from jepa.data.inputs import Normalisers
from jepa.data.splits import make_split
from jepa.heads.training import train_heads
from jepa.paradigms.pretraining import load_backbone
from jepa.runs.directory import RunDescription, write_description
from jepa.runs.heads import load_heads, save_heads, trained_options
from jepa.training.checkpoint import load_checkpoint, save_checkpoint
from jepa.workflows.configuration import heads_config, model_run
from jepa.workflows.devices import pick_device
from jepa.workflows.loading import load_frames, training_windows, whole_windows
from twin.errors import UserError
from twin.recording import new_directory

__all__ = ["adapt_run"]

SHAPE_OF_HEADS = (
    "readout",
    "cascade",
    "width",
    "skip",
    "gated",
    "coarse_beam",
    "coarse_trajectory",
    "linear",
    "spectrum_in_logits",
    "relative_power",
)
"""Options that decide which weights the heads have."""


def adapt_run(
    run: Path,
    data: Sequence[Path],
    out: Path,
    *,
    fraction: float = 1.0,
    drives: int | None = None,
    steps: int | None = None,
    unfreeze: bool = False,
    settings: Sequence[str] = (),
    split: str = "blocked",
    fold: int = 0,
    seed: int | None = None,
    backbone: str = "pretrained",
    missing: Sequence[str] = (),
    cascade: bool | None = None,
    device: str = "auto",
    label: str = "adapting",
) -> None:
    """Train the heads of a run further on some training sequences of other data, into a run of its own.

    The backbone stays frozen unless it is trained along; the statistics are those of the new training part.

    Args:
        fraction: share of the training sequences.
        drives: their number, in place of a share.
        steps: optimiser steps, in place of epochs: the same for few drives and for many.
        unfreeze: train the backbone along, by `heads.backbone_learning_rate`.
        cascade: the run's heads with the cascade, or those without; as its configuration says unless given.

    Raises:
        UserError: `out` exists, or the run or the data do not allow it.
    """
    if out.exists():
        raise UserError("exists", out, "choose another --out")
    _check_amounts(fraction, drives, steps, settings)
    place = pick_device(device)
    description, parent_config = model_run(run)
    trained = trained_options(run, parent_config, backbone, tuple(missing), cascade)
    trained = trained.model_copy(update={"steps": steps})
    config = parent_config.model_copy(update={"heads": trained})
    config = heads_config(config, settings, backbone, tuple(missing), unfreeze)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    # a random backbone is drawn from the seed that the parent began with
    model = load_backbone(run, parent_config, config.heads.backbone, place)
    store = load_frames(data, place, config, run, model)
    parts = make_split(store, split, fold, config.seed)
    there = parts.drives
    parts = parts.with_share(fraction, config.seed) if drives is None else parts.with_drives(drives, config.seed)
    train = training_windows(store, parts.parts["train"], config)
    val = whole_windows(store, parts.parts["val"], config)
    normalisers = Normalisers.fit(store, train, config.inputs)
    start = load_heads(run, model, config.heads)
    _same_heads(start.config, config.heads, run)
    start.config = config.heads
    heads = train_heads(model, store, train, val, normalisers, config, start=start, label=label)
    made = RunDescription.of(
        "model",
        description.name,
        store,
        parts,
        seed=config.seed,
        fraction=fraction if drives is None else drives / there,
        parent=description,
        parent_path=str(run),
    )
    with new_directory(out) as place_of_draft:
        draft = Path(place_of_draft)
        _save_backbone(run, draft, model if unfreeze else None)
        save_config(config.model_copy(update={"seed": parent_config.seed}), draft / "config.yaml")
        parts.save(draft / "split.json")
        normalisers.save(draft / "stats.json")
        write_description(draft, made)
        save_heads(heads, draft)


def _check_amounts(fraction: float, drives: int | None, steps: int | None, settings: Sequence[str]) -> None:
    """Refuse two answers to how much is trained on, or for how long."""
    if drives is not None and fraction != 1.0:
        raise UserError("says how much to train on, and so does --fraction", "--drives", "give one of them")
    if steps is not None and any(setting.startswith("heads.epochs=") for setting in settings):
        raise UserError("says how long to train, and so does heads.epochs", "--steps", "give one of them")


def _save_backbone(run: Path, draft: Path, trained: JepaModel | None) -> None:
    """Keep the backbone of a run, or one that was trained along, without its optimiser."""
    tensors, numbers = load_checkpoint(run / "checkpoints")
    kept = {name: values for name, values in tensors.items() if name.startswith("model.")}
    if trained is not None:
        kept = {f"model.{name}": values for name, values in trained.state_dict().items()}
    save_checkpoint(draft / "checkpoints", int(numbers["step"]), kept, {})


def _same_heads(stored: HeadConfig, wanted: HeadConfig, run: Path) -> None:
    for name in SHAPE_OF_HEADS:
        if getattr(stored, name) != getattr(wanted, name):
            raise UserError(
                f"its heads were made with {name} {getattr(stored, name)}", run, f"leave heads.{name} as it is"
            )
