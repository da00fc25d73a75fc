"""Sionna RT as a backend: where it is found, what moves, and that it finds the same whoever else is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from twin.errors import UserError
from twin.geometry.facets import Body
from twin.geometry.scene_files import load_builtin_scene
from twin.propagation import sionna
from twin.propagation.materials import RadioMaterial
from twin.propagation.movers import Movers
from twin.propagation.parity.matching import differences, match
from twin.propagation.paths import Interaction
from twin.propagation.sionna import SionnaTracer, find_llvm, load_sionna
from twin.propagation.tracer import Tracer

needs_sionna = pytest.mark.usefixtures("sionna_rt")

BS = np.array([0.0, 0.0, 6.0])
CARRIER_HZ = 28e9
MOST_PATHS = 64
SAMPLES = 100_000


def library(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_newest_llvm_is_chosen(tmp_path):
    library(tmp_path, "llvm-17/lib/libLLVM-17.so.1")
    newest = library(tmp_path, "x86_64-linux-gnu/libLLVM.so.19.1")
    library(tmp_path, "libLLVM.so.18.1")
    assert find_llvm([tmp_path]) == newest
    assert find_llvm([tmp_path / "nowhere", tmp_path]) == newest


def test_an_llvm_too_old_is_none(tmp_path):
    library(tmp_path, "libLLVM-15.so.1")
    library(tmp_path, "llvm-14/lib/libLLVM-14.so")
    library(tmp_path, "libLLVM.dylib")
    assert find_llvm([tmp_path]) is None
    assert find_llvm([]) is None


def test_a_link_counts_as_what_it_points_to(tmp_path):
    real = library(tmp_path, "llvm-19/lib/libLLVM.so.19.1")
    (tmp_path / "libLLVM.so").symlink_to(real)
    assert find_llvm([tmp_path]) == real


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sionna.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"Sionna RT is not installed; pip install '.*\[sionna\]'") as caught:
        load_sionna()
    assert "\n" not in str(caught.value)


@needs_sionna
def test_without_llvm_and_gpu_the_error_says_what_to_install(monkeypatch, capfd):
    import drjit

    monkeypatch.setattr(drjit, "has_backend", lambda backend: False)
    with pytest.raises(UserError, match="libllvm19") as caught:
        load_sionna()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def street(world):
    """A ground and two houses that face each other."""
    return (
        world.ground(reach=200.0),
        world.box((0.0, 18.0, 0.0, 60.0, 10.0, 14.0, 0.0)),
        world.box((5.0, -16.0, 0.0, 70.0, 10.0, 12.0, 0.03)),
    )


def vehicles(world):
    return (
        world.box((0.0, 0.0, 0.3, 4.5, 1.8, 1.5, 0.0), world.METAL, "car"),
        world.box((0.0, 0.0, 0.5, 9.0, 2.5, 3.5, 0.0), world.METAL, "lorry"),
    )


def traffic():
    """Three slots in three frames: a car that stops, one that comes and goes, and one that is a lorry now and then."""
    pose = np.zeros((3, 3, 4))
    pose[:, 0] = [[-12.0, 3.0, 0.0, 0.0], [-8.0, 3.0, 0.0, 0.05], [-8.0, 3.0, 0.0, 0.05]]
    pose[:, 1] = [[14.0, 9.0, 0.0, np.pi], [10.0, 9.0, 0.0, np.pi], [6.0, 9.0, 0.0, 3.0]]
    pose[:, 2] = [[25.0, 5.0, 0.0, 0.0], [20.0, 5.0, 0.0, -0.1], [-25.0, 6.0, 0.0, 0.2]]
    velocity = np.zeros((3, 3, 3))
    velocity[:2, 0], velocity[:, 1], velocity[:, 2] = [13.0, 0.5, 0.0], [-11.0, 0.0, 0.0], [9.0, -1.0, 0.0]
    return Movers(np.array([[0, -1, 1], [0, 0, 0], [0, -1, 1]]), pose, velocity)


def receivers():
    """Behind the lorry, beside it, beside the car, and in the open; the same in three frames."""
    row = [[32, 6.4, 1.7], [40, 1, 1.7], [-32, 7.7, 1.7], [-40, 1, 1.7], [-13.7, 1.8, 0.8], [5, 8, 1.7]]
    return np.tile(np.array(row, float), (3, 1, 1))


def theirs(bodies, shapes=(), order=2, samples=SAMPLES, **options):
    return SionnaTracer(bodies, BS, CARRIER_HZ, shapes, order, MOST_PATHS, samples, **options)


def one_frame(paths, t):
    return replace(paths, **{name: array[t] for name, array in vars(paths).items() if isinstance(array, np.ndarray)})


def placed(world, body, pose, name):
    return Body(name, body.vertex_m @ world.spin(pose[3]).T + pose[:3], body.face, body.material)


@needs_sionna
def test_what_is_moved_is_where_a_new_scene_would_have_it(world):
    still, shapes, movers, ue = street(world), vehicles(world), traffic(), receivers()
    moved = theirs(still, shapes).paths(ue, np.zeros_like(ue), movers)
    for t in range(3):
        here = [a for a in range(3) if movers.shape[t, a] >= 0]
        cars = [placed(world, shapes[movers.shape[t, a]], movers.pose[t, a], f"slot-{a}") for a in here]
        bodies = (*still, *cars)
        fresh = one_frame(theirs(bodies).paths(ue[t][None]), 0)
        number = np.array([*range(len(still)), *(len(still) + a for a in here), -1])
        fresh = replace(fresh, body=number[fresh.body].astype(fresh.body.dtype))
        now = one_frame(moved, t)
        same = match(now, fresh, bodies)
        assert not len(same.ours_alone)
        assert not len(same.theirs_alone)
        found = differences(now, fresh, same, CARRIER_HZ)
        assert found.delay_ps.max() < 0.05
        assert found.angle_deg.max() < 1e-3
        assert found.transfer.max() < 1e-3
        np.testing.assert_array_equal(now.line_of_sight, fresh.line_of_sight)
    assert not moved.line_of_sight.all()
    assert set(moved.body.ravel()) >= {len(still), len(still) + 2}


@needs_sionna
def test_it_finds_what_our_tracer_finds_among_what_moves(world):
    still, shapes, movers, ue = street(world), vehicles(world), traffic(), receivers()
    velocity = np.random.default_rng(4).uniform(-10.0, 10.0, ue.shape)
    mine = Tracer(still, BS, CARRIER_HZ, shapes, 2, MOST_PATHS).paths(ue, velocity, movers)
    other = theirs(still, shapes).paths(ue, velocity, movers)
    np.testing.assert_array_equal(mine.line_of_sight, other.line_of_sight)
    np.testing.assert_array_equal(mine.blocked, other.blocked)
    for t in range(3):
        a, b = one_frame(mine, t), one_frame(other, t)
        present = [shapes[max(0, shape)] for shape in movers.shape[t]]
        same = match(a, b, (*still, *present))
        assert not len(same.ours_alone)
        assert not len(same.theirs_alone)
        link, i, j = same.pair.T
        np.testing.assert_allclose(a.doppler_hz[link, i], b.doppler_hz[link, j], atol=0.5)
        assert differences(a, b, same, CARRIER_HZ).delay_ps.max() < 1.0
    assert mine.blocked.any()
    assert (mine.body >= len(still)).any()


@needs_sionna
def test_the_own_body_neither_hides_nor_reflects_to_its_antenna(world):
    car = vehicles(world)[0]
    ue = np.array([[10.0, 4.0, 1.5]])  # within the roof
    movers = Movers(np.zeros((1, 1), int), np.array([[[10.0, 4.0, 0.0, 0.3]]]), np.zeros((1, 1, 3)))
    tracer = theirs(street(world), [car], order=1)
    hidden, seen = tracer.paths(ue, None, movers), tracer.paths(ue, None, movers, ue_mover=0)
    assert seen.line_of_sight[0]
    assert not seen.blocked[0]
    assert not (seen.body == 3).any()
    assert not (seen.body[0][seen.valid[0]] == 0).any()  # the ground, which the car covers
    assert not hidden.line_of_sight[0]
    assert hidden.blocked[0]


@needs_sionna
def test_a_receiver_that_nothing_reaches_has_no_path(world):
    paths = theirs(street(world), order=0).paths(np.array([[0.0, 18.0, 5.0], [0.0, 40.0, 1.5], [10.0, 2.0, 1.5]]))
    np.testing.assert_array_equal(paths.valid.sum(axis=1), [0, 0, 1])
    np.testing.assert_array_equal(paths.line_of_sight, [False, False, True])
    np.testing.assert_array_equal(paths.enclosed, [True, False, False])
    assert paths.kind.shape[-1] == 1


@needs_sionna
def test_a_diffracted_path_names_the_edge_of_our_tracer(world):
    still, shapes = street(world), vehicles(world)
    ue = np.array([[-20.0, 38.0, 4.0], [45.0, 20.0, 2.0], [3.0, 4.0, 1.7]])
    mine = Tracer(still, BS, CARRIER_HZ, (), 1, MOST_PATHS, diffraction=True).paths(ue[None])
    other = theirs(still, shapes, 1, 1_000_000, diffraction=True).paths(ue[None])
    same = match(one_frame(mine, 0), one_frame(other, 0), still)
    link, i, j = same.pair.T
    edges = mine.kind[0, link, i, 0] == Interaction.DIFFRACTION
    assert edges.sum() >= 3
    np.testing.assert_array_equal(mine.facet[0, link, i, 0], other.facet[0, link, j, 0])


def names(paths):
    """Link and bounces of every path."""
    rows = np.argwhere(paths.valid)
    bounces = np.concatenate([paths.kind, paths.body, paths.facet], axis=-1)[tuple(rows.T)]
    return {tuple(row) for row in np.column_stack([rows[:, :-1], bounces]).tolist()}


def grouped(bodies, ue, order, samples, station=BS):
    """Paths of the receivers in groups, and of each alone."""
    tracer = SionnaTracer(bodies, station, CARRIER_HZ, (), order, 256, samples)
    together = names(tracer.paths(ue[None]))
    tracer.receivers_a_solve = 1
    return together, names(tracer.paths(ue[None]))


@needs_sionna
def test_receivers_in_groups_lose_no_path(world):
    scene = load_builtin_scene("simple_street_canyon_with_cars")
    bodies = [Body(item.name, item.vertex_m, item.face, world.CONCRETE) for item in scene.objects]
    ue = np.random.default_rng(5).uniform([-60.0, -2.8, 1.7], [60.0, 3.4, 1.7], (sionna.RECEIVERS_A_SOLVE, 3))
    together, alone = grouped(bodies, ue, 3, 300_000, np.array([-33.0, 0.0, 6.0]))
    assert len(alone) > 60
    assert together == alone


@needs_sionna
@pytest.mark.long
def test_receivers_in_groups_lose_no_path_in_a_city(world):
    bodies = [Body(o.name, o.vertex_m, o.face, world.CONCRETE) for o in load_builtin_scene("munich").objects]
    ue = np.random.default_rng(6).uniform([-60.0, 0.0, 1.5], [60.0, 150.0, 1.5], (4 * sionna.RECEIVERS_A_SOLVE, 3))
    together, alone = grouped(bodies, ue, 2, 1_000_000, np.array([8.5, 21.0, 27.0]))
    assert len(alone) > 150
    assert together == alone


@needs_sionna
@pytest.mark.parametrize("permittivity", [1.0, 2.0, 81.0])
@pytest.mark.parametrize("conductivity", [0.0, 1e-3, 0.4])
def test_a_half_space_reflects_as_one(world, permittivity, conductivity):
    """Sionna knows layers only; nothing may come back from the far side of the one that stands for a half space."""
    earth = world.ground(RadioMaterial("earth", permittivity, conductivity), 300.0)
    ue = np.array([[[20.0, 3.0, 1.7], [60.0, 5.0, 2.0]]])
    ours, found = Tracer([earth], BS, CARRIER_HZ, order=1).paths(ue), theirs([earth], order=1).paths(ue)
    np.testing.assert_allclose(np.abs(found.channel()), np.abs(ours.channel()), rtol=5e-3)


@needs_sionna
@pytest.mark.parametrize("carrier_ghz", [5.0, 28.0, 38.0, 61.0, 100.0])
def test_vehicles_are_metal_at_every_carrier(world, carrier_ghz):
    ue = np.array([[20.0, 3.0, 1.7]])
    found = SionnaTracer([world.ground(world.METAL, 300.0)], BS, carrier_ghz * 1e9, order=1, samples=SAMPLES).paths(ue)
    ours = Tracer([world.ground(world.METAL, 300.0)], BS, carrier_ghz * 1e9, order=1).paths(ue)
    np.testing.assert_allclose(np.abs(found.gain[0, :2]), np.abs(ours.gain[0, :2]), rtol=2e-3)


@needs_sionna
@pytest.mark.parametrize("loss", [False, True])
def test_scattering_takes_its_share_when_it_is_told_to(world, loss):
    rough = world.ground(RadioMaterial("rough", 4.0, 0.3, scattering_coefficient=0.6), 300.0)
    ue = np.array([[20.0, 3.0, 1.7]])
    ours = Tracer([rough], BS, CARRIER_HZ, order=1, specular_loss=loss).paths(ue)
    found = theirs([rough], order=1, specular_loss=loss).paths(ue)
    assert abs(found.gain[0, 1]) == pytest.approx(abs(ours.gain[0, 1]), rel=1e-3)


@needs_sionna
@pytest.mark.parametrize("diffraction", [False, True])
def test_without_bounces_there_is_only_the_direct_path_and_edges(world, diffraction):
    still, shapes, movers, ue = street(world), vehicles(world), traffic(), receivers()[:, 0]
    found = theirs(still, shapes, order=0, diffraction=diffraction).paths(ue, None, movers, ue_mover=1)
    kinds = set(np.unique(found.kind[found.valid]))
    assert Interaction.REFLECTION not in kinds
    assert (Interaction.DIFFRACTION in kinds) == diffraction
