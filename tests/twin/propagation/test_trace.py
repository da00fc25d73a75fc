"""The tracer against physics by hand: Friis, mirror images, Fresnel fields, Doppler as a difference of lengths."""

import numba
import numpy as np
import pytest
import trimesh

from twin.geometry.scene import Scene
from twin.propagation.trace import SPEED_OF_LIGHT_MPS, trace
from twin.radio.codebook import uniform_angle
from twin.radio.sweep import beam_power, best_beam, measure_sweep

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
WALL_ETA, GROUND_ETA = 5.24 - 0.34j, 3.18 - 0.12j
BS = np.array([0.0, 0.0, 5.0])
GAIN_SHARE = 1e-6
"""Relative error of a gain, stored in complex64."""


def scene(*boxes, triangles=None):
    triangles = np.empty((0, 3, 3)) if triangles is None else triangles
    return Scene(
        box=np.array(boxes, float).reshape(-1, 7),
        box_permittivity=np.full(len(boxes), WALL_ETA),
        triangle_m=triangles,
        triangle_permittivity=np.full(len(triangles), WALL_ETA),
        ground_permittivity=GROUND_ETA,
    )


def run(world, ue, velocity=(0.0, 0.0, 0.0), movers=(), mover_velocity=None, bs=BS, **options):
    ue = np.atleast_2d(ue).astype(float)
    box = np.broadcast_to(np.array(movers, float).reshape(-1, 7), (len(ue), len(movers), 7))
    speeds = np.zeros((len(movers), 2)) if mover_velocity is None else np.array(mover_velocity, float)
    return trace(
        world,
        np.asarray(bs, float),
        ue,
        np.broadcast_to(velocity, ue.shape),
        box,
        np.broadcast_to(speeds, (len(ue), *speeds.shape)),
        CARRIER_HZ,
        **options,
    )


def path_off(paths, number, t=0):
    """Index of the path off the object of that number; -1 is the direct path."""
    (found,) = np.flatnonzero(paths.valid[t] & (paths.object_id[t, :, 0] == number))
    return found


def unit(vector):
    return vector / np.linalg.norm(vector)


def vertical(k):
    """Unit vector of growing zenith, by differentiating the direction with respect to its zenith."""
    zenith, azimuth = np.arccos(k[2]), np.arctan2(k[1], k[0])
    return np.array([np.cos(zenith) * np.cos(azimuth), np.cos(zenith) * np.sin(azimuth), -np.sin(zenith)])


def reflected_gain(bs, ue, point, normal, eta):
    """Gain of bs - point - ue: the field is split at the face, each part reflected, and the sum read by the antenna."""
    k_in, k_out = unit(point - bs), unit(ue - point)
    cosine = -k_in @ normal
    root = np.sqrt(eta - (1 - cosine**2))
    r_s, r_p = (cosine - root) / (cosine + root), (eta * cosine - root) / (eta * cosine + root)
    s = unit(np.cross(k_in, normal))
    dyad = r_s * np.outer(s, s) + r_p * np.outer(np.cross(s, k_out), np.cross(s, k_in))
    length = np.linalg.norm(point - bs) + np.linalg.norm(ue - point)
    return free_space(length) * (vertical(k_out) @ dyad @ vertical(k_in))


def free_space(length_m):
    return WAVELENGTH_M / (4 * np.pi * length_m) * np.exp(-2j * np.pi * length_m / WAVELENGTH_M)


def test_the_direct_path_obeys_friis():
    ue = np.array([[30.0, -12.0, 1.7], [5.0, 3.0, 1.7], [200.0, 90.0, 2.5]])
    paths = run(scene(), ue)
    for t in range(3):
        line = ue[t] - BS
        k = path_off(paths, -1, t)
        assert paths.gain[t, k] == pytest.approx(free_space(np.linalg.norm(line)), rel=GAIN_SHARE)
        assert paths.delay_s[t, k] == pytest.approx(np.linalg.norm(line) / SPEED_OF_LIGHT_MPS, rel=1e-12)
        out = [np.arctan2(line[1], line[0]), np.arccos(unit(line)[2])]
        back = [np.arctan2(-line[1], -line[0]), np.arccos(-unit(line)[2])]
        np.testing.assert_allclose(paths.aod_rad[t, k], out, atol=1e-12)
        np.testing.assert_allclose(paths.aoa_rad[t, k], back, atol=1e-12)
    assert paths.line_of_sight.all()
    assert (paths.blockage_db == 0).all()


def test_a_wall_reflects_from_its_mirror_image():
    turn = 0.4  # of the wall, so that no axis is special
    normal = np.array([np.sin(turn), -np.cos(turn), 0.0])
    middle = np.array([20.0, 25.0, 10.0])
    box = [*(middle - 3.0 * normal), 60.0, 6.0, 20.0, turn]
    ue = np.array([32.0, 6.0, 1.7])
    paths = run(scene(box), ue)
    image = BS - 2 * ((BS - middle) @ normal) * normal
    line = ue - image
    point = image + ((middle - image) @ normal) / (line @ normal) * line
    k = path_off(paths, 1)
    np.testing.assert_allclose(paths.vertices_m[0, k, 0], point, atol=1e-9)
    assert paths.gain[0, k] == pytest.approx(reflected_gain(BS, ue, point, normal, WALL_ETA), rel=GAIN_SHARE)
    assert paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS == pytest.approx(np.linalg.norm(line), rel=1e-12)
    back = unit(point - ue)
    np.testing.assert_allclose(paths.aoa_rad[0, k], [np.arctan2(back[1], back[0]), np.arccos(back[2])], atol=1e-12)
    assert paths.path_kind[0, k] == 1


def test_a_wall_reflects_only_from_where_it_is():
    box = [20.0, 25.0, 5.0, 10.0, 6.0, 10.0, 0.0]  # 15 < x < 25; the mirror point runs over it
    x = np.linspace(0.0, 80.0, 801)
    paths = run(scene(box), np.column_stack([x, np.full(801, 2.0), np.full(801, 1.7)]))
    mirror_x = x * 22.0 / (22.0 + 20.0)
    on_wall = (mirror_x > 15.0) & (mirror_x < 25.0)
    np.testing.assert_array_equal((paths.valid & (paths.object_id[..., 0] == 1)).any(axis=1), on_wall)


def test_two_rays_over_the_ground_interfere_as_the_closed_form_says():
    distance = np.geomspace(5.0, 500.0, 200)
    ue = np.column_stack([distance, np.zeros(200), np.full(200, 1.7)])
    paths = run(scene(), ue)
    total = np.abs(paths.gain.sum(axis=1))
    direct, bounced = np.hypot(distance, 5.0 - 1.7), np.hypot(distance, 5.0 + 1.7)
    cosine = (5.0 + 1.7) / bounced
    root = np.sqrt(GROUND_ETA - (1 - cosine**2))
    r_p = (GROUND_ETA * cosine - root) / (GROUND_ETA * cosine + root)
    # Far away, r_p tends to -1; vertical antennas see it with the sign of the image's field.
    expected = np.abs(free_space(direct) + r_p * free_space(bounced))
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-4 * np.abs(free_space(direct)).min())


def test_the_ground_does_not_reflect_vertical_polarisation_at_the_brewster_angle():
    ue_height = 1.7
    eta = GROUND_ETA.real
    distance = (5.0 + ue_height) * np.sqrt(eta)  # tan(incidence) = sqrt(eta)
    world = Scene(np.empty((0, 7)), np.empty(0, complex), np.empty((0, 3, 3)), np.empty(0, complex), complex(eta))
    paths = run(world, [distance, 0.0, ue_height])
    assert np.abs(paths.gain[0, 1:]).max() < 1e-6 * np.abs(paths.gain[0, 0])


def test_doppler_is_the_difference_of_path_lengths():
    step_s, velocity = 1e-4, np.array([11.0, -2.0, 0.0])
    bus, bus_mps = np.array([16.0, 14.0, 2.0, 18.0, 2.5, 4.0, 0.03]), np.array([-9.0, -1.0])
    wall, ue = [10.0, -20.0, 5.0, 80.0, 4.0, 10.0, 0.0], np.array([25.0, 4.0, 1.7])
    now = run(scene(wall), ue, velocity, [bus], [bus_mps])
    moved = []
    for sign in (-1, 1):
        there = bus.copy()
        there[:2] += sign * step_s * bus_mps
        moved.append(run(scene(wall), ue + sign * step_s * velocity, velocity, [there], [bus_mps]))
    numbers = now.object_id[0, now.valid[0], 0]
    assert set(numbers) == {-1, 0, 1, 2}  # direct, ground, wall, bus
    for number in numbers:
        before, after = (paths.delay_s[0, path_off(paths, number)] for paths in moved)
        expected = -(after - before) / (2 * step_s) * CARRIER_HZ
        assert now.doppler_hz[0, path_off(now, number)] == pytest.approx(expected, abs=0.05)


def test_a_bus_between_car_and_base_station_darkens_the_direct_path():
    ue = np.array([[30.0, 8.0, 1.7]])
    bus = [24.0, 6.4, 1.6, 12.0, 2.5, 3.2, 0.0]
    clear, dark = run(scene(), ue), run(scene(), ue, movers=[bus])
    assert clear.line_of_sight[0]
    assert not clear.blocked[0]
    assert not dark.line_of_sight[0]
    assert dark.blocked[0]
    direct = np.abs(dark.gain[0, path_off(dark, -1)] / clear.gain[0, path_off(clear, -1)])
    assert -20 * np.log10(direct) == pytest.approx(dark.blockage_db[0], abs=1e-3)
    assert dark.blockage_db[0] > 10.0


def test_a_building_hides_without_being_a_vehicle_and_nothing_reflects_through_it():
    wall = [15.0, 0.0, 10.0, 4.0, 60.0, 20.0, 0.0]
    paths = run(scene(wall), [30.0, 0.0, 1.7])
    assert not paths.line_of_sight[0]
    assert not paths.blocked[0]
    assert paths.valid[0].sum() == 1  # no ground behind the wall, no reflection off its far side
    assert paths.blockage_db[0] > 30.0


def test_the_cars_own_body_neither_hides_nor_echoes_but_shields_from_below():
    ue = [20.0, 0.0, 1.7]
    own = [20.0, 0.0, 0.75, 4.6, 1.8, 1.5, 0.0]
    paths = run(scene(), ue, movers=[own], ue_mover=0)
    assert paths.line_of_sight[0]
    assert paths.valid[0].sum() == 1
    low = run(scene(), ue, movers=[own], ue_mover=0, bs=[0.0, 0.0, 1.2])
    assert low.line_of_sight[0]


def test_a_mesh_of_a_box_is_the_box():
    box = [20.0, 25.0, 5.0, 30.0, 6.0, 10.0, 0.3]
    placed = trimesh.creation.box(box[3:6], trimesh.transformations.rotation_matrix(box[6], [0, 0, 1]))
    placed.apply_translation(box[:3])
    ue = np.column_stack([np.linspace(3.0, 40.0, 40), np.linspace(-4.0, 50.0, 40), np.full(40, 1.7)])
    as_box, as_mesh = run(scene(box), ue), run(scene(triangles=np.asarray(placed.triangles)), ue)
    np.testing.assert_array_equal(as_box.line_of_sight, as_mesh.line_of_sight)
    assert not as_box.line_of_sight.all()
    for t in np.flatnonzero(as_box.line_of_sight & (as_box.blockage_db == 0)):
        np.testing.assert_array_equal(as_box.valid[t], as_mesh.valid[t])
        np.testing.assert_allclose(as_box.gain[t], as_mesh.gain[t], rtol=1e-4, atol=1e-12)


def test_a_frame_that_a_mesh_hides_has_only_noise():
    wall = np.array([[[10, -900, -900], [10, 900, -900], [10, 0, 900.0]]])
    paths = run(scene(triangles=wall), [20.0, 0.0, 1.7])
    assert not paths.line_of_sight[0]
    assert np.isinf(paths.blockage_db[0])
    assert not paths.valid.any()
    power = beam_power(paths.gain, paths.aod_rad[..., 0], uniform_angle())
    assert best_beam(power)[0] == -1
    sweep = measure_sweep(power, 1e-10, 64, np.random.default_rng(0))
    assert sweep.mean() == pytest.approx(1e-10, rel=0.1)


def test_a_path_is_as_strong_the_other_way_round():
    wall, ue = [10.0, 22.0, 6.0, 60.0, 6.0, 12.0, 0.2], np.array([25.0, -4.0, 1.7])
    there, back = run(scene(wall), ue), run(scene(wall), BS, bs=ue)
    np.testing.assert_allclose(there.gain, back.gain, rtol=1e-6, atol=1e-15)


def crowd(frames=300, seed=0):
    rng = np.random.default_rng(seed)
    ue = np.column_stack([np.linspace(-60, 60, frames), np.full(frames, 12.0), np.full(frames, 1.7)])
    movers = np.zeros((frames, 12, 7))
    movers[..., 0] = rng.uniform(-60, 60, 12) + np.linspace(0, 20, frames)[:, None]
    movers[..., 1] = rng.choice([6.0, 9.0, 15.0], 12)
    movers[..., 2:6] = [1.6, 12.0, 2.5, 3.2]
    movers[::3, 5] = np.nan  # an absent vehicle
    walls = [[x, 25.0, 7.0, 18.0, 10.0, 14.0, 0.0] for x in range(-60, 61, 20)]
    return scene(*walls), ue, movers


def test_results_do_not_depend_on_the_number_of_threads_or_on_the_other_frames():
    world, ue, movers = crowd()
    velocity, mover_velocity = np.tile([10.0, 0.0, 0.0], (300, 1)), np.ones((300, 12, 2))

    def traced(rows):
        return trace(world, BS, ue[rows], velocity[rows], movers[rows], mover_velocity[rows], CARRIER_HZ)

    everything = traced(slice(None))
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = traced(slice(None))
    finally:
        numba.set_num_threads(before)
    part = traced(slice(70, 71))
    for name in everything.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(everything, name), getattr(alone, name))
        np.testing.assert_array_equal(getattr(everything, name)[70:71], getattr(part, name))


@pytest.mark.parametrize("turn", [0.7, np.pi / 2, -2.9])
def test_turning_the_world_turns_the_azimuths_and_nothing_else(turn):
    world, ue, movers = crowd(60)
    velocity = np.tile([10.0, 2.0, 0.0], (60, 1))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def turned(rows):
        rows = rows.copy()
        rows[..., :2] = rows[..., :2] @ spin.T
        if rows.shape[-1] == 7:
            rows[..., 6] += turn
        return rows

    still = np.zeros((60, 12, 2))
    one = trace(world, BS, ue, velocity, movers, still, CARRIER_HZ)
    other = trace(scene(*turned(world.box)), BS, turned(ue), turned(velocity), turned(movers), still, CARRIER_HZ)
    np.testing.assert_array_equal(one.object_id, other.object_id)
    np.testing.assert_allclose(other.gain, one.gain, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(other.doppler_hz, one.doppler_hz, atol=1e-6)
    shift = (other.aod_rad - one.aod_rad)[one.valid]
    np.testing.assert_allclose(np.exp(1j * shift[:, 0]), np.exp(1j * turn), atol=1e-9)
    np.testing.assert_allclose(shift[:, 1], 0.0, atol=1e-9)


def test_paths_are_sorted_padded_and_never_stronger_than_free_space():
    world, ue, movers = crowd()
    paths = trace(world, BS, ue, np.zeros((300, 3)), movers, np.zeros((300, 12, 2)), CARRIER_HZ)
    power = np.abs(paths.gain)
    assert (np.diff(power, axis=1) <= 0).all()
    assert (power[~paths.valid] == 0).all()
    assert (paths.path_kind[~paths.valid] == -1).all()
    assert np.isnan(paths.vertices_m[~paths.valid]).all()
    length = paths.delay_s[paths.valid] * SPEED_OF_LIGHT_MPS
    assert (power[paths.valid] <= np.abs(free_space(length)) * (1 + 1e-6)).all()
    assert np.isfinite(power).all()
    few = trace(world, BS, ue, np.zeros((300, 3)), movers, np.zeros((300, 12, 2)), CARRIER_HZ, max_paths=2)
    np.testing.assert_array_equal(few.gain, paths.gain[:, :2])
