"""What a run is made with: every choice that SPEC leaves open is a field here, with its default.

`--set key=value` takes dotted keys, as in `--set mask.ratio=0.25`; values are YAML.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from twin.errors import UserError

__all__ = [
    "LARGEST_SEED",
    "PRESETS",
    "AugmentConfig",
    "HeadConfig",
    "InputConfig",
    "MaskConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "PretrainConfig",
    "load_config",
    "preset",
    "save_config",
    "settings_of",
    "with_settings",
]


LARGEST_SEED = 2**63 - 1
"""PyTorch's generators take no larger one."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Deviation = Annotated[float, Field(ge=0)]
Paradigm = Literal["jepa", "reconstruction", "multi-task", "localization", "beam", "rssi"]


class InputConfig(_Section):
    """How raw modalities become inputs."""

    modalities: tuple[str, ...] = Field(default=("gps", "rf"), description="what the backbone reads, each once")
    normalise: Literal["together", "by-dataset"] = Field(
        default="together", description="statistics of all datasets, or each"
    )
    frame: Literal["east-north", "site"] = Field(
        default="east-north", description="axes of positions; site: along the street, away from the base station"
    )
    power: Literal["dataset", "window"] = Field(
        default="dataset", description="window: less the mean over the deviation of each window's observed frames"
    )
    position: Literal["dataset", "last"] = Field(
        default="dataset", description="last: relative to the last observed position of each window"
    )
    image_size: int = Field(default=224, ge=32, le=224, description="side of the camera's pictures, pixels")


class ModelConfig(_Section):
    """The backbone."""

    width: int = Field(default=128, ge=8, description="embedding width D")
    encoder_layers: int = Field(default=4, ge=1)
    predictor_layers: int = Field(default=4, ge=1)
    attention_heads: int = Field(default=8, ge=1)
    feed_forward_ratio: int = Field(default=4, ge=1)
    fusion_tokens: int = Field(
        default=0,
        ge=0,
        description="tokens a frame that read its modalities in the encoder's first layer and go on alone; 0: none",
    )
    tokenizers: Literal["trained", "frozen"] = Field(
        default="trained",
        description="frozen: their weights stay as drawn, so that training cannot lose what they keep; batch norms"
        " still follow the data (model.batch_norm)",
    )
    camera: Literal["trained", "frozen"] = Field(
        default="trained", description="EfficientNet-B0; frozen: its features are computed once a frame"
    )
    camera_weights: str | None = Field(
        default=None, description="safetensors of efficientnet-b0 to start from; none: random weights"
    )
    batch_norm: Literal["trained", "frozen"] = Field(
        default="trained", description="of camera, radar and LiDAR; frozen: keeps the statistics that it starts with"
    )


class MaskConfig(_Section):
    """Which tokens are hidden; the kind is drawn per batch, so that shapes are static."""

    kinds: dict[str, float] = Field(default={"temporal-block": 1.0}, description="kind of mask: its share of batches")
    ratio: float = Field(default=0.5, gt=0, lt=1, description="share r of the frames that a block or random mask hides")
    modality_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="probability with which a modality is hidden throughout a batch"
    )


class ObjectiveConfig(_Section):
    """The loss of pretraining."""

    target: Literal["ema", "online"] = Field(
        default="ema", description="online: no EMA and no stop-gradient; it collapses"
    )
    normalise_targets: bool = True
    target_layers: int = Field(
        default=1, ge=1, description="top layers of the target encoder that are averaged, at most all"
    )
    target_levels: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="levels of the target branch that are all predicted: 0 its tokens, n its layer n"
    )
    error: Literal["smooth-l1", "squared"] = "smooth-l1"
    smooth_l1_beta: float = Field(default=1.0, gt=0)
    ema_start: float = Field(default=0.996, ge=0, le=1)
    ema_end: float = Field(default=1.0, ge=0, le=1)
    variance_weight: float = Field(default=0.0, ge=0, description="VICReg variance of tokens, hinge at 1")
    covariance_weight: float = Field(default=0.0, ge=0, description="VICReg covariance: off-diagonal squares / D")
    variance_on: Literal["context", "predicted"] = Field(
        default="context", description="tokens that variance and covariance act on: of the encoder, or the predictor"
    )
    sigreg_weight: float = Field(
        default=0.0, ge=0, lt=1, description="share of SIGReg in the loss; target=online needs it"
    )
    sigreg_on: Literal["context", "both"] = Field(
        default="context", description="tokens that SIGReg acts on; both: the targets of target=online as well"
    )
    sigreg_directions: int = Field(default=256, ge=1, description="random directions of SIGReg in a step")
    input_noise: dict[str, Deviation] = Field(
        default={}, description="gps, rf or radar: standard deviation, standardised units"
    )


class AugmentConfig(_Section):
    """Other drives that the same world could have shown, in pretraining on powers and positions."""

    mirror: float = Field(default=0.0, ge=0, le=1, description="share of the windows that are mirrored at boresight")
    reverse: float = Field(default=0.0, ge=0, le=1, description="share of the windows that run backwards")
    slowest: float = Field(
        default=1.0, gt=0, le=1, description="windows are slowed down by a factor drawn between this and 1"
    )

    @property
    def used(self) -> bool:
        """Whether anything is changed."""
        return bool(self.mirror or self.reverse or self.slowest < 1)


class HeadConfig(_Section):
    """The three heads on the backbone, which is frozen unless it has a learning rate here."""

    epochs: int = Field(default=30, ge=1)
    steps: int | None = Field(
        default=None, ge=1, description="optimiser steps in place of epochs, the same for few and for many windows"
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    backbone_learning_rate: float | None = Field(
        default=None, gt=0, description="of a backbone that is trained along (jepa finetune --unfreeze); none: frozen"
    )
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_size: int = Field(default=64, ge=1)
    select_on_validation: bool = Field(default=False, description="keep the epoch with the lowest validation loss")
    backbone: Literal["pretrained", "random", "zeroed"] = "pretrained"
    missing: tuple[str, ...] = Field(default=(), description="modalities whose history is absent")
    cascade: bool = Field(default=True, description="beam and RSSI heads read the predicted trajectory")
    readout: Literal["target", "pooled", "attentive"] = Field(
        default="target",
        description="target: predicted tokens of the head's modality; pooled: of all, and the last context tokens; "
        "attentive: learned queries over all predicted and context tokens",
    )
    width: int = Field(
        default=512, ge=16, multiple_of=4, description="of the GRUs of the beam and RSSI heads; half for localization"
    )
    skip: int = Field(
        default=0,
        ge=0,
        description="width of one GRU over the raw history of positions and powers, as far as they are read, that"
        " starts the heads' GRUs; 0: none",
    )
    gated: bool = Field(
        default=False, description="the latent enters the heads' GRUs with a trained gain that starts at zero"
    )
    latent_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the windows whose latents are zeroed in each training step"
    )
    relative_power: bool = Field(
        default=False,
        description="powers relative to the observed frames: the skip reads them so, the RSSI residual counts in "
        "their deviation",
    )
    input_noise: dict[str, Deviation] = Field(
        default={}, description="gps or rf: standard deviation of noise on the raw history in training, standardised"
    )
    position_offset: float = Field(
        default=0.0, ge=0, description="deviation of a shift of all positions of a window in training, standardised"
    )
    velocity_frames: int = Field(
        default=2, ge=2, le=8, description="positions in the line that gives the coarse velocity"
    )
    coarse_trajectory: Literal["line", "fitted", "blended"] = Field(
        default="line",
        description="fitted on the training windows: a linear map of the past steps; blended: it and a Kalman filter",
    )
    linear: bool = Field(
        default=False,
        description="linear paths from the latents of all steps to logits and spectrum, zero at the start",
    )
    spectrum_in_logits: bool = Field(
        default=False, description="the predicted spectrum is added to the logits with a trained gain"
    )
    kept_share: float = Field(
        default=0.0, ge=0, lt=1, description="weight of the heads one starts from in the mean with the adapted ones"
    )
    coarse_beam: Literal["none", "last", "shifted", "map"] = Field(
        default="none",
        description="spectrum added to the logits: last, last shifted with the azimuth, k-NN map at the position",
    )
    coarse_spectrum: Literal["last", "shifted", "map"] = "last"
    map_neighbours: int = Field(default=10, ge=1)
    soft_label_db: float | None = Field(
        default=None, gt=0, description="labels softmax(RSRP_dB / tau); none: the best beam"
    )


class PretrainConfig(_Section):
    """A pretraining run, and the heads that are trained on it."""

    preset: str = "paper"
    paradigm: Paradigm = Field(
        default="jepa",
        description="reconstruction: hidden raw inputs in place of latents, of objective with input_noise alone; "
        "multi-task: backbone and heads end to end for epochs + heads.epochs, likewise and without mask and augment; "
        "localization, beam or rssi: one task alone",
    )
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=64, ge=2)
    first_share: float | None = Field(
        default=None, gt=0, lt=1, description="share of the first dataset's windows; the others repeat theirs alike"
    )
    group: int = Field(
        default=8, ge=1, description="adjacent windows drawn together, which share frames; 1: independent draws"
    )
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    inputs: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    mask: MaskConfig = MaskConfig()
    augment: AugmentConfig = AugmentConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    heads: HeadConfig = HeadConfig()

    @property
    def supervised(self) -> tuple[str, ...]:
        """The tasks on which backbone and heads are trained as one; none where heads are trained on a frozen one."""
        if self.paradigm == "multi-task":
            return ("localization", "beam", "rssi")
        return () if self.paradigm in ("jepa", "reconstruction") else (self.paradigm,)


_RECIPE: dict[str, Any] = {
    "mask": {"kinds": {"temporal-block": 0.5, "joint-future": 0.5}},
    "objective": {"variance_weight": 0.5, "covariance_weight": 0.02},
}
"""Half of the batches hide exactly the future; a variance-covariance term keeps the dimensions alive."""

_HEADS: dict[str, Any] = {
    "readout": "pooled",
    "soft_label_db": 0.3,
    "width": 256,
    "gated": True,
    "relative_power": True,
    "batch_size": 128,
    "velocity_frames": 4,
    "input_noise": {"rf": 0.05},
    "latent_dropout": 0.5,
}
"""Heads to which the latents come as far as they help beside the raw history."""

PRESETS: dict[str, dict[str, Any]] = {
    "small": {
        **_RECIPE,
        "epochs": 8,
        "learning_rate": 1.5e-3,
        "batch_size": 128,
        "group": 1,
        "inputs": {"power": "window"},
        "model": {"width": 64},
        "objective": {**_RECIPE["objective"], "target_layers": 4},
        "heads": {**_HEADS, "skip": 128, "batch_size": 64, "epochs": 20, "coarse_trajectory": "blended"},
    },
    "paper": {"inputs": {"modalities": ("camera", "radar", "lidar", "gps", "rf")}},
    "best": {
        **_RECIPE,
        "learning_rate": 1.5e-3,
        "batch_size": 128,
        "group": 1,
        "inputs": {"frame": "site", "power": "window", "position": "last"},
        "model": {"predictor_layers": 2, "attention_heads": 4, "tokenizers": "frozen"},
        "mask": {"kinds": {"temporal-block": 0.4, "joint-future": 0.6}},
        "objective": {
            **_RECIPE["objective"],
            "target_levels": (0, 4),
            "error": "squared",
            "ema_start": 0.99,
            "input_noise": {"rf": 0.05, "gps": 0.02},
        },
        "heads": {
            **_HEADS,
            "skip": 256,
            "weight_decay": 0.01,
            "position_offset": 0.3,
            "coarse_trajectory": "blended",
        },
    },
}
"""`small` for two CPU cores, `paper` as published (its batches hold groups of neighbouring windows, which is faster:
`group=1` shuffles all windows), `best` the recipe that measured best."""


def _checked(values: dict[str, Any], where: object) -> PretrainConfig:
    try:
        return PretrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UserError(f"unknown key {key!r}", where, f"choose from {', '.join(_keys(PretrainConfig))}") from None
        raise UserError(
            f"{key} is {first['input']!r}: {first['msg'].lower()}", where, "give an allowed value"
        ) from None


def _keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def settings_of(config: BaseModel, prefix: str = "") -> Iterable[tuple[str, Any, str]]:
    """Every key that `--set` takes, with its value in a configuration as YAML has it and what it means."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from settings_of(value, f"{prefix}{name}.")
        elif prefix + name != "preset":
            written = yaml.safe_dump(config.model_dump(mode="json")[name], default_flow_style=True, width=10**6)
            yield prefix + name, written.removesuffix("\n...\n").strip(), field.description or _allowed(field)


def _allowed(field: FieldInfo) -> str:
    """What a field without a description takes: its name says the rest."""
    return ", ".join(map(str, get_args(field.annotation))) if get_origin(field.annotation) is Literal else ""


def preset(name: str, settings: Iterable[str] = ()) -> PretrainConfig:
    """The configuration of a preset, with `key=value` settings.

    Raises:
        UserError: no such preset or key, or a value that is not allowed.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}", "--preset", f"choose from {', '.join(PRESETS)}")
    return with_settings(_checked({"preset": name, **PRESETS[name]}, f"preset {name}"), settings)


def with_settings(config: PretrainConfig, settings: Iterable[str]) -> PretrainConfig:
    """The configuration with `key=value` settings, the key dotted, the value YAML.

    Raises:
        UserError: an unknown key, or a value that is not allowed.
    """
    values = config.model_dump(mode="json")
    known = set(_keys(PretrainConfig))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is no key=value", "--set", "write for example --set mask.ratio=0.25")
        if key not in known or key == "preset":
            raise UserError(f"unknown key {key!r}", "--set", f"choose from {', '.join(sorted(known - {'preset'}))}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"{text!r} is no YAML", f"--set {key}", "quote it") from None
        if isinstance(value, str):
            value = _number(value)
        *sections, field = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[field] = value
    return _checked(values, "--set")


def _number(text: str) -> float | str:
    """YAML reads 1e-3 as text."""
    try:
        return float(text)
    except ValueError:
        return text


def save_config(config: PretrainConfig, path: Path) -> None:
    """Write the configuration in full as YAML, whole or not at all."""
    draft = path.with_name(f".{path.name}.partial")
    draft.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    draft.replace(path)


def load_config(path: Path) -> PretrainConfig:
    """The configuration that `save_config` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError("no configuration", path, "name the directory of a run") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        raise UserError("the configuration is damaged", path, "train again") from None
    if not isinstance(values, dict):
        raise UserError("the configuration is damaged", path, "train again")
    return _checked(values, path)
