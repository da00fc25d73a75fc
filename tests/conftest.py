"""A small dataset of the twin with the predictions of a baseline."""

import pytest

from jepa import workflows
from twin.generation import generate_dataset


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Directories of datasets and runs, as `make demo` leaves them."""
    root = tmp_path_factory.mktemp("demo")
    generate_dataset("drive_by", root / "data" / "drive_by", episodes=5, frames=40, seed=1, modalities=("rf", "gps"))
    workflows.baseline_run("hold_last", [root / "data" / "drive_by"], root / "runs" / "hold_last")
    return root
