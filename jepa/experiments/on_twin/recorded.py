"""Drives of the twin that experiments make for themselves, on all cores."""

from collections.abc import Sequence
from pathlib import Path

from jepa.experiments.results.side_by_side import cores_here
from twin.console import progress_bar
from twin.generation import generate_dataset
from twin.recording import MODALITIES

__all__ = ["recorded"]


def recorded(
    scenario: str | Path,
    place: Path,
    episodes: int,
    *,
    frames: int | None = None,
    seed: int = 0,
    modalities: Sequence[str] = MODALITIES,
) -> int:
    """Episodes of a scenario at `place`, with a bar; the number of frames made. Those that are there are kept.

    Args:
        frames: of each episode; None: until the car is gone.
    """
    with progress_bar() as bar:
        task = bar.add_task(f"{place.name}: generating", total=episodes)
        return generate_dataset(
            scenario,
            place,
            episodes=episodes,
            frames=frames,
            seed=seed,
            modalities=modalities,
            workers=cores_here(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
