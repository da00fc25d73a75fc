"""What an experiment on the twin's `deepsense32` may cost: the sizes of its recordings, models and training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jepa.baselines import BASELINES, Baseline
from jepa.data.splits import FOLDS

__all__ = ["BUDGETS", "Budget"]


@dataclass(frozen=True)
class Budget:
    """What a row may cost, printed with every table.

    Attributes:
        episodes, frames: recordings that are made where none are named, and their length (None: until the car is gone).
        width, attention_heads: of the backbone.
        widths: of the rows that vary it.
        image_size: side of the pictures [pixels].
        epochs, head_epochs: of pretraining and of the heads.
        best_epochs: of pretraining with the preset `best`, which reads power and position alone: a pass costs a small
            part of one over all modalities.
        supervised_epochs: passes over the training windows beyond `epochs` where backbone and heads are trained as one.
            Such a pass costs as much as one of pretraining: there are as many optimiser steps as pretraining and heads
            on it have together, to an epoch.
        seeds, folds: repetitions; without folds the split is `blocked`.
        baselines: by name, in what a baseline is smaller than its own size: options of its constructor, and `epochs`.
    """

    episodes: int
    width: int
    attention_heads: int
    widths: tuple[int, ...]
    image_size: int
    epochs: int
    head_epochs: int
    batch_size: int
    learning_rate: float
    frames: int | None = None
    best_epochs: int = 1
    supervised_epochs: int = 1
    seeds: int = 1
    folds: tuple[int, ...] = ()
    more: tuple[str, ...] = field(default=())
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self, recipe: str) -> list[str]:
        """The settings of a preset, `paper` or `best`; batches and learning rate of `best` are its own."""
        sizes = [
            f"model.width={self.width}",
            f"model.attention_heads={self.attention_heads}",
            f"heads.epochs={self.head_epochs}",
            *self.more,
        ]
        if recipe == "best":
            return [*sizes, f"epochs={self.best_epochs}"]
        return [
            *sizes,
            f"inputs.image_size={self.image_size}",
            f"epochs={self.epochs}",
            f"batch_size={self.batch_size}",
            f"learning_rate={self.learning_rate}",
        ]

    def baseline(self, name: str) -> Baseline:
        """A baseline at the size of the budget."""
        options = dict(self.baselines.get(name, {}))
        epochs = options.pop("epochs", None)
        made: Any = BASELINES[name](**options)
        for plan in ("plan", "encoder_plan") if epochs else ():
            if hasattr(made, plan):
                setattr(made, plan, replace(getattr(made, plan), epochs=epochs))
        found: Baseline = made
        return found


TINY: dict[str, dict[str, Any]] = {
    "m2beamllm": {"width": 32, "blocks": 1, "heads": 2, "channels": 4, "epochs": 1},
    "vision_position": {"width": 0.25, "epochs": 1},
    "gru_cascade": {"epochs": 4},
}
SMALL: dict[str, dict[str, Any]] = {
    "m2beamllm": {"width": 128, "blocks": 2, "heads": 4, "channels": 16, "epochs": 10},
}
BUDGETS = {
    "quick": Budget(10, 16, 2, (8, 16), 32, 1, 1, 16, 1e-3, 18, more=("heads.width=32",), baselines=TINY),
    "default": Budget(70, 64, 4, (64, 128), 64, 3, 30, 16, 1e-3, best_epochs=30, supervised_epochs=7, baselines=SMALL),
    "full": Budget(
        130, 128, 8, (64, 128, 256, 512), 224, 100, 30, 64, 3e-4, None, 100, 30, seeds=3, folds=tuple(range(FOLDS))
    ),
}
"""`quick` shows that everything runs, a row of `default` is sized for fifteen minutes on two cores, `full` is the
paper's size and for a GPU."""
