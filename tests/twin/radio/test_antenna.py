"""Element patterns against the published numbers, and mounted antennas against vectors turned in space."""

import math

import numpy as np
import pytest

from twin.errors import UserError
from twin.radio.antenna import AntennaPattern, field, measured

MOUNTINGS = [(0.0, 0.0), (0.7, 0.0), (0.0, 0.3), (-2.2, 0.25), (1.9, -0.6), (3.0, np.pi / 2)]
SLANTS = [0.0, np.pi / 2, np.pi / 4, -np.pi / 4]


def gain_db(pattern, azimuth_deg=0.0, zenith_deg=90.0):
    found = field(pattern, np.radians(np.asarray(azimuth_deg, float)), np.radians(np.asarray(zenith_deg, float)))
    return 10 * np.log10((np.abs(found) ** 2).sum(-1))


def sphere(count=4000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-np.pi, np.pi, count), np.arccos(rng.uniform(-1, 1, count))


def direction(azimuth, zenith):
    return np.stack([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)], -1)


def growing(azimuth, zenith):
    """Unit vectors of growing zenith and growing azimuth, from the vertical by cross products."""
    k = direction(azimuth, zenith)
    phi = np.cross([0.0, 0.0, 1.0], k)
    phi /= np.linalg.norm(phi, axis=-1, keepdims=True)
    return np.cross(phi, k), phi


def turned(azimuth, downtilt):
    """Rotation that tips the x axis down by the downtilt and then swings it to the azimuth."""
    tip = np.array([[np.cos(downtilt), 0, np.sin(downtilt)], [0, 1, 0], [-np.sin(downtilt), 0, np.cos(downtilt)]])
    swing = np.array([[np.cos(azimuth), -np.sin(azimuth), 0], [np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]])
    return swing @ tip


def vector(pattern, azimuth, zenith):
    """Field of a pattern as a vector in space."""
    theta, phi = growing(azimuth, zenith)
    found = field(pattern, azimuth, zenith)
    return found[..., :1] * theta + found[..., 1:] * phi


def test_an_isotropic_antenna_is_vertical_horizontal_or_slanted_everywhere():
    azimuth, zenith = sphere()
    for slant, expected in ((0.0, (1, 0)), (np.pi / 2, (0, 1)), (np.pi / 4, (0.5**0.5, 0.5**0.5))):
        found = field(AntennaPattern(slant_rad=slant), azimuth, zenith)
        np.testing.assert_allclose(found, np.broadcast_to(expected, (4000, 2)), atol=1e-15)


def test_any_batch_of_directions_has_as_many_fields():
    for shape in ((), (3,), (2, 0), (2, 3, 4)):
        found = field(AntennaPattern("tr38901", 0.3, 0.2, 0.1), np.full(shape, 0.4), np.full(shape, 1.2))
        assert found.shape == (*shape, 2)
        assert found.dtype == np.complex128


@pytest.mark.parametrize(("azimuth", "downtilt"), MOUNTINGS)
@pytest.mark.parametrize("slant", SLANTS)
def test_an_isotropic_antenna_radiates_unit_power_however_it_is_mounted(azimuth, downtilt, slant):
    cosine = np.linspace(-1, 1, 202)[1:-1]
    grid = np.meshgrid(np.linspace(-np.pi, np.pi, 90, endpoint=False), np.arccos(cosine))
    found = field(AntennaPattern("isotropic", slant, azimuth, downtilt), *grid)
    assert (np.abs(found) ** 2).sum(-1).mean() == pytest.approx(1.0, rel=1e-12)


def test_the_element_of_the_standard_has_its_published_gains():
    element = AntennaPattern("tr38901")
    assert gain_db(element) == pytest.approx(8.0, abs=1e-12)
    np.testing.assert_allclose(gain_db(element, [-32.5, 32.5]), 5.0, atol=1e-12)
    np.testing.assert_allclose(gain_db(element, 0.0, [90 - 32.5, 90 + 32.5]), 5.0, atol=1e-12)
    np.testing.assert_allclose(gain_db(element, 32.5, 90 + 32.5), 2.0, atol=1e-12)
    np.testing.assert_allclose(gain_db(element, [180.0, -180.0, 150.0, -110.0]), 8.0 - 30.0, atol=1e-12)
    np.testing.assert_allclose(gain_db(element, 180.0, [10.0, 170.0]), 8.0 - 30.0, atol=1e-12)


@pytest.mark.parametrize(("azimuth", "downtilt"), MOUNTINGS[:5])
def test_azimuth_and_downtilt_move_the_peak(azimuth, downtilt):
    azimuth_deg, zenith_deg = np.meshgrid(np.linspace(-180, 179, 360), np.linspace(1, 179, 179))
    gain = gain_db(AntennaPattern("tr38901", 0.0, azimuth, downtilt), azimuth_deg, zenith_deg)
    peak = np.unravel_index(gain.argmax(), gain.shape)
    swing_deg = (azimuth_deg[peak] - np.degrees(azimuth) + 180) % 360 - 180
    assert abs(swing_deg) <= 0.5 + 1e-9
    assert abs(zenith_deg[peak] - 90 - np.degrees(downtilt)) <= 0.5 + 1e-9
    assert gain_db(
        AntennaPattern("tr38901", 0.0, azimuth, downtilt), np.degrees(azimuth), 90 + np.degrees(downtilt)
    ) == (pytest.approx(8.0, abs=1e-9))


@pytest.mark.parametrize(("azimuth", "downtilt"), MOUNTINGS)
@pytest.mark.parametrize("slant", SLANTS)
@pytest.mark.parametrize("kind", ["isotropic", "tr38901"])
def test_turning_an_antenna_turns_its_field_as_a_vector(kind, slant, azimuth, downtilt):
    own = sphere(500)
    rotation = turned(azimuth, downtilt)
    k = direction(*own) @ rotation.T
    world = np.arctan2(k[:, 1], k[:, 0]), np.arccos(k[:, 2])
    expected = vector(AntennaPattern(kind, slant), *own) @ rotation.T
    found = vector(AntennaPattern(kind, slant, azimuth, downtilt), *world)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose((found * k).sum(-1), 0.0, atol=1e-12)


def test_a_slanted_antenna_splits_its_power_and_its_pair_is_orthogonal():
    azimuth, zenith = sphere(500)
    for mounting in MOUNTINGS:
        vertical, horizontal, right, left = (
            field(AntennaPattern("tr38901", s, *mounting), azimuth, zenith) for s in SLANTS
        )
        np.testing.assert_allclose(right, (vertical + horizontal) / 2**0.5, atol=1e-12)
        np.testing.assert_allclose(left, (vertical - horizontal) / 2**0.5, atol=1e-12)
        np.testing.assert_allclose((right * left.conj()).sum(-1), 0.0, atol=1e-12)
    upright = field(AntennaPattern("tr38901", np.pi / 4), azimuth, zenith)
    np.testing.assert_allclose(np.abs(upright[:, 0]), np.abs(upright[:, 1]), rtol=1e-12)


def dipole(azimuth, zenith):
    """A short dipole along (1, 2, 2) / 3, off the phase centre: theta and phi components of its field."""
    theta, phi = growing(azimuth, zenith)
    phase = np.sqrt(1.5) * np.exp(1.5j * direction(azimuth, zenith) @ np.array([0.6, 0.0, 0.8]))
    axis = np.array([1.0, 2.0, 2.0]) / 3
    return theta @ axis * phase, phi @ axis * phase


def stored(folder, azimuth=None, zenith=None, **changes):
    """An .npz file of the dipole, with arrays changed or, where None, left out."""
    azimuth = np.radians(np.arange(0, 360, 2)) if azimuth is None else azimuth
    zenith = np.radians(np.arange(0, 181, 2)) if zenith is None else zenith
    theta, phi = dipole(*np.meshgrid(azimuth, np.clip(zenith, 1e-9, np.pi - 1e-9)))
    arrays = {"azimuth_rad": azimuth, "zenith_rad": zenith, "theta": theta, "phi": phi} | changes
    np.savez(folder / "pattern.npz", **{name: values for name, values in arrays.items() if values is not None})
    return folder / "pattern.npz"


GRIDS_DEG = [np.arange(0, 360, 2), np.arange(-180, 180, 2), np.arange(0, 361, 2), np.linspace(-179, 179, 180)]


@pytest.mark.parametrize("azimuth_deg", GRIDS_DEG)
def test_a_measured_pattern_is_the_field_that_was_sampled(tmp_path, azimuth_deg):
    pattern = measured(stored(tmp_path, np.radians(azimuth_deg)))
    azimuth, zenith = sphere()
    np.testing.assert_allclose(field(pattern, azimuth, zenith), np.stack(dipole(azimuth, zenith), -1), atol=2e-3)
    samples = np.meshgrid(np.radians(azimuth_deg[:-1]), np.radians(np.arange(2, 180, 2)))
    np.testing.assert_allclose(field(pattern, *samples), np.stack(dipole(*samples), -1), atol=1e-12)
    np.testing.assert_allclose(field(pattern, azimuth + 2 * np.pi, zenith), field(pattern, azimuth, zenith), atol=1e-12)


def test_a_measured_pattern_is_continuous_where_its_azimuths_close(tmp_path):
    pattern = measured(stored(tmp_path))
    seam = np.array([-1e-9, 0.0, 1e-9, -1e-300]), np.full(4, 1.2)
    found = field(pattern, *seam)
    np.testing.assert_allclose(found, np.broadcast_to(found[1], found.shape), atol=1e-7)


@pytest.mark.parametrize(("azimuth", "downtilt"), MOUNTINGS)
def test_a_measured_antenna_is_mounted_like_any_other(tmp_path, azimuth, downtilt):
    path = stored(tmp_path)
    own = sphere(500)
    k = direction(*own) @ turned(azimuth, downtilt).T
    world = np.arctan2(k[:, 1], k[:, 0]), np.arccos(k[:, 2])
    expected = vector(measured(path), *own) @ turned(azimuth, downtilt).T
    np.testing.assert_allclose(vector(measured(path, azimuth, downtilt), *world), expected, atol=1e-6)


def hole(values):
    return np.where(np.arange(values.size).reshape(values.shape) == 7, np.nan, values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta": None, "zenith_rad": None}, "lacks zenith_rad, theta"),
        ({"phi": np.ones((91, 181))}, "phi has shape"),
        ({"theta": np.ones((180, 91))}, "theta has shape"),
        ({"theta": np.array(1.0)}, "theta has shape"),
        ({"theta": hole(np.ones((91, 180)))}, "theta holds something else"),
        ({"phi": np.full((91, 180), 1j * np.inf)}, "phi holds something else"),
        ({"phi": np.full((91, 180), "a")}, "phi holds something else"),
        ({"zenith_rad": hole(np.linspace(0, np.pi, 91))}, "zenith_rad holds something else"),
        ({"azimuth_rad": np.linspace(0, 6, 180) + 0j}, "azimuth_rad holds something else"),
        ({"zenith_rad": np.linspace(np.pi, 0, 91)}, "zenith_rad is no list"),
        ({"azimuth_rad": np.zeros(180)}, "azimuth_rad is no list"),
        ({"azimuth_rad": np.zeros((2, 90))}, "azimuth_rad is no list"),
        ({"azimuth_rad": np.array(0.0)}, "azimuth_rad is no list"),
        ({"zenith_rad": np.linspace(0, np.pi / 2, 91)}, "zenith_rad goes from 0 to 1.5708"),
        ({"zenith_rad": np.linspace(0, 180, 91)}, "zenith_rad goes from 0 to 180"),
        ({"azimuth_rad": np.linspace(-np.pi / 2, np.pi / 2, 180)}, "azimuth_rad goes from .*, not once around"),
        ({"azimuth_rad": np.arange(0, 360, 2)}, "azimuth_rad goes from .*, not once around"),
        ({"theta": np.full((91, 180), None)}, "not a readable antenna pattern"),
    ],
)
def test_a_wrong_pattern_file_is_a_users_error(tmp_path, changes, said):
    path = stored(tmp_path, **changes)
    with pytest.raises(UserError, match=rf"pattern\.npz: {said}.*; store azimuth_rad, zenith_rad"):
        measured(path)


def test_a_damaged_or_missing_pattern_file_is_a_users_error(tmp_path):
    whole = stored(tmp_path).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:5000] + b"damage" + whole[5006:])
    (tmp_path / "text.npz").write_text("azimuth")
    (tmp_path / "empty.npz").write_bytes(b"")
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, np.ones(3))
    for name in ("cut", "flipped", "text", "empty", "one"):
        with pytest.raises(UserError, match=rf"{name}\.npz: not a readable antenna pattern"):
            measured(tmp_path / f"{name}.npz")
    with pytest.raises(UserError, match=r"missing\.npz: no such file"):
        measured(tmp_path / "missing.npz")


def test_an_antenna_that_cannot_be_is_a_users_error(tmp_path):
    table = measured(stored(tmp_path)).table
    for arguments, said in (
        ({"kind": "dipole"}, "kind 'dipole' is unknown; use one of isotropic, tr38901, measured"),
        ({"azimuth_rad": math.nan}, "azimuth_rad is nan"),
        ({"downtilt_rad": math.inf}, "downtilt_rad is inf"),
        ({"slant_rad": math.nan}, "slant_rad is nan"),
        ({"kind": "measured"}, "kind 'measured' needs a table"),
        ({"kind": "tr38901", "table": table}, "kind 'tr38901' takes no table"),
        ({"kind": "measured", "table": table, "slant_rad": 0.1}, "has its own polarisation; leave out slant_rad"),
    ):
        with pytest.raises(UserError, match=said):
            AntennaPattern(**arguments)
