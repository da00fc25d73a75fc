"""Small runs: pretrained in seconds, with heads."""

import pytest
import torch

from jepa import workflows
from jepa.config import preset

TINY = [
    "model.width=16",
    "model.attention_heads=2",
    "model.encoder_layers=1",
    "model.predictor_layers=1",
    "epochs=3",
    "batch_size=32",
    "heads.epochs=1",
]


@pytest.fixture(scope="session")
def tiny():
    """Makes a configuration of a model that is trained in seconds, with further settings."""
    return lambda *settings: preset("small", [*TINY, *settings])


@pytest.fixture(scope="module")
def run(tiny, dataset, tmp_path_factory):
    """A pretrained run with heads."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "run"
    workflows.pretrain_run([dataset], path, tiny(), device="cpu", label="")
    workflows.heads_run(path, [dataset], device="cpu", label="")
    return path


@pytest.fixture(scope="module")
def best_run(dataset, tmp_path_factory):
    """A run of the preset that moves from site to site: its own frame, relative inputs, gated heads, a beam map."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("runs") / "best"
    config = preset("best", [*TINY, "objective.target_levels=[0, 1]", "heads.coarse_beam=map"])
    workflows.pretrain_run([dataset], path, config, device="cpu", label="")
    workflows.heads_run(path, [dataset], device="cpu", label="")
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory, drive):
    """Another site than the one of `run`."""
    path = tmp_path_factory.mktemp("site") / "site"
    for number in range(10):
        drive(number, seed=4).save(path)
    return path
