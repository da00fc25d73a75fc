"""The heads of a run on disk: one directory for each way to train them, in it one a task."""

from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from jepa.backbone.model import JepaModel
from jepa.config import HeadConfig, PretrainConfig
from jepa.heads.network import Heads
from jepa.training.checkpoint import load_tensors, save_tensors
from twin.errors import UserError

__all__ = ["chosen_heads", "heads_are_whole", "heads_directory", "load_heads", "save_heads", "trained_options"]

PARTS = ("localization", "beam", "rssi", "estimate")
"""Directories of trained heads, in the order in which they are written."""
SHARED = "estimate"
"""The directory of what the heads share: coarse estimates."""
ALSO_SHARED = ("skip.", "displacement.", "linear.", "spectrum_gain")
"""What lies there as well, where there is any: the GRU over the raw history, the fitted motion, linear
paths, the weight of the spectrum in the logits."""


def heads_directory(run: Path, config: HeadConfig) -> Path:
    """Where the heads of a run lie: `heads`, or with control, missing modalities or `no-cascade` in its name."""
    parts = ["heads"]
    if config.backbone != "pretrained":
        parts.append(config.backbone)
    if config.missing:
        parts.append("without-" + "-".join(sorted(config.missing)))
    if not config.cascade:
        parts.append("no-cascade")
    return run / "-".join(parts)


def chosen_heads(
    config: PretrainConfig, backbone: str = "pretrained", missing: tuple[str, ...] = (), cascade: bool | None = None
) -> HeadConfig:
    """The options by which some heads of a run are found; the cascade is that of its configuration unless given.

    Raises:
        UserError: no such backbone.
    """
    known = get_args(HeadConfig.model_fields["backbone"].annotation)
    if backbone not in known:
        raise UserError(f"unknown backbone {backbone!r}", "--backbone", f"choose from {', '.join(known)}")
    wanted = {"backbone": backbone, "missing": missing}
    return config.heads.model_copy(update=wanted if cascade is None else {**wanted, "cascade": cascade})


def heads_are_whole(directory: Path) -> bool:
    """Whether the heads in a directory were written to the end."""
    return (directory / PARTS[-1]).is_dir()


def save_heads(heads: Heads, run: Path) -> None:
    """Write one directory a task, each with the heads' options."""
    directory = heads_directory(run, heads.config)
    state = heads.state_dict()
    for part in PARTS:
        prefixes = (f"{part}.", f"readouts.{part}.", *(ALSO_SHARED if part == SHARED else ()))
        tensors = {name: values for name, values in state.items() if name.startswith(prefixes)}
        save_tensors(directory / part, tensors, {"options": heads.config.model_dump(mode="json")})


def trained_options(
    run: Path, config: PretrainConfig, backbone: str, missing: tuple[str, ...], cascade: bool | None = None
) -> HeadConfig:
    """The options that the heads of a run were trained with.

    Raises:
        UserError: there are none, they are damaged, or there is no such backbone.
    """
    directory = heads_directory(run, chosen_heads(config, backbone, missing, cascade))
    if not directory.is_dir():
        raise UserError("holds no heads", directory, "train them with jepa heads")
    _, numbers = load_tensors(directory / PARTS[-1])
    return HeadConfig.model_validate(numbers["options"])


def load_heads(run: Path, model: JepaModel, config: HeadConfig) -> Heads:
    """The heads that `save_heads` wrote.

    Raises:
        UserError: there are none, or they are damaged or of another model.
    """
    directory = heads_directory(run, config)
    if not directory.is_dir():
        raise UserError("holds no heads", directory, "train them with jepa heads")
    state: dict[str, Tensor] = {}
    options: dict[str, Any] = {}
    for part in PARTS:
        tensors, numbers = load_tensors(directory / part)
        state |= tensors
        options = numbers["options"]
    heads = Heads(model.layout, model.width, HeadConfig.model_validate(options))
    try:
        heads.load_state_dict(state)
    except RuntimeError:
        raise UserError("its heads are of another model", directory, "train them again with jepa heads") from None
    return heads.to(next(model.parameters()).device).eval()
