"""Configurations that contradict themselves, refused in one line before anything is written."""

from collections.abc import Iterator

import torch

from jepa.backbone.model import JepaModel
from jepa.config import AugmentConfig, MaskConfig, ObjectiveConfig, PretrainConfig, preset
from jepa.data.inputs import SMALL
from jepa.data.preprocess import FITTED
from jepa.heads.displacement import DISPLACEMENTS
from jepa.heads.network import READOUT_HEADS
from jepa.tokens.masking import draw_mask
from jepa.tokens.tokenizers import Layout
from twin.errors import UserError

__all__ = ["check_config", "check_missing", "check_unread"]

UNREAD_BY_RECONSTRUCTION = tuple(f"objective.{name}" for name in ObjectiveConfig.model_fields if name != "input_noise")
"""Settings without a meaning where raw inputs are reconstructed."""
UNREAD_BY_SUPERVISED = (
    *UNREAD_BY_RECONSTRUCTION,
    *(f"mask.{name}" for name in MaskConfig.model_fields),
    *(f"augment.{name}" for name in AugmentConfig.model_fields),
    *(f"heads.{name}" for name in ("steps", "learning_rate", "backbone_learning_rate", "weight_decay", "batch_size")),
    *("heads.latent_dropout", "heads.kept_share"),
)
"""Settings without a meaning where backbone and heads are trained as one."""
READ_RATIO = {"temporal-block", "random"}
"""Masks that hide a share that can be set."""


def check_config(config: PretrainConfig) -> None:
    """Refuse a configuration that no model can be made of, before anything is written.

    Raises:
        UserError: what is wrong.
    """
    layout = Layout.of(config.inputs.modalities)
    JepaModel(("gps",), config.model)  # refuses widths; tokenizers, of which the camera's is slow to make, take any
    for where, noise, standardised in (
        ("objective.input_noise", config.objective.input_noise, FITTED),
        ("heads.input_noise", config.heads.input_noise, SMALL),
    ):
        known = [name for name in layout.modalities if name in standardised]
        unknown = sorted(set(noise) - set(known))
        if unknown:
            read = unknown[0] in layout.modalities
            what = f"adds nothing to {unknown[0]}" if read else f"no modality {unknown[0]!r}"
            raise UserError(what, where, f"choose from {', '.join(known)}" if known else "leave it empty")
    if config.model.camera_weights is not None and "camera" not in layout.modalities:
        raise UserError("are of a camera that is not read", "model.camera_weights", "add camera to inputs.modalities")
    if config.heads.position_offset and config.inputs.position != "last":
        raise UserError(
            "shifts positions that the backbone has seen unshifted",
            "heads.position_offset",
            "set inputs.position=last as well, or leave it at 0",
        )
    if config.heads.readout == "attentive" and config.model.width % READOUT_HEADS:
        raise UserError(
            f"has {READOUT_HEADS} attention heads, which do not divide a width of {config.model.width}",
            "heads.readout: attentive",
            "choose another readout or model.width",
        )
    if any(level > config.model.encoder_layers for level in config.objective.target_levels):
        what = f"names a layer beyond the {config.model.encoder_layers} of the encoder"
        raise UserError(what, "objective.target_levels", f"choose from 0 to {config.model.encoder_layers}")
    if config.model.fusion_tokens and 0 in config.objective.target_levels:
        raise UserError(
            "names the tokens of the modalities, where fusion tokens stand for frames",
            "objective.target_levels: 0",
            f"choose from 1 to {config.model.encoder_layers}, or set model.fusion_tokens=0",
        )
    if config.model.fusion_tokens and config.paradigm == "reconstruction":
        raise UserError(
            "reconstructs each modality from tokens of its own",
            "paradigm: reconstruction",
            "set model.fusion_tokens=0",
        )
    if config.objective.target_levels and config.objective.target == "online":
        raise UserError("are those of the target branch", "objective.target_levels", "set objective.target=ema")
    if config.objective.sigreg_on == "both" and config.objective.target == "ema":
        raise UserError(
            "acts on targets that no gradient reaches", "objective.sigreg_on", "set objective.target=online"
        )
    if config.augment.used and set(layout.modalities) != {"gps", "rf"}:
        raise UserError("changes powers and positions alone", "augment", "set inputs.modalities=[gps, rf], or leave it")
    if config.mask.modality_dropout and "joint-future-missing" in config.mask.kinds:
        raise UserError(
            "hides whole modalities already", "mask.kinds: joint-future-missing", "leave modality_dropout at 0"
        )
    draw_mask(layout, 1, config.mask.kinds, config.mask.ratio, torch.Generator())


def check_unread(config: PretrainConfig, given: PretrainConfig | None = None) -> None:
    """Refuse settings without an effect beside the others.

    Args:
        given: what may stay because it came so; the preset, unless it says otherwise.

    Raises:
        UserError: one of them is not what was given.
    """
    given = given or preset(config.preset)
    for key, reason in _unread(config):
        section, name = key.split(".")
        if getattr(getattr(config, section), name) != getattr(getattr(given, section), name):
            raise UserError(f"is not read {reason}", key, "leave it out")


def _unread(config: PretrainConfig) -> Iterator[tuple[str, str]]:
    """Keys that nothing reads, and why."""
    unread = UNREAD_BY_RECONSTRUCTION if config.paradigm == "reconstruction" else ()
    for key in UNREAD_BY_SUPERVISED if config.supervised else unread:
        yield key, f"by the paradigm {config.paradigm}"
    objective, heads = config.objective, config.heads
    silent = {
        "where objective.target_levels names levels": (
            ("objective.target_layers", "objective.normalise_targets") if objective.target_levels else ()
        ),
        "with objective.error=squared": ("objective.smooth_l1_beta",) if objective.error == "squared" else (),
        "with objective.target=online": (
            ("objective.ema_start", "objective.ema_end") if objective.target == "online" else ()
        ),
        "without objective.variance_weight and objective.covariance_weight": (
            () if objective.variance_weight or objective.covariance_weight else ("objective.variance_on",)
        ),
        "without objective.sigreg_weight": (
            () if objective.sigreg_weight else ("objective.sigreg_directions", "objective.sigreg_on")
        ),
        f"by the masks {', '.join(config.mask.kinds)}": () if READ_RATIO & set(config.mask.kinds) else ("mask.ratio",),
        f"with heads.coarse_trajectory={heads.coarse_trajectory}": (
            ("heads.velocity_frames",) if heads.coarse_trajectory in DISPLACEMENTS else ()
        ),
        "without a map": () if "map" in (heads.coarse_beam, heads.coarse_spectrum) else ("heads.map_neighbours",),
    }
    for reason, keys in silent.items():
        for key in keys:
            yield key, reason


def check_missing(config: PretrainConfig, where: str) -> None:
    """Refuse heads without any history.

    Raises:
        UserError: every modality is missing, or one that the backbone does not read.
    """
    missing, known = set(config.heads.missing), config.inputs.modalities
    if missing >= set(known):
        raise UserError("every modality is missing", where, "leave one")
    unknown = missing - set(known)
    if unknown:
        raise UserError(f"no modality {sorted(unknown)[0]!r} in this run", where, f"choose from {', '.join(known)}")
