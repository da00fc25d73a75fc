"""What the commands do, as functions on run directories: a module each, beside what several of them ask."""

from jepa.workflows.adapt import adapt_run
from jepa.workflows.baseline import baseline_run
from jepa.workflows.configuration import heads_options
from jepa.workflows.devices import pick_device
from jepa.workflows.evaluate import evaluate_run
from jepa.workflows.heads import heads_run
from jepa.workflows.loading import load_frames
from jepa.workflows.parts import PREDICTED, split_for
from jepa.workflows.predict import predict_run
from jepa.workflows.pretrain import pretrain_run
from jepa.workflows.stored_predictions import stored_output

__all__ = [
    "PREDICTED",
    "adapt_run",
    "baseline_run",
    "evaluate_run",
    "heads_options",
    "heads_run",
    "load_frames",
    "pick_device",
    "predict_run",
    "pretrain_run",
    "split_for",
    "stored_output",
]
