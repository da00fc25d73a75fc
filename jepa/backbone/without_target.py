"""The backbone without a target branch: what is trained on anything but its own latents."""

from collections.abc import Iterable

from torch import nn

from jepa.backbone.model import JepaModel
from jepa.config import ModelConfig

__all__ = ["Backbone"]


class Backbone(JepaModel):
    """Context branch and predictor; with the same seed their random weights are those of the whole model.

    5,790,076 parameters with five modalities at D = 128.
    """

    def __init__(self, modalities: Iterable[str], config: ModelConfig) -> None:
        super().__init__(modalities, config)
        del self.target

    def train(self, mode: bool = True) -> "Backbone":
        """There is no target branch whose statistics have to stay."""
        nn.Module.train(self, mode)
        return self
