"""Datasets of simulated episodes: made in parallel, resumed, and the same for any number of workers."""

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numba

from twin.console import warn_in_one_line
from twin.errors import UserError
from twin.propagation.paths import Interaction
from twin.recording import Recording
from twin.scenario import Template, load_scenario
from twin.simulator import BACKENDS, MODALITIES, Simulator

__all__ = ["generate_dataset"]


@dataclass(frozen=True)
class _Request:
    """What every episode of a dataset is made with."""

    template: Template
    seed: int
    frames: int | None
    modalities: tuple[str, ...]
    backend: str

    def simulator(self, episode: int) -> Simulator:
        return Simulator(self.template, self.seed, episode, self.backend)


def _one_episode(request: _Request, episode: int, out: str) -> int:
    """Simulate and save one episode; the number of its frames."""
    recording = request.simulator(episode).run(request.frames, request.modalities)
    if not (recording.arrays["truth/path_kind"] >= Interaction.NONE).any():
        what = "no path reaches the UE in any frame, its sweeps are noise"
        warnings.warn(f"{request.template.name}, episode {episode}: {what}", stacklevel=1)
    recording.save(out)
    return recording.frames


def _start_worker() -> None:
    numba.set_num_threads(1)
    warn_in_one_line()


def generate_dataset(
    scenario: str | Path,
    out: str | Path,
    *,
    episodes: int,
    frames: int | None = None,
    seed: int = 0,
    modalities: Sequence[str] = MODALITIES,
    backend: str = "numba",
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `episodes` recordings below `out`; the number of frames. Results do not depend on workers or order.

    Episodes that `out` holds already are kept when they were made from the same scenario and seed.

    Raises:
        UserError: a wrong scenario or option, or `out` holds something else.
    """
    template = load_scenario(scenario)
    request = _Request(template, seed, frames, tuple(modalities), backend)
    _check_request(out, request, episodes, workers)
    missing = [n for n in range(episodes) if not Path(out, f"episode-{n:05d}").exists()]
    for n in missing:
        template.draw(seed, n)  # a world that cannot be is refused before the first episode is made
    jobs = [(request, n, str(out)) for n in missing]
    fresh = not Path(out).exists()
    total, done = 0, episodes - len(missing)
    try:
        for made in (0, *_simulated(jobs, workers, executor)):
            total, done = total + made, done + (made > 0)
            if progress:
                progress(done, episodes)
    except (UserError, OSError):
        if fresh:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return total


def _simulated(jobs: Sequence[tuple[Any, ...]], workers: int, executor: Executor | None) -> Iterator[int]:
    """Frames of each episode, as it is written."""
    if executor is None and workers == 1:
        yield from (_one_episode(*job) for job in jobs)
        return
    pool = executor or ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_one_episode, *job) for job in jobs]):
            yield future.result()
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)


def _check_request(out: str | Path, request: _Request, episodes: int, workers: int) -> None:
    for option, value, least in (("--episodes", episodes, 1), ("--seed", request.seed, 0), ("--workers", workers, 1)):
        if value < least:
            raise UserError(f"{value} is too small", option, f"give at least {least}")
    frames, template, modalities = request.frames, request.template, request.modalities
    if frames is not None and frames < 1:
        raise UserError(f"{frames} is too small", "--frames", "give at least 1")
    if frames is not None and frames > template.most_frames:
        raise UserError(
            f"{frames} is more than the {template.most_frames} of scenario {template.name}",
            "--frames",
            "raise `frames` in a copy of the scenario",
        )
    if request.backend not in BACKENDS:
        raise UserError(f"there is no backend {request.backend!r}", "--backend", f"choose from {', '.join(BACKENDS)}")
    unknown = sorted(set(modalities) - set(MODALITIES))
    if unknown or not modalities:
        raise UserError(
            f"cannot make {', '.join(unknown) or 'nothing'}", "--modalities", f"choose from {', '.join(MODALITIES)}"
        )
    if not Path(out).exists():
        return
    if not Path(out).is_dir():
        raise UserError("exists and is no directory", out, "choose another output")
    for path in sorted(Path(out).iterdir()):
        if path.name.startswith("."):
            continue
        recording = Recording.open(path)
        if not _is_episode(recording, request):
            raise UserError(f"holds {path.name} of another scenario, seed or request", out, "choose another output")


def _is_episode(recording: Recording, request: _Request) -> bool:
    """Whether the recording is what this request would make."""
    manifest = recording.manifest
    if (manifest.seed, manifest.backend) != (request.seed, request.backend) or manifest.episode is None:
        return False
    if manifest.generator_version != version("jepa-msac-twin"):
        return False
    simulator = request.simulator(manifest.episode)
    return (
        recording.name == f"episode-{manifest.episode:05d}"
        and manifest.scenario == simulator.scenario.model_dump(mode="json")
        and recording.frames == min(simulator.frames, request.frames or simulator.frames)
        and all(bool(recording.arrays[f"valid_{name}"].any()) == (name in request.modalities) for name in MODALITIES)
    )
