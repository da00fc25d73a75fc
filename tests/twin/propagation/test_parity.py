"""The two tracers side by side: what counts as the same path, how differences are measured, and that there are few."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from twin.errors import UserError
from twin.propagation.parity import comparison, report
from twin.propagation.parity.boundaries import boundaries
from twin.propagation.parity.comparison import Comparison, compare_scene, densities
from twin.propagation.parity.matching import LIMITS, differences, figures_of, match, near_m, problems, strong
from twin.propagation.parity.scenes import SCENES, THICKNESS_M, parity_scene
from twin.propagation.tracer import Tracer

needs_sionna = pytest.mark.usefixtures("sionna_rt")

CARRIER_HZ = 28e9


def twin(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "twin.cli", "parity", *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def traced(world):
    """Bodies of which two lie in one plane, and the paths of a few receivers."""
    walls = [world.box((x, 12.0, 0.0, 20.0, 4.0, 9.0, 0.0), name=f"wall-{x:g}") for x in (-10.0, 10.0)]
    bodies = (world.ground(), *walls, world.box((0.0, -12.0, 0.0, 50.0, 4.0, 9.0, 0.02)))
    ue = np.random.default_rng(2).uniform([-18.0, -8.0, 1.0], [18.0, 8.0, 3.0], (6, 3))
    return bodies, Tracer(bodies, np.array([0.0, 1.0, 6.0]), CARRIER_HZ, (), 2, 40).paths(ue)


def every(paths):
    return np.ones_like(paths.valid)


def figures(ours, theirs, bodies):
    matched = match(ours, theirs, bodies)
    found = differences(ours, theirs, matched, CARRIER_HZ)
    return figures_of("all", ours, theirs, matched, found, found, (every(ours), every(theirs)), CARRIER_HZ)


def shuffled(paths, seed=0):
    """The same paths of every link in another order."""
    turn = np.random.default_rng(seed).permuted(np.tile(np.arange(paths.valid.shape[1]), (len(paths.valid), 1)), axis=1)

    def of(array):
        return np.take_along_axis(array, turn.reshape(*turn.shape, *[1] * (array.ndim - 2)), 1)

    return replace(paths, **{name: of(array) for name, array in vars(paths).items() if np.ndim(array) > 1})


def test_paths_match_themselves_in_any_order(traced):
    bodies, paths = traced
    found = figures(paths, shuffled(paths), bodies)
    assert found.ours == found.theirs == strong(paths).sum()
    assert (found.matched_share_ours, found.matched_share_theirs) == (1.0, 1.0)
    assert found.delay_error_ps_max == found.transfer_error_max == found.near_phase_error_deg_max == 0.0
    assert found.angle_error_deg_max < 1e-9
    assert problems(found) == []


def test_a_path_that_one_tracer_has_not_is_alone_in_the_other(traced):
    bodies, paths = traced
    fewer = paths.valid.copy()
    fewer[3, 1] = False
    less = replace(paths, valid=fewer)
    assert match(paths, less, bodies).ours_alone.tolist() == [[3, 1]]
    assert match(less, paths, bodies).theirs_alone.tolist() == [[3, 1]]
    assert match(paths, less, bodies).theirs_alone.size == 0
    found = figures(paths, less, bodies)
    assert found.matched_share_ours == pytest.approx(1.0 - 1.0 / strong(paths).sum())
    assert found.matched_share_theirs == 1.0


def test_walls_in_one_plane_may_be_taken_for_each_other(traced):
    bodies, paths = traced
    renamed = replace(paths, body=np.select([paths.body == 1, paths.body == 2], [2, 1], paths.body))
    assert (renamed.body != paths.body).any()
    matched = match(paths, renamed, bodies)
    assert not len(matched.ours_alone)
    assert not len(matched.theirs_alone)
    np.testing.assert_array_equal(matched.pair[:, 1], matched.pair[:, 2])


def test_a_wall_across_is_not_taken_for_another(traced):
    bodies, paths = traced
    renamed = replace(paths, body=np.where(paths.body == 0, 3, paths.body))  # the ground, for a wall
    assert len(match(paths, renamed, bodies).ours_alone) == (paths.body == 0).any(axis=-1).sum()


def test_weak_paths_need_not_be_found(traced):
    bodies, paths = traced
    faint = paths.transfer.copy()
    faint[:, 2:] *= 1e-3
    weak = replace(paths, transfer=faint)
    assert (strong(weak).sum(axis=1) <= 2).all()
    alone = replace(weak, valid=weak.valid & strong(weak))
    assert figures(weak, alone, bodies).matched_share_ours == 1.0


def test_a_delay_is_off_by_what_it_is_off(traced):
    bodies, paths = traced
    late = figures(paths, replace(paths, delay_s=paths.delay_s + 3e-12), bodies)
    assert late.delay_error_ps_max == pytest.approx(3.0, rel=1e-3)
    assert late.delay_error_allowed == pytest.approx(3.0, rel=1e-3)
    assert "delay" in problems(late)[0]


def test_four_steps_of_float32_are_allowed_to_a_long_delay(traced):
    bodies, paths = traced
    far = replace(paths, delay_s=paths.delay_s + 20e-6)  # 6 km: a step is 1.8 ps
    found = differences(far, replace(far, delay_s=far.delay_s + 7e-12), match(far, far, bodies), CARRIER_HZ)
    np.testing.assert_allclose(found.delay_allowed_ps, 4 * 2.0**-39 * 1e12)
    assert (found.delay_ps < found.delay_allowed_ps).all()


def test_an_angle_is_that_between_the_directions(traced):
    bodies, paths = traced
    turned = paths.aod_rad.copy()
    turned[..., 0] += np.radians(0.2)
    found = figures(paths, replace(paths, aod_rad=turned), bodies)
    flattest = np.sin(paths.aod_rad[..., 1][paths.valid]).max()
    assert found.angle_error_deg_max == pytest.approx(0.2 * flattest, rel=1e-4)


def test_a_matrix_is_compared_without_its_propagation_phase(traced):
    bodies, paths = traced
    shift_s = 0.1 / CARRIER_HZ  # 36 degrees
    late = replace(
        paths, delay_s=paths.delay_s + shift_s, transfer=paths.transfer * np.exp(-2j * np.pi * 0.1).astype(np.complex64)
    )
    found = figures(paths, late, bodies)
    assert found.transfer_error_max < 1e-5
    assert found.phase_error_deg[0] == pytest.approx(36.0, rel=1e-4)
    assert any("phase" in text for text in problems(found))


def test_an_element_of_a_matrix_may_be_off_by_a_hundredth(traced):
    bodies, paths = traced
    for share, fits in ((0.0095, True), (0.011, False)):
        scaled = paths.transfer.copy()
        scaled[..., 0, 0] *= 1.0 + share
        found = figures(paths, replace(paths, transfer=scaled), bodies)
        assert (found.transfer_error_max <= LIMITS["transfer_error"]) == fits
        assert (found.far_matrices == 0) == fits


def test_float32_carries_the_phase_as_far_as_was_agreed():
    assert near_m(28e9) >= 100.0
    assert near_m(60e9) == pytest.approx(50.0)


def test_scenes_have_the_same_walls_on_both_sides():
    for name in ("street_canyon", *(["box", "munich"] if importlib.util.find_spec("sionna") else [])):
        for carrier_hz in (28e9, 60e9):
            for body in parity_scene(name).bodies(carrier_hz):
                assert body.material.thickness_m == THICKNESS_M
                assert body.material.scattering_coefficient == body.material.roughness_m == 0.0


def test_receivers_stand_in_the_open_and_are_always_the_same(world):
    for name in ("simple_wedge", "street_canyon"):
        scene = SCENES[name]
        one, two = (scene.receivers(np.random.default_rng(1), 50, ()) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert one.shape == (50, 3)
    wedge = SCENES["simple_wedge"].receivers(np.random.default_rng(1), 500, ())
    assert not ((wedge[:, 0] > 0) & (wedge[:, 1] < 0)).any()


@needs_sionna
def test_receivers_of_the_city_have_the_sky_above(world):
    bodies = [world.ground(), world.box((8.5, 21.0, 0.0, 300.0, 60.0, 20.0, 0.0))]
    away = np.abs(SCENES["munich"].receivers(np.random.default_rng(1), 60, tuple(bodies))[:, :2] - [8.5, 21.0])
    assert ((away[:, 0] > 150.0) | (away[:, 1] > 30.0)).all()
    assert (np.linalg.norm(away, axis=1) < 200.0).all()


@needs_sionna
@pytest.mark.parametrize("carrier_hz", [28e9, 60e9])
@pytest.mark.parametrize("name", ["box", "simple_reflector", "street_canyon"])
def test_a_few_receivers_are_within_the_limits(name, carrier_hz):
    scene = replace(SCENES[name], samples=300_000, edges=False)
    found = compare_scene(scene, carrier_hz, 8)
    assert found.problems == []
    assert found.unmatched.unexplained == 0
    assert sum(group.ours for group in found.orders) > 8


@needs_sionna
def test_edges_agree_when_the_coefficient_does(monkeypatch):
    monkeypatch.setattr(comparison, "EDGE_RAYS", 500_000)
    found = compare_scene(replace(SCENES["simple_wedge"], order=1, samples=300_000), CARRIER_HZ, 12)
    assert found.problems == []
    assert found.edges_alike.gain_error_db[-1] < 0.01
    assert found.edges.gain_error_db[-1] > found.edges_alike.gain_error_db[-1]
    assert found.edges_alike.matched_share_ours == 1.0


@needs_sionna
def test_the_command_prints_the_worst_order():
    done = twin("simple_reflector", "--receivers", "8", "--carrier", "28", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["receivers"] == 8
    (comparison,) = said["comparisons"]
    for name, worst in (("matched_share_ours", min), ("delay_error_ps_max", max), ("transfer_error_max", max)):
        assert said[name] == worst(group[name] for group in comparison["orders"])
    assert said["matched_share_theirs"] == 1.0
    assert said["angle_error_deg_max"] < LIMITS["angle_error_deg"]


@pytest.mark.parametrize(
    "arguments", [["atlantis"], ["box", "--receivers", "0"], ["box", "--carrier", "3000"], ["box", "--update"]]
)
def test_a_wrong_request_is_one_line(arguments):
    done = twin(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


def test_the_file_holds_a_row_of_every_scene_and_carrier():
    text = report.FILE.read_text(encoding="utf-8")
    table = text.split(report.BEGIN)[1].split(report.END)[0]
    for name in SCENES:
        for carrier_ghz in report.CARRIERS_GHZ:
            assert f"| {name} | {carrier_ghz:g} | direct | " in table


def test_a_file_without_markers_is_left_alone(monkeypatch, tmp_path):
    file = tmp_path / "PARITY.md"
    file.write_text("no tables here\n")
    monkeypatch.setattr(report, "FILE", file)
    with pytest.raises(UserError, match="markers"):
        report.update([])
    assert file.read_text() == "no tables here\n"


@needs_sionna
@pytest.mark.long
@pytest.mark.parametrize("carrier_ghz", report.CARRIERS_GHZ)
@pytest.mark.parametrize("name", list(SCENES))
def test_every_scene_is_within_the_limits(name, carrier_ghz):
    (found,) = report.compare([name], [carrier_ghz])
    assert isinstance(found, Comparison)
    assert found.problems == []
    assert found.unmatched.unexplained == 0


@needs_sionna
@pytest.mark.long
def test_sionna_loses_paths_in_its_own_table_and_ours_need_few_rays():
    rows = densities(SCENES["munich"], CARRIER_HZ, 64)
    share = {(row.tracer, row.rays, row.hash_slots, row.together): row.found / row.paths for row in rows}
    own, large = comparison.SIONNAS_SLOTS, comparison.HASH_SLOTS
    many = SCENES["munich"].samples
    assert share["Sionna", many, large, 16] == 1.0
    assert share["Sionna", many, own, 16] < 1.0
    assert share["ours", comparison.RAYS, None, None] == 1.0


@pytest.mark.parametrize("carrier_ghz", report.CARRIERS_GHZ)
def test_the_field_jumps_only_where_nothing_makes_up_for_a_path(carrier_ghz):
    found = boundaries(carrier_ghz * 1e9)
    steady = [row for row in found if row.continued in ("edge", "double knife edge", "model B")]
    assert len(steady) == 5
    assert max(max(row.step_db) for row in steady) < 1.0
    assert all(max(row.step_db) > 3.0 for row in found if row not in steady)
