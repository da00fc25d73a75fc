"""One episode of a dataset: what it is made with, making it, and telling whether one that is there is the same.

An episode is made as one piece of work, from nothing but the request and its number, and appears whole. So it does not
matter who makes it, in which order, or how often: one that is there already is checked and counts as made.
"""

import hashlib
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version

import numba
import numpy as np

from twin.errors import UserError
from twin.propagation.paths import Interaction
from twin.recording import Recording, RecordingManifest, filesystem_of, join, verify_bundle
from twin.recording.directory import MANIFEST
from twin.recording.recording import REQUIRED
from twin.scenario import Template
from twin.scenario.fields import Scenario
from twin.simulator import KEEPABLE, MODALITIES, Simulator

__all__ = [
    "EpisodeRequest",
    "episode_name",
    "is_there",
    "make_episode",
    "make_episode_in_a_worker",
    "recorded_modalities",
]


def _version() -> str:
    return version("jepa-msac-twin")


@dataclass(frozen=True)
class EpisodeRequest:
    """What every episode of a dataset is made with; `frames` at most, or as many as the drive has."""

    template: Template
    seed: int
    frames: int | None
    modalities: tuple[str, ...]
    keep: tuple[str, ...]
    backend: str
    version: str = field(default_factory=_version)

    def simulator(self, episode: int) -> Simulator:
        """The simulation of an episode."""
        return Simulator(self.template, self.seed, episode, self.backend)

    def scenario(self, episode: int) -> Scenario:
        """The scenario as the episode's manifest states it; a backend may change it."""
        if self.backend == "numba":
            return self.template.draw(self.seed, episode)[0]
        return self.simulator(episode).scenario

    def difference(self, name: str, manifest: RecordingManifest) -> str | None:
        """What is not as this request makes it in a recording of that name, or None; nothing but the manifest is read.

        Only a drive that is shorter than it was asked to be has its traffic run again: it may have ended there.
        """
        episode = manifest.episode
        if episode is None or name != episode_name(episode):
            return "it has another name"
        asked = {
            "seed": (self.seed, manifest.seed),
            "backend": (self.backend, manifest.backend),
            "version": (self.version, manifest.generator_version),
            "modalities": (
                _listed(self.modalities, MODALITIES),
                _listed(self._recorded(manifest, episode), MODALITIES),
            ),
            "keep": (_listed(self.keep, KEEPABLE), _listed(_kept(manifest), KEEPABLE)),
        }
        for option, (wanted, there) in asked.items():
            if wanted != there:
                return f"{option} {there}, not {wanted}"
        scenario = self.scenario(episode)
        if manifest.scenario != scenario.model_dump(mode="json"):
            return "another scenario"
        most, frames = min(self.frames or scenario.frames, scenario.frames), _frames(manifest)
        if frames < most:
            most = min(most, self.simulator(episode).frames)
        return None if frames == most else f"{frames} frames, not {most}"

    def _recorded(self, manifest: RecordingManifest, episode: int) -> set[str]:
        """The modalities that a recording was asked to hold.

        One that is invalid in every frame may have been asked for and lost: only then is it sensed again.
        """
        recorded = set(recorded_modalities(manifest))
        for name in (set(REQUIRED) & set(self.modalities)) - recorded:
            again = self.simulator(episode).run(_frames(manifest), (name,))
            if not again.arrays[f"valid_{name}"].any():
                recorded.add(name)
        return recorded


def _listed(names: Iterable[str], order: Iterable[str]) -> str:
    given = set(names)
    return ",".join(name for name in order if name in given) or "nothing"


def _frames(manifest: RecordingManifest) -> int:
    return manifest.arrays["time"].shape[0]


def recorded_modalities(manifest: RecordingManifest) -> list[str]:
    """The modalities that a recording was asked to hold.

    Arrays that every recording holds are invalid in every frame where that was not asked for.
    """
    never = hashlib.sha256(np.zeros(_frames(manifest), bool).tobytes()).hexdigest()
    return [
        name
        for name in MODALITIES
        if name in manifest.arrays and (name not in REQUIRED or manifest.arrays[f"valid_{name}"].sha256 != never)
    ]


def _kept(manifest: RecordingManifest) -> list[str]:
    """What was kept on request; its array is named after it: `camera_depth` is `truth/camera_depth_m`."""
    names = [array.rpartition("/")[2] for array in manifest.arrays]
    return [kept for kept in KEEPABLE if any(name.startswith(kept) for name in names)]


def episode_name(episode: int) -> str:
    """The name of an episode's recording."""
    return f"episode-{episode:05d}"


def is_there(out: str, episode: int) -> bool:
    """Whether an episode is in the dataset `out`, whole."""
    filesystem, root = filesystem_of(out)
    filesystem.invalidate_cache()
    return bool(filesystem.exists(join(root, episode_name(episode), MANIFEST)))


def make_episode(request: EpisodeRequest, episode: int, out: str) -> int:
    """Simulate an episode and save it below `out`; the number of its frames.

    Raises:
        UserError: it cannot be simulated, or another one is there.
    """
    if is_there(out, episode):  # this piece of work was done before, and the answer was lost with the worker
        return _checked(request, episode, out)
    recording = request.simulator(episode).run(request.frames, request.modalities, request.keep)
    if not (recording.arrays["truth/path_kind"] >= Interaction.NONE).any():
        what = "no path reaches the UE in any frame, its sweeps are noise"
        warnings.warn(f"{request.template.name}, episode {episode}: {what}", stacklevel=1)
    try:
        recording.save(out)
    except UserError:
        if not is_there(out, episode):
            raise
        return _checked(request, episode, out)  # a worker that seemed lost was not, and was faster
    return recording.frames


_one_at_a_time = threading.Lock()
"""Kernels hold the interpreter's lock: several episodes in threads of one process would only take its memory."""


def make_episode_in_a_worker(request: EpisodeRequest, episode: int, out: str) -> int:
    """As `make_episode`, on one thread of the process that an executor has chosen."""
    if _version() != request.version:
        raise UserError(f"a worker has version {_version()}, not {request.version}", out, "install the same there")
    with _one_at_a_time:
        numba.set_num_threads(1)
        return make_episode(request, episode, out)


def _checked(request: EpisodeRequest, episode: int, out: str) -> int:
    """The frames of an episode that is there, every byte of which is as this request makes it."""
    path = join(out, episode_name(episode))
    recording = Recording.open(path)
    difference = request.difference(recording.name, recording.manifest)
    problems = [difference] if difference else verify_bundle(path, RecordingManifest)
    if problems:
        raise UserError(f"is there already, and is not the same ({problems[0]})", path, "choose another output")
    return recording.frames
