"""The tracer in the open: Friis, two rays, what hides and what does not, and the same result however it is asked."""

from dataclasses import fields, replace

import numba
import numpy as np
import pytest

from twin.errors import UserError
from twin.geometry.facets import Body
from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.propagation.tracer import Tracer
from twin.radio.codebook import uniform_angle
from twin.radio.sweep import beam_power, best_beam, measure_sweep

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
BS = np.array([0.0, 0.0, 5.0])
GAIN_SHARE = 1e-6
"""Relative error of a gain, stored in complex64."""


def traced(bodies, ue, *, bs=BS, velocity=None, movers=None, ue_mover=None, carrier_hz=CARRIER_HZ, **options):
    tracer = Tracer(bodies, np.asarray(bs, float), carrier_hz, **options)
    return tracer.paths(np.atleast_2d(np.asarray(ue, float)), velocity, movers, ue_mover)


def street(world, count=7):
    """A ground and two rows of houses, none quite parallel to its neighbours."""
    turns = np.random.default_rng(4).uniform(-0.1, 0.1, 2 * count)
    rows = [(x, y, 0.0, 16.0, 10.0, 14.0) for y in (-12.0, 26.0) for x in 20.0 * (np.arange(count) - count // 2)]
    return [world.ground(), *(world.box((*row, turn)) for row, turn in zip(rows, turns, strict=True))]


def drive(frames, y=12.0):
    return np.column_stack([np.linspace(-60.0, 60.0, frames), np.full(frames, y), np.full(frames, 1.7)])


def crowd(world, frames, seed=0):
    """Twelve vans of which every third is away every third frame."""
    rng = np.random.default_rng(seed)
    pose = np.zeros((frames, 12, 4))
    pose[..., 0] = rng.uniform(-60, 60, 12) + np.linspace(0, 20, frames)[:, None]
    pose[..., 1], pose[..., 3] = rng.choice([4.0, 8.0, 16.0], 12), rng.uniform(-0.05, 0.05, 12)
    shape = np.zeros((frames, 12), int)
    shape[::3, ::3] = -1
    pose[shape < 0] = np.nan
    return world.movers(pose, rng.uniform(-12, 12, (12, 3)) * [1, 1, 0], shape)


def van(world):
    return world.box((0.0, 0.0, 0.3, 6.0, 2.2, 2.6, 0.0), world.METAL, "van")


def test_the_direct_path_obeys_friis(physics):
    ue = np.array([[30.0, -12.0, 1.7], [5.0, 3.0, 1.7], [200.0, 90.0, 2.5]])
    paths = traced([], ue)
    assert (paths.valid.sum(axis=1) == 1).all()
    for t in range(3):
        line = ue[t] - BS
        length = np.linalg.norm(line)
        assert paths.gain[t, 0] == pytest.approx(physics.free_space(length), rel=GAIN_SHARE)
        assert paths.delay_s[t, 0] == pytest.approx(length / SPEED_OF_LIGHT_MPS, rel=1e-12)
        for found, k in ((paths.aod_rad, line / length), (paths.aoa_rad, -line / length)):
            np.testing.assert_allclose(found[t, 0], [np.arctan2(k[1], k[0]), np.arccos(k[2])], atol=1e-12)
    assert paths.line_of_sight.all()
    assert not paths.blocked.any()
    assert not paths.enclosed.any()
    assert (paths.blockage_db == 0).all()


@pytest.mark.parametrize("carrier_hz", [3.5e9, 28e9, 73e9])
def test_twice_the_distance_or_frequency_costs_6_db(carrier_hz):
    ue = BS + np.array([[10.0, 2.0, -3.0], [20.0, 4.0, -6.0]])
    power = np.abs(traced([], ue, carrier_hz=carrier_hz).gain[:, 0]) ** 2
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(20 * np.log10(2), abs=1e-5)
    twice = np.abs(traced([], ue, carrier_hz=2 * carrier_hz).gain[:, 0]) ** 2
    np.testing.assert_allclose(10 * np.log10(power / twice), 20 * np.log10(2), atol=1e-5)


@pytest.mark.parametrize("polarisation", ["vertical", "horizontal"])
@pytest.mark.parametrize("carrier_hz", [2.4e9, 60e9])
def test_two_rays_over_the_ground_interfere_as_the_closed_form_says(world, physics, polarisation, carrier_hz):
    distance = np.geomspace(5.0, 500.0, 400)
    ue = np.column_stack([distance, np.zeros(400), np.full(400, 1.7)])
    paths = traced([world.ground()], ue, carrier_hz=carrier_hz)
    assert (paths.valid.sum(axis=1) == 2).all()
    which = 0 if polarisation == "vertical" else 1
    total = np.abs(paths.transfer[..., which, which].sum(axis=1))
    wavelength = SPEED_OF_LIGHT_MPS / carrier_hz
    direct, bounced = np.hypot(distance, 5.0 - 1.7), np.hypot(distance, 5.0 + 1.7)
    # Far away both coefficients tend to -1: r_p is that of the vertical field, r_s of the horizontal one.
    r_s, r_p = np.transpose([physics.fresnel((5.0 + 1.7) / length, world.EARTH, wavelength) for length in bounced])
    ray = physics.free_space(direct, wavelength)
    other = (r_p if polarisation == "vertical" else r_s) * physics.free_space(bounced, wavelength)
    np.testing.assert_allclose(total, np.abs(ray + other), rtol=1e-4, atol=1e-4 * np.abs(ray).min())


def test_a_building_hides_without_being_a_vehicle_and_nothing_reflects_through_it(world):
    wall = world.box((15.0, 0.0, 0.0, 4.0, 60.0, 20.0, 0.0))
    paths = traced([world.ground(), wall], [[30.0, 0.0, 1.7], [10.0, 0.0, 1.7]])
    np.testing.assert_array_equal(paths.line_of_sight, [False, True])
    assert not paths.blocked.any()
    assert not paths.valid[0].any()
    assert paths.valid[1].sum() == 4  # direct, ground, wall, and over both: two bounces in one of the two orders


def test_nothing_is_above_a_roof_that_a_ray_just_clears(world):
    roof = world.box((15.0, 0.0, 0.0, 4.0, 60.0, 4.0, 0.0))
    height = 5.0 + (4.0 - 5.0) / 17.0 * 30.0  # of the ray over the far edge, at 30 m
    paths = traced([roof], [[30.0, 0.0, height + 1e-6], [30.0, 0.0, height - 1e-6]])
    np.testing.assert_array_equal(paths.line_of_sight, [True, False])


def test_a_frame_that_a_sheet_hides_has_only_noise(world):
    sheet = world.plate((10, -900, -900), (10, 900, -900), (10, 0, 900))
    paths = traced([sheet], [20.0, 0.0, 1.7])
    assert not paths.line_of_sight[0]
    assert not paths.enclosed[0]
    assert not paths.valid.any()
    power = beam_power(paths.gain, paths.aod_rad[..., 0], uniform_angle())
    assert best_beam(power)[0] == -1
    sweep = measure_sweep(power, 1e-10, 64, np.random.default_rng(0))
    assert sweep.mean() == pytest.approx(1e-10, rel=0.1)


def test_a_receiver_inside_a_solid_is_said_to_be(world):
    house = world.box((20.0, 0.0, 0.0, 10.0, 10.0, 10.0, 0.3))
    ue = [[20.0, 0.0, 1.7], [22.0, -3.0, 9.0], [40.0, 0.0, 1.7], [20.0, 0.0, 10.5]]
    for bodies in ([house], [world.ground(), house], [replace(house, face=house.face[:, ::-1])]):
        paths = traced(bodies, ue)
        np.testing.assert_array_equal(paths.enclosed, [True, True, False, False])
        assert not paths.valid[:2].any()


def test_a_house_of_loose_walls_has_surfaces_on_all_sides(world):
    """As in models of real cities: every wall and the roof is a body, none has an inside of its own."""
    house = world.box((20.0, 0.0, 0.0, 10.0, 10.0, 10.0, 0.3))
    walls = [replace(house, name=f"wall-{k}", face=house.face[2 * k : 2 * k + 2]) for k in (0, 1, 2, 3, 5)]  # no floor
    inside, outside = [20.0, 0.0, 1.7], [40.0, 0.0, 1.7]
    bodies = [world.ground(), *walls]
    assert not any(body.closed for body in bodies)
    tracer = Tracer(bodies, BS, CARRIER_HZ, order=1)
    np.testing.assert_array_equal(tracer.shut_in(np.array([inside, outside])), [True, False])
    dark = tracer.paths(np.array([inside]))
    assert not dark.valid.any()
    assert not dark.enclosed.any()
    without_roof = Tracer(bodies[:-1], BS, CARRIER_HZ, order=1)
    assert not without_roof.shut_in(np.array([inside])).any()


def test_a_base_station_in_a_room_reaches_the_room_and_nothing_else(world):
    room = world.box((0.0, 0.0, 0.0, 20.0, 12.0, 8.0, 0.2))
    paths = traced([room], [[3.0, 2.0, 1.5], [30.0, 0.0, 1.5]], order=1)
    np.testing.assert_array_equal(paths.enclosed, [False, True])
    np.testing.assert_array_equal(paths.valid.sum(axis=1), [7, 0])


def test_a_street_full_of_receivers_is_not_inside_its_houses(world):
    """Counting surfaces along a ray must not trip over the seams of their triangles."""
    rows = [(x, y, 0.0, 12.0, 12.0, 12.0, 0.0) for x in (-20.0, 0.0, 20.0) for y in (20.0, 50.0)]
    x, y = np.meshgrid(np.arange(-36.0, 37.0, 0.5), np.arange(-5.0, 70.0, 0.5))
    ue = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 1.5)])
    outside = np.all([(np.abs(ue - [*row[:2], 0.0]) > 6.01)[:, :2].any(axis=1) for row in rows], axis=0)
    inside = np.any([(np.abs(ue - [*row[:2], 0.0]) < 5.99)[:, :2].all(axis=1) for row in rows], axis=0)
    paths = traced([world.ground(), *(world.box(row) for row in rows)], ue, order=1)
    assert not paths.enclosed[outside].any()
    assert paths.enclosed[inside].all()


def test_a_mesh_with_a_hole_lets_through_what_goes_through_the_hole(world):
    house = world.box((20.0, 0.0, 0.0, 10.0, 10.0, 10.0, 0.0))
    without_front = replace(house, face=house.face[2:])  # the two triangles at x = 15
    ue = [[20.0, 0.0, 2.0], [20.0, 8.0, 2.0]]
    paths = traced([without_front], ue, order=1)
    assert paths.line_of_sight[0]
    assert not paths.enclosed.any()
    assert {0, 1} <= set(paths.order[0])  # and its back reflects from within
    assert traced([house], ue[0]).enclosed[0]


@pytest.mark.parametrize("apart_m", [0.0, 2e-6, 5e-5])
@pytest.mark.parametrize("diffraction", [False, True])
def test_faces_and_edges_that_lie_in_one_place_count_once(world, physics, apart_m, diffraction):
    """A floor of the scenery in the plane of the ground; a house that is listed twice, but for rounding."""
    house = world.box((10.0, 15.0, 0.0, 30.0, 6.0, 12.0, 0.2))
    floor = replace(world.ground(), name="floor", vertex_m=0.5 * world.ground().vertex_m)
    floor = replace(floor, vertex_m=floor.vertex_m - [0.0, 0.0, apart_m])
    again = replace(house, name="again", vertex_m=house.vertex_m + apart_m * np.array([0.6, 0.5, 0.0]))
    once = traced([world.ground(), house], drive(40, 4.0), order=2, diffraction=diffraction)
    twice = traced([world.ground(), house, floor, again], drive(40, 4.0), order=2, diffraction=diffraction)
    assert (once.valid.sum(axis=1) > 3).any()
    physics.same_paths(once, twice)


def test_triangles_without_area_change_nothing(world, physics):
    house = world.box((10.0, 15.0, 0.0, 30.0, 6.0, 12.0, 0.2))
    spoilt = replace(house, face=np.concatenate([[[0, 0, 1]], house.face, [[3, 7, 7], [2, 2, 2]]]))
    physics.same_paths(traced([house], drive(40, 4.0)), traced([spoilt], drive(40, 4.0)))
    with pytest.raises(UserError, match="without area"):
        traced([Body("line", np.zeros((3, 3)), np.array([[0, 1, 2]]), world.CONCRETE)], [20.0, 0.0, 2.0])


def test_what_is_no_number_or_in_no_place_is_a_users_error(world):
    with pytest.raises(UserError, match="receiver"):
        traced([], [np.nan, 0.0, 1.7])
    with pytest.raises(UserError, match="base station"):
        traced([], [20.0, 0.0, 1.7], bs=[0.0, np.inf, 5.0])
    with pytest.raises(UserError, match="velocity"):
        traced([], [20.0, 0.0, 1.7], velocity=np.array([[np.nan, 0.0, 0.0]]))
    with pytest.raises(UserError, match="stands where"):
        traced([], BS)
    with pytest.raises(UserError, match=r"velocities of shape \(2, 3\)"):
        traced([], [20.0, 0.0, 1.7], velocity=np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"a position of shape \(2,\)"):
        traced([], [20.0, 0.0, 1.7], bs=[0.0, 5.0])
    for shape in ((3,), (2, 4), (1, 1, 1, 3)):
        with pytest.raises(UserError, match="positions of shape"):
            Tracer([], BS, CARRIER_HZ).paths(np.zeros(shape))
    with pytest.raises(UserError, match="not finite"):
        world.plate((0, 0, 0), (1, 0, 0), (0, np.nan, 1))
    with pytest.raises(UserError, match="no triangles"):
        Body("nothing", np.zeros((3, 3)), np.zeros((0, 3), int), world.CONCRETE)
    with pytest.raises(UserError, match="do not exist"):
        Body("loose", np.zeros((3, 3)), np.array([[0, 1, 3]]), world.CONCRETE)


def test_a_model_or_order_that_there_is_not_is_a_users_error(world):
    for options, what in (({"order": 4}, "4 bounces"), ({"order": -1}, "-1 bounces"), ({"blockage": "fog"}, "fog")):
        with pytest.raises(UserError, match=what):
            traced([], [20.0, 0.0, 1.7], **options)
    for carrier_hz in (0.0, -1e9, np.nan, np.inf):
        with pytest.raises(UserError, match="no carrier"):
            traced([], [20.0, 0.0, 1.7], carrier_hz=carrier_hz)
    for options in ({"max_paths": 0}, {"max_paths": 2.5}, {"max_paths": np.nan}, {"order": 1.5}):
        with pytest.raises(UserError, match=r"path|bounces"):
            traced([], [20.0, 0.0, 1.7], **options)


@pytest.mark.parametrize("shape", [(0, 3), (0, 5, 3), (4, 0, 3)])
def test_no_frames_or_no_receivers_have_no_paths(world, shape):
    paths = Tracer([world.ground()], BS, CARRIER_HZ, order=1).paths(np.zeros(shape))
    assert paths.valid.shape == (*shape[:-1], 12)


def test_without_bounces_there_is_only_the_direct_path(world):
    paths = traced(street(world), drive(30), order=0)
    assert (paths.order[paths.valid] == 0).all()
    np.testing.assert_array_equal(paths.valid.any(axis=1), paths.line_of_sight)


def test_paths_are_sorted_padded_and_never_stronger_than_free_space(world, physics):
    shapes, movers = [van(world)], crowd(world, 100)
    paths = traced(street(world), drive(100), movers=movers, shapes=shapes, order=2, max_paths=40)
    assert (paths.order == 2).any()
    power = (np.abs(paths.transfer) ** 2).sum(axis=(2, 3)) / 2
    assert (np.diff(power, axis=1) <= 1e-6 * power[:, :-1]).all()
    nothing = ~paths.valid
    assert (paths.path_kind[nothing] == -1).all()
    assert (paths.order[nothing] == -1).all()
    assert np.isnan(paths.vertices_m[nothing]).all()
    for name in ("gain", "transfer", "delay_s", "aod_rad", "aoa_rad", "doppler_hz", "blockage_db"):
        assert np.isfinite(getattr(paths, name)).all()
        assert (getattr(paths, name)[nothing] == 0).all()
    length = paths.delay_s[paths.valid] * SPEED_OF_LIGHT_MPS
    largest = np.linalg.norm(paths.transfer[paths.valid], 2, axis=(1, 2))
    assert (largest <= np.abs(physics.free_space(length)) * (1 + 1e-5)).all()
    few = traced(street(world), drive(100), movers=movers, shapes=shapes, order=2, max_paths=3)
    np.testing.assert_array_equal(few.transfer, paths.transfer[:, :3])


def test_the_frequency_response_is_the_fourier_transform_of_the_delays(world):
    paths = traced(street(world), drive(20))
    offset_hz = np.linspace(-200e6, 200e6, 41)
    response = paths.frequency_response(offset_hz)
    coefficient, delay_s = paths.impulse_response()
    for t in range(20):
        slow = [sum(a * np.exp(-2j * np.pi * f * tau) for a, tau in zip(coefficient[t], delay_s[t], strict=True))
                for f in offset_hz]  # fmt: skip
        np.testing.assert_allclose(response[t], slow, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(paths.frequency_response(np.zeros(1))[:, 0], paths.channel(), rtol=1e-12)


def test_delay_spread_makes_the_band_fade_where_half_waves_fit(world):
    """Two rays fade every c / (difference of lengths) hertz."""
    paths = traced([world.ground(world.METAL)], [6.0, 0.0, 4.0])
    spacing_hz = 1.0 / (paths.delay_s[0, 1] - paths.delay_s[0, 0])
    offset_hz = np.linspace(0.0, 5 * spacing_hz, 5000, endpoint=False)
    level = np.abs(paths.frequency_response(offset_hz)[0])
    dips = np.flatnonzero((level < np.roll(level, 1)) & (level < np.roll(level, -1)))
    np.testing.assert_allclose(np.diff(offset_hz[dips]), spacing_hz, rtol=1e-2)
    assert abs(paths.delay_s[0, 0] - paths.delay_s[0, 1]) * SPEED_OF_LIGHT_MPS > 1.0


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_do_not_depend_on_threads_batches_or_other_frames(world, threads, monkeypatch):
    """Bit by bit: 200 receivers make several jobs of a frame."""
    tracer = Tracer(street(world), BS, CARRIER_HZ, [van(world)], order=2, diffraction=True)
    ue = drive(200)[None] + np.array([0.0, 1.0, 0.5])[:, None, None] * [0.3, 0.2, 0.0]
    movers, velocity = crowd(world, 3), np.full(ue.shape, [10.0, -1.0, 0.0])
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    everything = tracer.paths(ue, velocity, movers)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    for t, r in ((0, 0), (1, 70), (2, 199)):
        part = type(movers)(*(getattr(movers, field.name)[t : t + 1] for field in fields(movers)))
        alone = tracer.paths(ue[t : t + 1, r], velocity[t : t + 1, r], part)
        for field in fields(everything)[:-1]:  # the last names the model
            np.testing.assert_array_equal(getattr(everything, field.name)[t, r], getattr(alone, field.name)[0])


@pytest.mark.parametrize("turn", [0.7, np.pi / 2, -2.9])
def test_turning_the_world_turns_the_azimuths_and_nothing_else(world, turn):
    spin, velocity = world.spin(turn), np.tile([10.0, 2.0, 0.0], (60, 1))
    bodies, movers = street(world), crowd(world, 60)
    turned_bodies = [replace(body, vertex_m=body.vertex_m @ spin.T) for body in bodies]
    pose = movers.pose.copy()
    pose[..., :3] = pose[..., :3] @ spin.T
    pose[..., 3] += turn
    turned_movers = replace(movers, pose=pose, velocity_mps=movers.velocity_mps @ spin.T)
    options = {"shapes": [van(world)], "order": 2}
    one = traced(bodies, drive(60), velocity=velocity, movers=movers, **options)
    other = traced(turned_bodies, drive(60) @ spin.T, velocity=velocity @ spin.T, movers=turned_movers, **options)
    for name in ("body", "facet", "line_of_sight", "blocked"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_allclose(other.transfer, one.transfer, rtol=1e-4, atol=1e-11)
    np.testing.assert_allclose(other.delay_s, one.delay_s, rtol=1e-12)
    np.testing.assert_allclose(other.doppler_hz, one.doppler_hz, atol=1e-6)
    for name in ("aod_rad", "aoa_rad"):
        shift = (getattr(other, name) - getattr(one, name))[one.valid]
        np.testing.assert_allclose(np.exp(1j * shift[:, 0]), np.exp(1j * turn), atol=1e-9)
        np.testing.assert_allclose(shift[:, 1], 0.0, atol=1e-9)


def swept(paths, boresight=0.0):
    """Powers of the beams of an array whose middle is the phase centre."""
    sine = np.sin(paths.aod_rad[..., 0] - boresight) * np.sin(paths.aod_rad[..., 1])
    return beam_power(paths.gain * np.exp(-1j * np.pi * 7.5 * sine), sine, uniform_angle())


def test_a_mirrored_street_gives_the_sweep_the_other_way_round(world):
    """Left and right change places: the beams reverse, and the cross-polar components change their sign."""
    mirror = np.array([1.0, -1.0, 1.0])
    bodies, ue = street(world), drive(60)
    flipped = [replace(body, vertex_m=body.vertex_m * mirror, face=body.face[:, ::-1]) for body in bodies]
    one, other = traced(bodies, ue), traced(flipped, ue * mirror)
    largest = swept(one).max(axis=1, keepdims=True)
    np.testing.assert_allclose(swept(other)[:, ::-1] / largest, swept(one) / largest, atol=1e-3)
    np.testing.assert_allclose(other.transfer * [[1, -1], [-1, 1]], one.transfer, rtol=1e-4, atol=1e-11)


def test_a_turned_street_gives_a_turned_array_the_same_sweep(world):
    turn, ue = 1.1, drive(60)
    bodies = street(world)
    turned = [replace(body, vertex_m=body.vertex_m @ world.spin(turn).T) for body in bodies]
    one, other = traced(bodies, ue), traced(turned, ue @ world.spin(turn).T)
    largest = swept(one).max(axis=1, keepdims=True)
    np.testing.assert_allclose(swept(other, turn) / largest, swept(one) / largest, atol=1e-3)
