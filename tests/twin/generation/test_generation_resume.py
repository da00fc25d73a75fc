"""What was made is kept, completed when it is of the same request, and nothing else is touched."""

import errno
import os
import re
import socket
import time

import pytest

from twin.errors import UserError
from twin.generation import episodes, generate_dataset
from twin.recording import Recording, dataset_hash, scan, verify_dataset
from twin.recording.directory import DEAD_AFTER_S
from twin.scenario import load_scenario
from twin.simulator import Simulator

RADIO = ("rf", "gps")
REQUEST = {"episodes": 4, "frames": 30, "seed": 3, "modalities": RADIO}


def hashes(path):
    found = scan(path)
    assert not found.damaged
    return {entry.name: entry.open().content_hash for entry in found.episodes}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("generated") / "one"
    generate_dataset("street_canyon", path, **REQUEST)
    return path


@pytest.fixture
def failing(tmp_path):
    """A scenario, some of whose episodes cannot be simulated."""
    text = load_scenario("street_canyon").where.read_text()
    path = tmp_path / "scenario.yaml"
    jam = "{arrivals_per_minute: {choice: [5, 60]}, speed_mps: {choice: [12, 1]}}"
    path.write_text(re.sub(r"(?m)^traffic:(\n  .*)*", f"traffic: {jam}", text))
    return path


def test_a_drive_that_lost_every_fix_was_still_asked_for_positions(tmp_path):
    """It looks like one that was asked for none, and is none."""
    scenario = tmp_path / "scenario.yaml"
    text = load_scenario("deepsense32").where.read_text()
    scenario.write_text(re.sub(r"(?m)^gps:.*$", "gps: {loss_s: 600, loss_share: 0.9}", text))
    few = {"episodes": 4, "frames": 5, "seed": 0}
    generate_dataset(scenario, tmp_path / "out", **few, modalities=RADIO)
    lost = [not entry.open().arrays["valid_gps"].any() for entry in scan(tmp_path / "out").episodes]
    assert any(lost)
    assert generate_dataset(scenario, tmp_path / "out", **few, modalities=RADIO) == 0
    generate_dataset(scenario, tmp_path / "without", **few, modalities=("rf",))
    with pytest.raises(UserError, match="modalities rf, not rf,gps"):
        generate_dataset(scenario, tmp_path / "without", **few, modalities=RADIO)


def test_a_part_is_completed(dataset, tmp_path):
    out = tmp_path / "part"
    assert generate_dataset("street_canyon", out, **{**REQUEST, "episodes": 2}) == 60
    assert generate_dataset("street_canyon", out, **REQUEST) == 60
    assert hashes(out) == hashes(dataset)


def test_what_is_complete_is_not_simulated_again(dataset, monkeypatch):
    before = hashes(dataset)
    monkeypatch.setattr(Simulator, "__init__", lambda *_: pytest.fail("an episode is simulated"))
    assert generate_dataset("street_canyon", dataset, **REQUEST) == 0
    assert hashes(dataset) == before


def test_of_drives_that_ended_by_themselves_only_the_traffic_is_run_again(tmp_path, monkeypatch):
    request = {"episodes": 2, "seed": 3, "modalities": RADIO}
    generate_dataset("street_canyon", tmp_path / "out", **request)
    most = load_scenario("street_canyon").most_frames
    assert any(entry.open().frames < most for entry in scan(tmp_path / "out").episodes)
    monkeypatch.setattr(Simulator, "run", lambda *_: pytest.fail("an episode is simulated"))
    assert generate_dataset("street_canyon", tmp_path / "out", **request) == 0


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 4}, "seed 3, not 4"),
        ({"frames": 29}, "30 frames, not 29"),
        ({"frames": 31}, "30 frames, not 31"),
        ({"frames": None}, "30 frames, not [1-9]"),
        ({"modalities": ("rf",)}, "modalities rf,gps, not rf"),
        ({"modalities": ("gps",)}, "modalities rf,gps, not gps"),
        ({"modalities": ("rf", "gps", "lidar")}, "modalities rf,gps, not rf,gps,lidar"),
        ({"modalities": ("rf", "gps", "radar"), "keep": ("radar_cube",)}, "modalities rf,gps, not rf,gps,radar"),
        ({"scenario": "drive_by"}, "another scenario"),
    ],
)
def test_what_another_request_made_is_refused_and_stays(dataset, change, difference):
    before = hashes(dataset)
    request = {"scenario": "street_canyon", **REQUEST, **change}
    with pytest.raises(UserError, match=f"holds episode-00000 of another request .{difference}") as refused:
        generate_dataset(request.pop("scenario"), dataset, **request)
    assert "\n" not in str(refused.value)
    assert hashes(dataset) == before


def test_the_order_in_which_modalities_are_named_is_no_other_request(dataset):
    assert generate_dataset("street_canyon", dataset, **{**REQUEST, "modalities": ("gps", "rf")}) == 0


def test_another_version_or_backend_is_another_request(dataset):
    request = episodes.EpisodeRequest(load_scenario("street_canyon"), 3, 30, RADIO, (), "numba")
    manifest = Recording.open(dataset / "episode-00001").manifest
    assert request.difference("episode-00001", manifest) is None
    older = manifest.model_copy(update={"generator_version": "0.0.1"})
    assert request.difference("episode-00001", older) == f"version 0.0.1, not {manifest.generator_version}"
    other = manifest.model_copy(update={"backend": "sionna"})
    assert request.difference("episode-00001", other) == "backend sionna, not numba"
    assert request.difference("episode-00002", manifest) == "it has another name"


def test_every_choice_of_what_is_recorded_and_kept_is_told_apart(tmp_path):
    every, keep = ("rf", "gps", "camera", "radar", "lidar"), ("radar_cube", "camera_depth")
    request = {"episodes": 1, "frames": 2, "modalities": every, "keep": keep}
    generate_dataset("street_canyon", tmp_path / "out", **request)
    assert generate_dataset("street_canyon", tmp_path / "out", **{**request, "keep": keep[::-1]}) == 0
    for other, difference in (
        ((), "keep radar_cube,camera_depth, not nothing"),
        (("radar_cube",), "keep radar_cube,camera_depth, not radar_cube"),
        ((*keep, "lidar_points"), "keep radar_cube,camera_depth, not radar_cube,lidar_points,camera_depth"),
        ((*keep, "camera_instance"), "keep radar_cube,camera_depth, not radar_cube,camera_depth,camera_instance"),
    ):
        with pytest.raises(UserError, match=difference):
            generate_dataset("street_canyon", tmp_path / "out", **{**request, "keep": other})
    for name in ("rf", "gps", "lidar"):
        others = tuple(modality for modality in every if modality != name)
        with pytest.raises(UserError, match=f"modalities {','.join(every)}, not {','.join(others)}"):
            generate_dataset("street_canyon", tmp_path / "out", **{**request, "modalities": others})


@pytest.mark.parametrize("name", ["notes.txt", "pictures/cat.jpg"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=f"holds {name.split('/')[0]}, which is no recording"):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST)
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == [path.name]


def test_a_damaged_episode_is_named_and_made_again_when_it_is_removed(dataset, tmp_path):
    out = tmp_path / "damaged"
    generate_dataset("street_canyon", out, **{**REQUEST, "episodes": 2})
    (out / "episode-00001/manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"holds episode-00001, which is damaged .the manifest is damaged.; remove it"):
        generate_dataset("street_canyon", out, **REQUEST)
    for file in sorted((out / "episode-00001").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (out / "episode-00001").rmdir()
    generate_dataset("street_canyon", out, **REQUEST)
    assert hashes(out) == hashes(dataset)


def test_drafts_of_dead_writers_go_and_those_of_living_ones_stay(dataset, tmp_path):
    """No process has a number beyond 2^22."""
    out, here = tmp_path / "drafts", socket.gethostname()[:64]
    generate_dataset("street_canyon", out, **{**REQUEST, "episodes": 1})
    dead = f".episode-00001.0123abcd.{2**22 + 1}@{here}.partial"
    alive = f".episode-00002.0123abcd.{os.getpid()}@{here}.partial"
    elsewhere, long_ago = ".episode-00001.0123abcd.7@far-away.partial", ".episode-00003.0123abcd.7@far-away.partial"
    other = ".notes.partial"
    for name in (dead, alive, elsewhere, long_ago, other):
        (out / name / "frames.zarr").mkdir(parents=True)
    then = time.time() - DEAD_AFTER_S - 60
    os.utime(out / long_ago, (then, then))
    generate_dataset("street_canyon", out, **REQUEST)
    assert {path.name for path in out.glob(".*")} == {alive, elsewhere, other}
    assert hashes(out) == hashes(dataset)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_keeps_what_was_made_and_says_so(failing, tmp_path, workers):
    out, made = tmp_path / "out", []
    with pytest.raises(UserError, match="cannot enter the street") as failure:
        generate_dataset(failing, out, episodes=24, frames=3, modalities=RADIO, workers=workers, on_frames=made.append)
    whole = hashes(out)
    assert len(whole) >= len(made) > 0
    assert str(failure.value).endswith(f"; {len(whole)} of 24 episodes are whole and stay, --resume completes them")
    assert not any(verify_dataset(out).values())
    assert not list(out.glob(".*"))


def test_a_failure_of_the_first_episode_leaves_no_folder(failing, tmp_path, monkeypatch):
    monkeypatch.setattr(Simulator, "run", lambda *_: (_ for _ in ()).throw(UserError("it rains", "street", "wait")))
    with pytest.raises(UserError, match=r"^street: it rains; wait$"):
        generate_dataset("street_canyon", tmp_path / "a/b/out", **REQUEST)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_keeps_what_was_made(dataset, tmp_path, monkeypatch):
    save, saved = Recording.save, []

    def until_full(recording, root):
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(root))
        saved.append(save(recording, root))

    monkeypatch.setattr(Recording, "save", until_full)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"the disk is full; .*; 2 of 4 episodes are whole and stay"):
        generate_dataset("street_canyon", out, **REQUEST)
    monkeypatch.undo()
    generate_dataset("street_canyon", out, **REQUEST)
    assert hashes(out) == hashes(dataset)


def test_an_interrupt_keeps_what_was_made_and_says_so(tmp_path):
    def interrupted(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with (
        pytest.warns(UserWarning, match="2 of 4 episodes are whole and stay, --resume completes them"),
        pytest.raises(KeyboardInterrupt),
    ):
        generate_dataset("street_canyon", tmp_path / "out", **REQUEST, progress=interrupted)
    assert len(hashes(tmp_path / "out")) == 2


def request_of(seed=3):
    return episodes.EpisodeRequest(load_scenario("street_canyon"), seed, 30, RADIO, (), "numba")


def test_a_piece_of_work_that_is_done_again_counts_as_done(dataset):
    before = hashes(dataset)
    assert episodes.make_episode(request_of(), 2, str(dataset)) == 30
    assert hashes(dataset) == before


def test_of_two_workers_with_the_same_piece_of_work_both_are_right(tmp_path, monkeypatch):
    """One worker seemed lost, and another writes the episode just before it does."""
    save = Recording.save

    def after_a_rival(recording, root):
        save(recording, root)
        return save(recording, root)

    monkeypatch.setattr(Recording, "save", after_a_rival)
    assert episodes.make_episode(request_of(), 0, str(tmp_path)) == 30
    assert verify_dataset(tmp_path) == {"episode-00000": []}


def test_an_episode_that_is_not_the_same_does_not_count_as_done(dataset, tmp_path):
    with pytest.raises(UserError, match=r"is there already, and is not the same .seed 3, not 4"):
        episodes.make_episode(request_of(seed=4), 2, str(dataset))
    episodes.make_episode(request_of(), 2, str(tmp_path))
    (chunk,) = (path for path in (tmp_path / "episode-00002/frames.zarr/rf/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"is there already, and is not the same .array 'rf'"):
        episodes.make_episode(request_of(), 2, str(tmp_path))


def test_the_hash_of_a_resumed_dataset_is_that_of_an_uninterrupted_one(dataset, tmp_path):
    for episodes_so_far in (1, 3, 4):
        generate_dataset("street_canyon", tmp_path / "out", **{**REQUEST, "episodes": episodes_so_far})
    assert dataset_hash(scan(tmp_path / "out").episodes) == dataset_hash(scan(dataset).episodes)
