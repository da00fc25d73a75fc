"""Datasets of simulated episodes: made in parallel, resumed, and the same for any number of workers."""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from twin.console import as_user_error, is_interrupt
from twin.errors import UserError
from twin.generation.episodes import (
    EpisodeRequest,
    episode_name,
    is_there,
    make_episode,
    make_episode_in_a_worker,
    recorded_modalities,
)
from twin.recording import dataset_hash, filesystem_of, scan
from twin.recording.directory import MANIFEST, local_path, remove_dead_drafts
from twin.scenario import load_scenario
from twin.simulator import BACKENDS, KEEPABLE, MODALITIES
from twin.workers import cluster as workers_of_a_cluster
from twin.workers import processes

__all__ = ["dataset_summary", "generate_dataset"]


def generate_dataset(
    scenario: str | Path,
    out: str | Path,
    *,
    episodes: int,
    frames: int | None = None,
    seed: int = 0,
    modalities: Sequence[str] = MODALITIES,
    keep: Sequence[str] = (),
    backend: str = "numba",
    workers: int = 1,
    cluster: str | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_frames: Callable[[int], None] | None = None,
) -> int:
    """Write `episodes` recordings below `out`; the number of frames made. Results do not depend on workers or order.

    Episodes that `out` holds already are kept when they were made from the same request. When it fails or is
    interrupted, those that are whole stay, and calling it again makes the others.

    Args:
        out: a directory, or a URL that fsspec knows.
        keep: what of `KEEPABLE` is recorded beside the modalities.
        workers: processes to make episodes in.
        cluster: address of a Dask scheduler, whose workers make them instead; they have to find `out` and the files of
            the scenario under the same names.
        executor: what makes them instead.
        progress: told how many episodes of how many are there.
        on_frames: told the number of frames of each episode that is made, before `progress` is.

    Raises:
        UserError: a wrong scenario or option, `out` holds something else, or a worker died.
    """
    template = load_scenario(scenario)
    if isinstance(template.where, Path):
        template.where = template.where.absolute()  # a worker may have been started elsewhere
    request = EpisodeRequest(template, seed, frames, tuple(modalities), tuple(keep), backend)
    _check_numbers(request, episodes, workers)
    _check_names(request)
    _check_output(out, workers, cluster)
    place = str(local_path(out) or out)
    there = _whole_episodes(place, out, request)
    _tidy(local_path(place), ())
    missing = [n for n in range(episodes) if episode_name(n) not in there]
    for n in missing:
        template.draw(seed, n)  # a world that cannot be is refused before the first episode is made
    kept, total = episodes - len(missing), 0
    if progress:
        progress(kept, episodes)
    if not missing:
        return 0
    with _keeping_what_is_whole(place, out, episodes), _executor(executor, workers, cluster) as chosen:
        for done, made in enumerate(_made(request, missing, place, chosen), start=kept + 1):
            total += made
            if on_frames:
                on_frames(made)
            if progress:
                progress(done, episodes)
    return total


def dataset_summary(out: str | Path) -> dict[str, Any]:
    """What a dataset holds: episodes, frames, bytes, and its hash; `modalities` are those of its first episode."""
    filesystem, root = filesystem_of(out)
    filesystem.invalidate_cache()
    whole = scan(out).episodes
    frames = sum(entry.manifest.arrays["time"].shape[0] for entry in whole)
    size = int(filesystem.du(root))
    return {
        "episodes": len(whole),
        "frames": frames,
        "bytes": size,
        "bytes_per_frame": round(size / max(1, frames), 1),
        "dataset_hash": dataset_hash(whole),
        "modalities": recorded_modalities(whole[0].manifest) if whole else [],
    }


def _executor(given: Executor | None, workers: int, cluster: str | None) -> AbstractContextManager[Executor | None]:
    if given is not None:
        return nullcontext(given)
    if cluster is not None:
        return workers_of_a_cluster(cluster)
    return processes(workers) if workers > 1 else nullcontext()


def _made(request: EpisodeRequest, missing: Sequence[int], out: str, executor: Executor | None) -> Iterator[int]:
    """Frames of each episode, as it is written; by this process if there is no executor."""
    if executor is None:
        yield from (make_episode(request, n, out) for n in missing)
        return
    episode = {executor.submit(make_episode_in_a_worker, request, n, out): n for n in missing}
    for future in as_completed(episode):
        frames = future.result()
        if not is_there(out, episode[future]):
            what = f"{episode_name(episode[future])} was written by a worker and is not there"
            raise UserError(what, out, "choose an output that this process and all workers share")
        yield frames


@contextmanager
def _keeping_what_is_whole(place: str, out: str | Path, episodes: int) -> Iterator[None]:
    """What workers left that died goes. When the block raises, whole episodes stay, and the user is told so."""
    local = local_path(place)
    new = [folder for folder in (local, *local.parents) if not folder.exists()] if local else []
    try:
        yield
        _tidy(local, ())
    except BaseException as failure:
        _tidy(local, new)
        whole = len(_names(place) & {episode_name(n) for n in range(episodes)})
        stays = f"{whole} of {episodes} episodes are whole and stay, --resume completes them"
        error = _as_user_error(failure, out)
        if error and whole:
            raise UserError(error.what, error.where, f"{error.remedy}; {stays}") from None
        if error:
            raise error from None
        if is_interrupt(failure) and whole:
            warnings.warn(f"{out}: {stays}", stacklevel=2)
        raise


def _tidy(local: Path | None, new: Iterable[Path]) -> None:
    """Remove the drafts of dead workers, and then folders that are new and empty."""
    remove_dead_drafts(local or tempfile.gettempdir())
    for folder in new:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def _as_user_error(failure: BaseException, out: str | Path) -> UserError | None:
    if isinstance(failure, BrokenExecutor):
        return UserError("a worker died, of too little memory perhaps", out, "give fewer --workers")
    if isinstance(failure, OSError):
        return as_user_error(failure)
    return failure if isinstance(failure, UserError) else None


def _check_numbers(request: EpisodeRequest, episodes: int, workers: int) -> None:
    for option, value, least in (("--episodes", episodes, 1), ("--seed", request.seed, 0), ("--workers", workers, 1)):
        if value < least:
            raise UserError(f"{value} is too small", option, f"give at least {least}")
    frames, template = request.frames, request.template
    if frames is not None and frames < 1:
        raise UserError(f"{frames} is too small", "--frames", "give at least 1")
    if frames is not None and frames > template.most_frames:
        raise UserError(
            f"{frames} is more than the {template.most_frames} of scenario {template.name}",
            "--frames",
            "raise `frames` in a copy of the scenario",
        )


def _check_names(request: EpisodeRequest) -> None:
    known: dict[str, tuple[Iterable[str], Iterable[str]]] = {
        "--backend": ([request.backend], BACKENDS),
        "--modalities": (request.modalities, MODALITIES),
        "--keep": (request.keep, KEEPABLE),
    }
    for option, (names, choice) in known.items():
        if unknown := sorted(set(names) - set(choice)):
            what = f"there is no {', '.join(map(repr, unknown))}"
            raise UserError(what, option, f"choose from {', '.join(choice)}")
    if not request.modalities:
        raise UserError("names nothing", "--modalities", f"choose from {', '.join(MODALITIES)}")
    for name in request.keep:
        if KEEPABLE[name] not in request.modalities:
            raise UserError(f"{name} needs the modality {KEEPABLE[name]}", "--keep", "add it to --modalities")


def _check_output(out: str | Path, workers: int, cluster: str | None) -> None:
    if cluster is not None and workers > 1:
        raise UserError("a cluster has workers of its own", "--workers", "give --workers or --cluster")
    filesystem, root = filesystem_of(out)
    if isinstance(filesystem, MemoryFileSystem) and (workers > 1 or cluster is not None):
        raise UserError("workers cannot write to the memory of this process", out, "choose another output")
    if filesystem.exists(root) and not filesystem.isdir(root):
        raise UserError("exists and is no directory", out, "choose another output")


def _names(place: str) -> set[str]:
    """Names of the directories with a manifest."""
    filesystem, root = filesystem_of(place)
    filesystem.invalidate_cache()
    return {path.split("/")[-2] for path in filesystem.find(root, maxdepth=2) if path.endswith(f"/{MANIFEST}")}


def _whole_episodes(place: str, out: str | Path, request: EpisodeRequest) -> set[str]:
    """Names of the episodes that are there; what killed writers left is removed, or will be replaced.

    Raises:
        UserError: something else is there as well.
    """
    filesystem, root = filesystem_of(place)
    filesystem.invalidate_cache()
    if not filesystem.exists(root):
        return set()
    local, found, complete = local_path(place), scan(place), _names(place)
    for name, reason in found.damaged:
        if local or name in complete:  # else it is the remains of an upload
            what = f"holds {name}, which is damaged ({reason})"
            raise UserError(what, out, "remove it, and --resume makes it again")
    known = {entry.name for entry in found.episodes} | {name for name, _ in found.damaged}
    for name in sorted(path.rstrip("/").rpartition("/")[2] for path in filesystem.ls(root, detail=False)):
        if name not in known and not name.startswith(".") and not root.endswith(f"/{name}"):
            raise UserError(f"holds {name}, which is no recording", out, "choose another output")
    for entry in found.episodes:
        if difference := request.difference(entry.name, entry.manifest):
            raise UserError(f"holds {entry.name} of another request ({difference})", out, "choose another output")
    return {entry.name for entry in found.episodes}
