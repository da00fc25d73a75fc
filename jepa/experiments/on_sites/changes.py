"""Changes of the preset `best`, by the names that tables give them, and what they share.

Pretraining shows more where heads read nothing but latents, so each change of it is there twice: with the heads of
`best`, and with the paper's on latents alone.
"""

from dataclasses import dataclass, replace

__all__ = ["FUSED", "LATENTS_ALONE", "LEVERS", "ON_LATENTS_ALONE", "Lever", "backbone_of", "control_of", "slug"]

ON_LATENTS_ALONE = ("heads.readout=target", "heads.skip=0", "heads.gated=false", "heads.latent_dropout=0")
"""The paper's heads. All that they have of the raw history is where the coarse predictions start."""
FUSED = ("model.fusion_tokens=2", "objective.target_levels=[1, 4]")
"""Two tokens a frame read its position and powers in the first layer and go on alone. Their targets are what they are
after it, and at the end."""

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
        base: the lever that it is compared with.
    """

    settings: tuple[str, ...] = ()
    adapting: tuple[str, ...] = ()
    real_share: float = 0.0
    scenarios: tuple[str, ...] = ()
    base: str = "none"

    @property
    def of_pretraining(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What its backbone from the twin is made with: settings and scenarios."""
        return tuple(setting for setting in self.settings if not setting.startswith("heads.")), self.scenarios

    @property
    def of_control(self) -> tuple[str, ...]:
        """The settings that heads on random weights notice: those of the heads and of the model's parts."""
        seen = (setting for setting in self.settings if setting.startswith(("heads.", "model.")))
        return (*(setting for setting in seen if setting not in _TRAINED), *self.adapting)


_TOP_LAYERS = ("objective.target_levels=[]", "objective.target_layers=4", "objective.error=smooth-l1")
_ONE_LEVEL = ("objective.target_levels=[]",)
_SIGREG = ("objective.sigreg_weight=0.02",)
_OF_PREDICTED = ("objective.variance_on=predicted",)
_NO_VARIANCE = ("objective.variance_weight=0", "objective.covariance_weight=0")
_PRETRAINING = {
    "mean of the top layers as target": Lever(_TOP_LAYERS),
    "trained tokenizers": Lever(_TRAINED),
    "mean of the top layers, trained tokenizers": Lever((*_TOP_LAYERS, *_TRAINED)),
    "real windows": Lever(real_share=0.5),
    "several scenarios": Lever(scenarios=("intersection", "highway", "bus_blockage")),
    "modality dropout": Lever(("mask.modality_dropout=0.2",)),
    "fusion tokens": Lever(FUSED),
    "fusion tokens, real windows": Lever(FUSED, real_share=0.5),
    "fusion tokens, trained tokenizers": Lever((*FUSED, *_TRAINED)),
    "fusion tokens, trained tokenizers, real windows": Lever((*FUSED, *_TRAINED), real_share=0.5),
    "SIGReg with EMA": Lever((*_NO_VARIANCE, *_SIGREG)),
    "SIGReg with EMA, the last layer as target": Lever((*_NO_VARIANCE, *_ONE_LEVEL, *_SIGREG)),
    "SIGReg without EMA, the last layer as target": Lever(
        (*_NO_VARIANCE, *_ONE_LEVEL, *_SIGREG, "objective.target=online")
    ),
    "SIGReg without EMA, on the targets too": Lever(
        (*_NO_VARIANCE, *_ONE_LEVEL, *_SIGREG, "objective.target=online", "objective.sigreg_on=both")
    ),
    "mirrored drives": Lever(("augment.mirror=0.5",)),
    "reversed drives": Lever(("augment.reverse=0.5",)),
    "slower drives": Lever(("augment.slowest=0.5",)),
    "stronger variance term": Lever(("objective.variance_weight=2", "objective.covariance_weight=0.1")),
    "variance of what is predicted": Lever(_OF_PREDICTED),
    "fusion tokens, variance of what is predicted": Lever((*FUSED, *_OF_PREDICTED)),
}
_OF_HEADS = {
    "attentive read-out": Lever(("heads.readout=attentive",)),
    "linear paths": Lever(("heads.linear=true",)),
    "spectrum in the logits": Lever(("heads.spectrum_in_logits=true",)),
    "trajectory from a line": Lever(("heads.coarse_trajectory=line",)),
    "a fifth of the twin's heads kept": Lever(adapting=("heads.kept_share=0.2",)),
}
LATENTS_ALONE = "heads on latents alone"


def _on_latents_alone(lever: Lever) -> Lever:
    return replace(lever, settings=(*lever.settings, *ON_LATENTS_ALONE), base=LATENTS_ALONE)


LEVERS: dict[str, Lever] = {
    "none": Lever(),
    **_PRETRAINING,
    LATENTS_ALONE: Lever(ON_LATENTS_ALONE),
    **_OF_HEADS,
    **{f"{LATENTS_ALONE}, {name}": _on_latents_alone(lever) for name, lever in _PRETRAINING.items()},
}
"""By what the table calls them; `none` is no change."""


def slug(name: str) -> str:
    """What keys of rows and paths call it."""
    return name.replace(",", "").replace("'", "").replace(" ", "-")


def backbone_of(name: str) -> str:
    """The first lever with the same backbone from the twin: `none` where it changes the heads alone."""
    own = LEVERS[name].of_pretraining
    return next(other for other, lever in LEVERS.items() if lever.of_pretraining == own)


def control_of(name: str) -> str:
    """The first lever whose heads on random weights are the same."""
    own = LEVERS[name].of_control
    return next(other for other, lever in LEVERS.items() if lever.of_control == own)
