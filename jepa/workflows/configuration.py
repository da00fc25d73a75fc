"""What a run of a model was made with: read again, the same on resume, and what its heads may change of it."""

from collections.abc import Sequence
from pathlib import Path

from jepa.config import HeadConfig, PretrainConfig, load_config, with_settings
from jepa.config_checks import check_config, check_missing, check_unread
from jepa.runs.directory import RunDescription, open_run
from twin.errors import UserError

__all__ = ["check_same_config", "heads_config", "heads_options", "model_run"]

UNFROZEN_LEARNING_RATE = 1e-4
"""Of a backbone that is trained along with its heads: a tenth of theirs."""


def model_run(run: Path) -> tuple[RunDescription, PretrainConfig]:
    """The description and the configuration of a run of `jepa pretrain` or `jepa finetune`.

    Raises:
        UserError: it is no run, or that of a baseline.
    """
    description = open_run(run)
    if description.kind != "model":
        raise UserError(f"is a run of the baseline {description.name}", run, "name a run of jepa pretrain")
    return description, load_config(run / "config.yaml")


def check_same_config(stored: PretrainConfig, wanted: PretrainConfig, run: Path) -> None:
    """Ensure that a run goes on with what it began with.

    Raises:
        UserError: the configurations differ; it says in what.
    """
    old, new = stored.model_dump(), wanted.model_dump()
    differing = sorted(name for name in new if old[name] != new[name])
    if differing:
        what = f"was made with preset {stored.preset}" if stored.preset != wanted.preset else "was made otherwise"
        raise UserError(
            f"{what} (differs in {', '.join(differing)})", run, "resume with what it began with, or another --out"
        )


def heads_options(heads: HeadConfig, config: PretrainConfig) -> list[str]:
    """The options of a command that choose these heads of a run with that configuration."""
    found = [] if heads.backbone == "pretrained" else ["--backbone", heads.backbone]
    for name in heads.missing:
        found += ["--missing", name]
    if heads.cascade != config.heads.cascade:
        found.append("--cascade" if heads.cascade else "--no-cascade")
    return found


def heads_config(
    config: PretrainConfig,
    settings: Sequence[str],
    backbone: str,
    missing: tuple[str, ...],
    unfreeze: bool = False,
) -> PretrainConfig:
    """The configuration with settings of the heads alone: the backbone is made. Unfrozen, it is trained along.

    Raises:
        UserError: a setting belongs to the backbone or is an option of its own, or options contradict each other.
    """
    if unfreeze and backbone != "pretrained":
        raise UserError(f"trains a pretrained backbone along, not a {backbone} one", "--unfreeze", "drop --backbone")
    for setting in settings:
        key = setting.partition("=")[0]
        if key == "heads.backbone_learning_rate" and not unfreeze:
            raise UserError(f"{key} trains the backbone, which is frozen", "--set", "use jepa finetune --unfreeze")
        if key in ("heads.backbone", "heads.missing"):
            raise UserError(f"{key} is an option of its own", "--set", f"use --{key.removeprefix('heads.')}")
        if key != "seed" and not key.startswith("heads."):
            with_settings(config, [setting])  # names an unknown key first
            raise UserError(f"{key} belongs to the backbone, which is trained", "--set", "set heads.* keys here")
    first = [f"heads.backbone_learning_rate={UNFROZEN_LEARNING_RATE if unfreeze else 'null'}"]
    if any(setting.startswith("heads.epochs=") for setting in settings):
        first.append("heads.steps=null")  # of an earlier training
    chosen = [*first, *settings, f"heads.backbone={backbone}", f"heads.missing=[{', '.join(missing)}]"]
    configured = with_settings(config, chosen)
    if unfreeze and configured.heads.backbone_learning_rate is None:
        what = "is null, which freezes the backbone that --unfreeze trains"
        raise UserError(what, "heads.backbone_learning_rate", "give a rate, or drop --unfreeze")
    check_config(configured)
    check_unread(configured, config)
    check_missing(configured, "--missing")
    return configured
