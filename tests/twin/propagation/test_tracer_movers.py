"""Moving bodies: like standing ones at every instant, with the Doppler shift of changing lengths and fading shadows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.propagation.tracer import Tracer

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
BS = np.array([0.0, 0.0, 5.0])
MODELS = ["double_knife_edge", "model_b"]
VAN = (0.0, 0.0, 0.3, 6.0, 2.2, 2.6, 0.0)
BUS = (0.0, 0.0, 0.0, 12.0, 2.5, 3.2, 0.0)


def street(world):
    places = ((0.0, 16.0, 0.03), (34.0, 17.0, -0.05), (20.0, -14.0, 0.02))
    rows = [(x, y, 0.0, 30.0, 8.0, 12.0, turn) for x, y, turn in places]
    return [world.ground(), *(world.box(row) for row in rows)]


def standing(shape, pose, spin):
    """The body that a mover is at one instant."""
    return replace(shape, vertex_m=shape.vertex_m @ spin(pose[3]).T + np.asarray(pose[:3]))


def direct(paths):
    """The direct path of every frame: its gain over free space [dB]."""
    k = np.argmax(paths.valid & (paths.order == 0), axis=-1)[:, None]
    gain = np.take_along_axis(np.abs(paths.gain), k, -1)[:, 0]
    length = np.take_along_axis(paths.delay_s, k, -1)[:, 0] * SPEED_OF_LIGHT_MPS
    return 20 * np.log10(gain * 4 * np.pi * length / WAVELENGTH_M)


@pytest.mark.parametrize("seed", range(6))
def test_a_body_that_moves_is_the_same_body_standing_there(world, physics, seed):
    rng = np.random.default_rng(seed)
    wedge = world.prism([(0.0, 2.5), (-1.0, 0.2), (2.0, 0.2)], 5.0, name="wedge")
    shapes = [world.box(VAN, world.METAL), world.box(BUS), wedge]
    pose = np.column_stack([rng.uniform([-15, -8, -0.1], [40, 10, 0.5], (6, 3)), rng.uniform(-3, 3, 6)])
    which = rng.integers(-1, 3, 6)
    ue = rng.uniform([-15, -9, 1.7], [45, 11, 6], (20, 3))
    bodies, bs = street(world), np.array([3.0, -2.0, 5.0])
    velocity = np.full(ue.shape, [5.0, 1.0, 0.0])
    options = {"order": 2 + seed % 2, "max_paths": 80}
    moving = Tracer(bodies, bs, CARRIER_HZ, shapes, **options).paths(
        ue[None], velocity[None], world.movers(pose, shape=which)
    )
    there = [slot for slot in range(6) if which[slot] >= 0]
    still = [standing(shapes[which[slot]], pose[slot], world.spin) for slot in there]
    fixed = Tracer([*bodies, *still], bs, CARRIER_HZ, **options).paths(ue[None], velocity[None])
    number = np.array([*range(len(bodies)), *(len(bodies) + slot for slot in there), -1])
    one, other = (replace(p, **{n: v[0] for n, v in vars(p).items()}) for p in (moving, fixed))
    one, other = replace(one, blocked=other.blocked), replace(other, body=number[other.body])
    np.testing.assert_array_equal(one.enclosed, other.enclosed)
    assert one.valid.any(axis=1).mean() > 0.5
    physics.same_paths(one, other)
    assert (one.body >= len(bodies)).any()
    sets = [
        {(int(t), *map(int, p.body[t, k])) for t, k in zip(*np.nonzero(p.valid), strict=True)} for p in (one, other)
    ]
    assert sets[0] == sets[1]


def test_a_mesh_moves_like_the_box_that_it_is_the_surface_of(world, physics):
    van = world.box(VAN, world.METAL)
    loose = replace(van, vertex_m=van.triangle_m.reshape(-1, 3), face=np.arange(36).reshape(12, 3))
    pose = np.zeros((40, 1, 4))
    pose[:, 0] = np.column_stack([np.linspace(-20, 40, 40), np.full(40, 6.0), np.zeros(40), np.linspace(0, 3, 40)])
    ue = np.tile([[25.0, 2.0, 1.7]], (40, 1))
    one, other = (
        Tracer(street(world), BS, CARRIER_HZ, [shape]).paths(ue, movers=world.movers(pose)) for shape in (van, loose)
    )
    assert (one.body >= 4).any()
    physics.same_paths(one, other)


def test_a_drive_past_has_the_doppler_shift_of_the_closed_form():
    """f_d = -v^2 t / (lambda sqrt(d^2 + v^2 t^2)): +v / lambda far before, 0 abeam, -v / lambda far after."""
    t, speed, aside = np.linspace(-60.0, 60.0, 241), 14.0, 9.0
    ue = np.column_stack([speed * t, np.full(241, aside), np.full(241, 5.0)])
    paths = Tracer([], BS, CARRIER_HZ).paths(ue, np.tile([speed, 0.0, 0.0], (241, 1)))
    closed = -(speed**2) * t / (WAVELENGTH_M * np.hypot(aside, speed * t))
    np.testing.assert_allclose(paths.doppler_hz[:, 0], closed, atol=1e-6)
    assert paths.doppler_hz[0, 0] == pytest.approx(speed / WAVELENGTH_M, rel=1e-3)


def test_a_mirror_that_comes_closer_shifts_twice(world):
    """Straight into a wall that drives at both ends: 2 w / lambda, as a police radar sees."""
    shape = world.plate((0, -50, 0), (0, 50, 0), (0, 50, 40), (0, -50, 40), material=world.METAL)
    movers = world.movers([[30.0, 0.0, 0.0, 0.0]], [-20.0, 0.0, 0.0])
    paths = Tracer([], BS, CARRIER_HZ, [shape]).paths(BS[None] + [5.0, 0.0, 0.0], None, movers)
    np.testing.assert_allclose(paths.doppler_hz[0, :2], [0.0, 2 * 20.0 / WAVELENGTH_M], rtol=1e-12)


def test_a_floor_that_rises_shifts_by_its_speed_across_itself(world):
    """Twice w cos(theta) / lambda at the angle of incidence theta; sliding along itself it shifts nothing."""
    floor = world.plate((-90, -90, 0), (90, -90, 0), (90, 90, 0), (-90, 90, 0), material=world.METAL)
    ue, tracer = np.array([[24.0, 0.0, 5.0]]), Tracer([], BS, CARRIER_HZ, [floor])
    cosine = 5.0 / 13.0
    for velocity, closer in (([0.0, 0.0, 3.0], 2 * 3.0 * cosine), ([4.0, -7.0, 0.0], 0.0)):
        paths = tracer.paths(ue, movers=world.movers([[0.0, 0.0, 0.0, 0.2]], velocity))
        assert paths.doppler_hz[0, 1] == pytest.approx(closer / WAVELENGTH_M, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_doppler_is_the_difference_of_lengths_between_mirrors_that_move(world, order):
    """Two vans, a wall and the ground in all the orders that there are."""
    step_s, velocity = 1e-4, np.array([11.0, -2.0, 0.5])
    speeds = np.array([[-9.0, -1.0, 0.0], [4.0, 7.0, 0.2]])
    pose = np.array([[12.0, 14.0, 0.0, 0.003], [14.0, -11.0, 0.0, -0.002]])
    wall, ue = world.box((-22.0, 0.0, 0.0, 4.0, 80.0, 10.0, 0.0)), np.array([25.0, 4.0, 1.7])
    tracer = Tracer([world.ground(), wall], BS, CARRIER_HZ, [world.box((0, 0, 0, 18.0, 2.5, 5.5, 0.0))], order, 40)

    def at(time_s):
        moved = np.column_stack([pose[:, :3] + time_s * speeds, pose[:, 3]])
        return tracer.paths((ue + time_s * velocity)[None], velocity[None], world.movers(moved, speeds))

    def keyed(paths):
        keys = [(*paths.body[0, k], *paths.facet[0, k]) for k in np.flatnonzero(paths.valid[0])]
        return dict(zip(keys, paths.delay_s[0], strict=False))

    now, before, after = at(0.0), keyed(at(-step_s)), keyed(at(step_s))
    bodies = {tuple(body) for body in now.body[0, now.valid[0]]}
    if order == 1:
        assert bodies == {(-1,), (0,), (1,), (2,), (3,)}
    else:
        assert {(2, 3), (3, 2), (2, 0), (3, 0)} <= bodies
    for k in np.flatnonzero(now.valid[0]):
        key = (*now.body[0, k], *now.facet[0, k])
        expected = -(after[key] - before[key]) / (2 * step_s) * CARRIER_HZ
        assert now.doppler_hz[0, k] == pytest.approx(expected, abs=0.1)


def test_the_double_image_between_two_vans_is_where_two_mirrors_put_it(world, physics):
    van = world.box((0.0, 0.0, 0.0, 30.0, 2.0, 4.0, 0.0), world.METAL)
    pose = [[10.0, 7.0, 0.0, 0.04], [14.0, -6.0, 0.0, -0.03]]
    ue = np.array([20.0, 0.0, 2.0])
    bs = np.array([0.0, 0.0, 3.0])
    paths = Tracer([], bs, CARRIER_HZ, [van]).paths(ue[None], movers=world.movers(pose))
    planes = [(world.spin(h) @ [0, -s, 0], np.array([x, y, 0]) + world.spin(h) @ [0, -s, 0])
              for (x, y, _, h), s in zip(pose, (1.0, -1.0), strict=True)]  # fmt: skip
    for order in ([0, 1], [1, 0]):
        points = physics.over_mirrors(bs, ue, [planes[slot] for slot in order])
        k = physics.path_off(paths, *order)
        np.testing.assert_allclose(paths.vertices_m[0, k], points[1:-1], atol=1e-9)
        expected = physics.transfer(points, [planes[slot][0] for slot in order], [world.METAL] * 2)
        np.testing.assert_allclose(paths.transfer[0, k], expected, atol=1e-6 * np.abs(expected).max())


def test_without_a_model_what_a_van_hides_is_gone(world):
    ue = np.array([[30.0, 8.0, 1.7]])
    tracer = Tracer([], BS, CARRIER_HZ, [world.box(BUS, world.METAL)])
    assert tracer.paths(ue).valid.sum() == 1
    dark = tracer.paths(ue, movers=world.movers([[24.0, 6.4, 0.0, 0.0]]))
    assert dark.blocked[0]
    assert not dark.line_of_sight[0]
    assert not (dark.order == 0).any()


@pytest.mark.parametrize("model", MODELS)
def test_a_bus_between_car_and_base_station_darkens_the_direct_path(world, model):
    ue = np.array([[30.0, 8.0, 1.7]])
    tracer = Tracer([], BS, CARRIER_HZ, [world.box(BUS, world.METAL)], order=0, blockage=model)
    clear = tracer.paths(ue, movers=world.movers([[24.0, 26.4, 0.0, 0.0]]))
    dark = tracer.paths(ue, movers=world.movers([[24.0, 6.4, 0.0, 0.0]]))
    assert clear.line_of_sight[0]
    assert not clear.blocked[0]
    assert not dark.line_of_sight[0]
    assert dark.blocked[0]
    assert clear.blockage_db[0, 0] == pytest.approx(0.0, abs=0.05)
    lost_db = -20 * np.log10(np.abs(dark.gain[0, 0] / clear.gain[0, 0]))
    assert lost_db == pytest.approx(dark.blockage_db[0, 0] - clear.blockage_db[0, 0], abs=1e-3)
    assert 10.0 < dark.blockage_db[0, 0] < 60.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("far", [1.0, 10.0])
def test_the_shadow_of_a_vehicle_begins_steadily(world, model, direction, far):
    """A bus drives (or rises) into the ray in steps of a tenth of a wavelength: no step is above 1 dB."""
    ue = far * np.array([30.0, 4.0, -3.3]) + BS
    middle = BS + 0.7 * (ue - BS)
    steps = np.arange(-15.0 if direction[0] == 1.0 else -9.0, 2.5 if direction[0] else 9.0, WAVELENGTH_M / 10)
    steps = steps[:, None] * direction
    pose = np.zeros((len(steps), 1, 4))
    pose[:, 0, :3] = middle + steps - [0.0, 0.0, 0.8 * 3.2]
    pose[:, 0, 3] = 0.2
    tracer = Tracer([], BS, CARRIER_HZ, [world.box(BUS, world.METAL)], order=0, blockage=model)
    paths = tracer.paths(np.tile(ue, (len(steps), 1)), movers=world.movers(pose))
    assert 0 < paths.blocked.sum() < len(steps)
    level_db = direct(paths)
    assert level_db.min() < -10.0
    assert np.abs(np.diff(level_db)).max() < 1.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("turn", [0.0, np.pi / 2])
def test_a_leg_of_a_reflection_fades_as_steadily(world, model, turn):
    """500 m, where the first Fresnel zone is wide: the vehicle is felt before it touches the ray."""
    wall = world.plate((-400, 30, 0), (400, 30, 0), (400, 30, 60), (-400, 30, 60), material=world.METAL)
    ue = np.array([450.0, 0.0, 5.0])
    steps = np.arange(-8.0, 8.0, WAVELENGTH_M / 10)
    pose = np.zeros((len(steps), 1, 4))
    pose[:, 0, :3] = np.column_stack(
        [np.full(len(steps), 100.0), 30.0 * 100.0 / 225.0 + steps, np.full(len(steps), 3.0)]
    )
    pose[:, 0, 3] = turn
    tracer = Tracer([wall], BS, CARRIER_HZ, [world.box(BUS, world.METAL)], order=1, blockage=model)
    paths = tracer.paths(np.tile(ue, (len(steps), 1)), movers=world.movers(pose))
    off_wall = (paths.body[..., 0] == 0) & (paths.order == 1)
    assert (off_wall.sum(axis=1) == 1).all()
    level_db = 20 * np.log10(np.abs(paths.gain[off_wall]))
    assert np.ptp(level_db) > 10.0
    assert np.abs(np.diff(level_db)).max() < 1.0


def test_the_cars_own_body_neither_hides_nor_echoes_but_shields_from_below(world):
    ue = np.array([[20.0, 0.0, 1.7]])
    own = world.movers([[20.0, 0.0, 0.0, 0.0]])
    car = world.box((0.0, 0.0, 0.0, 4.6, 1.8, 1.5, 0.0), world.METAL)
    for model in ("none", *MODELS):
        tracer = Tracer([world.ground()], BS, CARRIER_HZ, [car], blockage=model)
        paths = tracer.paths(ue, movers=own, ue_mover=0)
        assert paths.line_of_sight[0]
        assert not paths.blocked[0]
        assert paths.valid[0].sum() == 1
        assert paths.blockage_db[0, 0] == 0.0
        assert tracer.paths(ue, movers=own).valid[0].sum() > 1  # somebody else's roof reflects
        low = Tracer([], np.array([0.0, 0.0, 1.2]), CARRIER_HZ, [car], blockage=model).paths(ue, movers=own, ue_mover=0)
        assert low.line_of_sight[0]
        assert low.valid[0].sum() == 1


def test_a_receiver_inside_another_vehicle_is_said_to_be(world):
    tracer = Tracer([world.ground()], BS, CARRIER_HZ, [world.box(BUS, world.METAL)])
    ue, there = np.array([[20.0, 0.5, 1.7]]), world.movers([[21.0, 0.0, 0.0, 0.3]])
    assert tracer.paths(ue, movers=there).enclosed[0]
    assert not tracer.paths(ue, movers=there).valid.any()
    assert not tracer.paths(ue, movers=there, ue_mover=0).enclosed[0]
    assert tracer.paths(ue, movers=there, ue_mover=0).line_of_sight[0]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_vehicle_that_is_away_is_not_there(world, physics, seed):
    rng = np.random.default_rng(seed)
    pose = np.column_stack([rng.uniform([0, -8, 0], [30, 8, 0], (3, 3)), rng.uniform(-3, 3, 3)])
    tracer = Tracer([world.ground()], BS, CARRIER_HZ, [world.box(VAN, world.METAL)])
    ue = np.array([[32.0, 1.0, 1.7]])
    some = tracer.paths(ue, movers=world.movers(np.where([[1], [0], [1]], pose, np.nan), shape=[0, -1, 0]))
    few = tracer.paths(ue, movers=world.movers(pose[[0, 2]]))
    physics.same_paths(some, few)
    renamed = np.where(some.body == 3, 2, some.body)
    np.testing.assert_array_equal(renamed, few.body)


def test_movers_that_make_no_sense_are_a_users_error(world):
    tracer = Tracer([], BS, CARRIER_HZ, [world.box(VAN, world.METAL)])
    ue, pose = np.array([[30.0, 1.0, 1.7]]), np.array([[10.0, 0.0, 0.0, 0.0]])
    one = world.movers(pose)
    for movers, slot in (
        (world.movers(pose, shape=[1]), None),
        (world.movers(np.tile(pose, (2, 1, 1))), None),
        (world.movers([[np.nan, 0.0, 0.0, 0.0]]), None),
        (world.movers([[10.0, 0.0, 0.0, np.inf]]), None),
        (world.movers(pose, [np.nan, 0.0, 0.0]), None),
        (replace(one, pose=one.pose[:, :0]), None),
        (replace(one, velocity_mps=one.velocity_mps[:, :0]), None),
        (one, 1),
        (one, -2),
    ):
        with pytest.raises(UserError):
            tracer.paths(ue, movers=movers, ue_mover=slot)
