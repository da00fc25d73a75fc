"""The benchmark measures what it says, and says what it cannot measure. How fast anything is, is nobody's assertion."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from twin.bench import PARTS, Sizes, bench
from twin.bench.cases import city, moving_street, part_of, static_street
from twin.errors import UserError
from twin.geometry.scene_files import builtin_scene_names

TINY = Sizes(
    repeats=1,
    least_s=0.0,
    sweep_frames=8,
    episodes=1,
    moving_frames=3,
    moving_receivers=2,
    static_receivers=4,
    city_receivers=4,
    groups=(2, 4),
    reference_samples=4_000,
    reference_solves=1,
    facets=(100, 300),
    many_receivers=30,
    chunk=20,
    multimodal_episodes=1,
    multimodal_frames=3,
)
COMPARED = ("moving", "static", "munich")
MULTIMODAL = {
    "multimodal_frames_per_s", "bytes_per_frame", "worker_peak_mb", "camera_ms", "lidar_ms", "radar_ms", "lidar_points",
}  # fmt: skip


@pytest.fixture
def scenes():
    try:
        return builtin_scene_names()
    except UserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def no_sionna(monkeypatch):
    def load():
        raise UserError("Sionna RT is not installed", "backend sionna", "pip install it")

    monkeypatch.setattr("twin.bench.rival.load_sionna", load)


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("sweep", {"sweep_frames_per_s"}),
        ("trace", {"trace_frames_per_s_core"}),
        ("generate", {"generate_frames_per_s_core", "generate_frames_per_processor_s"}),
        ("pipeline", {"pipeline_frames_per_s_core", "pipeline_vehicles"}),
        ("memory", {"million_receivers_peak_mb", "million_receivers_per_s"}),
        ("start", {"second_process_start_s"}),
        ("multimodal", MULTIMODAL),
    ],
)
def test_each_part_gives_its_figures(part, keys):
    rates = bench([part], TINY)
    assert rates.keys() == keys
    assert all(rate > 0 for rate in rates.values())


def test_the_whole_step_is_measured_in_traffic():
    assert bench(["pipeline"], TINY)["pipeline_vehicles"] >= 12


def test_without_sionna_our_rates_are_there_and_the_ratios_are_not(scenes, no_sionna):
    said = []
    rates = bench(COMPARED, TINY, said.append)
    missing = {name for name, rate in rates.items() if rate is None}
    assert missing == {"moving_scene_ratio", "moving_scene_ratio_2rx", "static_scene_ratio", "munich_ratio"}
    ours = {
        "moving_scene_frames_per_s_1", "moving_scene_frames_per_s_2rx_2", "static_scene_receivers_per_s_1",
        "munich_receivers_per_s_2", "facets_100_us_per_receiver", "facets_300_preparation_s", "facets_exponent",
    }  # fmt: skip
    assert ours <= rates.keys()
    assert all(np.isfinite(rate) for rate in rates.values() if rate is not None)
    assert said == ["backend sionna: Sionna RT is not installed; pip install it"]


def test_without_the_scenes_everything_of_them_is_missing(monkeypatch):
    def missing(name):
        raise UserError("Sionna RT is not installed", "its scenes", "install the extra")

    monkeypatch.setattr("twin.propagation.parity.scenes.load_builtin_scene", missing)
    said = []
    rates = bench(COMPARED, TINY, said.append)
    assert set(rates.values()) == {None}
    assert {"moving_scene_ratio", "static_scene_ratio", "munich_ratio"} <= rates.keys()
    assert len(said) == 1


@pytest.mark.long
def test_with_sionna_there_is_a_ratio_of_both_rates(scenes, sionna_rt):
    rates = bench(COMPARED, TINY, pytest.fail)
    for ratio, ours in {
        "moving_scene_ratio": "moving_scene_frames_per_s",
        "moving_scene_ratio_2rx": "moving_scene_frames_per_s_2rx",
        "static_scene_ratio": "static_scene_receivers_per_s",
        "munich_ratio": "munich_receivers_per_s",
    }.items():
        each = [rates[f"{ours}_{threads}"] / rates[f"{ours}_sionna_{threads}"] for threads in (1, 2)]
        assert rates[ratio] == pytest.approx(min(each), rel=1e-3)
    assert all(rates[f"{name}_sionna_samples"] >= 1_000 for name in ("moving_scene", "static_scene", "munich"))


@pytest.mark.long
def test_sionna_gets_no_more_rays_than_it_needs(scenes, sionna_rt):
    from twin.bench.rival import Rival

    rival = Rival(static_street(16), replace(TINY, reference_samples=200_000, first_samples=10))
    samples = rival.fewest_samples(16)
    assert rival.finds_enough(16, samples)
    assert not rival.finds_enough(16, samples // 2)


def test_merged_bodies_are_the_same_triangles(scenes):
    from twin.bench.rival import merged

    bodies = static_street(1).bodies
    one = merged(bodies)
    assert len(one) == len({body.material for body in bodies})
    for body in one:
        parts = [part.triangle_m for part in bodies if part.material == body.material]
        np.testing.assert_array_equal(body.triangle_m, np.concatenate(parts))


def test_every_car_and_every_receiver_moves_in_every_frame(scenes):
    case = moving_street(5, 3)
    assert case.movers.shape.shape == (5, 8)
    for place in (case.movers.pose[..., :2], case.ue_m[..., :2]):
        assert (np.linalg.norm(np.diff(place, axis=0), axis=-1) > 0.5).all()


def test_cars_start_where_they_are_parked(scenes):
    parked = {body.name: body for body in static_street(1).bodies}
    case = moving_street(1, 1)
    for slot, shape in enumerate(case.shapes):
        np.testing.assert_allclose(
            shape.vertex_m + case.movers.pose[0, slot, :3], parked[shape.name].vertex_m, atol=1e-9
        )


def test_fewer_frames_and_receivers_are_some_of_all(scenes):
    case = moving_street(9, 4)
    some = case.frames(3).receivers(2)
    np.testing.assert_array_equal(some.ue_m, case.ue_m[[0, 4, 8], :2])
    np.testing.assert_array_equal(some.movers.pose, case.movers.pose[[0, 4, 8]])


def test_parts_of_the_city_grow_around_the_base_station(scenes):
    case = city(1)
    small, large = part_of(case, 100), part_of(case, 5_000)
    names = [{body.name for body in part.bodies} for part in (small, large)]
    assert "ground" in names[0] & names[1]
    assert 50 <= sum(len(body.face) for body in small.bodies) <= 100
    assert 4_500 <= sum(len(body.face) for body in large.bodies) <= 5_000


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="no part 'swep'"):
        bench(["swep"], TINY)


def test_the_command_prints_one_object_of_the_parts_asked_for():
    done = subprocess.run(
        [sys.executable, "-m", "twin.cli", "bench", "sweep", "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"sweep_frames_per_s"}
    refused = subprocess.run([sys.executable, "-m", "twin.cli", "bench", "swep"], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert all(part in refused.stderr for part in PARTS)
