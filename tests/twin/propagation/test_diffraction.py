"""Edge diffraction against exact solutions: half plane, right-angled wedge, impedance wedge; and against Sionna RT."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import fresnel, jv, wofz

from twin.propagation.blockage import knife_edge_db
from twin.propagation.diffraction import HOLM, SIONNA, edge_point, fresnel_transition, wedge_transfer
from twin.propagation.materials import VACUUM_PERMITTIVITY, slab_coefficients

SPEED_OF_LIGHT_MPS = 299_792_458.0
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / 28e9
WAVENUMBER = 2 * math.pi / WAVELENGTH_M
METAL = 1.0 - 1e16j
CONCRETE = 5.24 - 0.40j
EDGE = np.array([0.0, 0.0, 1.0])
SOFT, HARD = "soft", "hard"  # E along the edge, and across it

# K&P's 0-face is the half-plane y = 0, x > 0; the wedge lies below it.
RIGHT_ANGLE = (np.array([0.0, 1.0, 0.0]), np.array([-1.0, 0.0, 0.0]))
SCREEN = (np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0]))


def at(radius, degrees, z=0.0):
    angle = math.radians(degrees)
    return np.array([radius * math.cos(angle), radius * math.sin(angle), z])


def unit(vector):
    return vector / np.linalg.norm(vector)


def dyad(tx, rx, faces=RIGHT_ANGLE, eta=METAL, thickness=math.inf, rule=HOLM, edge=EDGE, share=1.0, wavelength=None):
    """Diffracted field at rx by a source at tx of 1 V at 1 m, without its phase; the edge runs through the origin."""
    t = edge_point(tuple(tx), tuple(rx), (0.0, 0.0, 0.0), tuple(edge), 1.0)
    point = t * edge
    s_i, s_o = np.linalg.norm(point - tx), np.linalg.norm(rx - point)
    d = wedge_transfer(
        tuple(edge), tuple(faces[0]), tuple(faces[1]), tuple(unit(point - tx)), tuple(unit(rx - point)), s_i, s_o,
        eta, thickness, eta, thickness, WAVELENGTH_M if wavelength is None else wavelength, share, share, rule,
    )  # fmt: skip
    return np.array(d) / math.sqrt(s_i * s_o * (s_i + s_o)), s_i + s_o


def plane_wave_coefficient(phi, phi_in, radius, polarisation, **options):
    """Diffracted field at `radius` of a plane wave that has unit field along z (soft: E, hard: H) at the edge."""
    far = 1e9
    field, _ = dyad(at(far, phi_in), at(radius, phi), **options)
    if polarisation == SOFT:
        return EDGE @ field @ EDGE * far * np.exp(-1j * WAVENUMBER * radius)
    k_in, k_out = -at(1.0, phi_in), at(1.0, phi)
    return np.cross(k_out, EDGE) @ field @ np.cross(k_in, EDGE) * far * np.exp(-1j * WAVENUMBER * radius)


@pytest.mark.parametrize("x", np.concatenate([np.logspace(-10, 4.5, 60), [39.999, 40.0, 40.001]]))
def test_the_transition_function_is_a_fresnel_integral(x):
    s, c = fresnel(math.sqrt(2 * x / math.pi))
    exact = math.sqrt(math.pi * x / 2) * np.exp(1j * x) * (1 + 1j - 2j * (c - 1j * s))
    if x > 100:  # 1 + j - 2j (...) loses its digits
        exact = math.sqrt(math.pi * x) * np.exp(0.25j * math.pi) * wofz(np.exp(0.75j * math.pi) * math.sqrt(x))
    assert abs(fresnel_transition(x) / exact - 1) < 1e-8


@pytest.mark.parametrize(
    ("x", "value"),
    [(0.5, 0.6768 + 0.2682j), (1.0, 0.8095 + 0.2322j), (2.3, 0.9240 + 0.1577j), (5.5, 0.9797 + 0.0828j)],
)  # fmt: skip
def test_the_transition_function_has_its_tabulated_values(x, value):
    assert fresnel_transition(x) == pytest.approx(value, abs=1e-4)


def test_the_transition_function_starts_at_zero_and_ends_at_one():
    assert fresnel_transition(0.0) == 0
    assert fresnel_transition(1e12) == pytest.approx(1.0, abs=1e-11)


def half_plane(phi, phi_in, radius, sign):
    """Sommerfeld's exact field of a unit plane wave behind a conducting half plane, sign -1 soft, +1 hard."""

    def half(difference):
        x = -math.sqrt(2 * WAVENUMBER * radius) * math.cos(difference / 2)
        s, c = fresnel(x * math.sqrt(2 / math.pi))
        tail = math.sqrt(math.pi / 2) * ((0.5 - c) - 1j * (0.5 - s))
        return np.exp(1j * WAVENUMBER * radius * math.cos(difference)) * tail

    phi, phi_in = math.radians(phi), math.radians(phi_in)
    return np.exp(0.25j * math.pi) / math.sqrt(math.pi) * (half(phi - phi_in) + sign * half(phi + phi_in))


def optics(phi, phi_in, radius, sign, exterior):
    """Geometrical optics of a unit plane wave at a conducting wedge."""
    field = 0j
    if abs(phi - phi_in) < 180:
        field += np.exp(1j * WAVENUMBER * radius * math.cos(math.radians(phi - phi_in)))
    for total in (phi + phi_in, 2 * exterior - phi - phi_in):
        if total < 180:
            field += sign * np.exp(1j * WAVENUMBER * radius * math.cos(math.radians(total)))
    return field


@pytest.mark.parametrize("phi_in", [12.0, 60.0, 90.0, 155.0])
@pytest.mark.parametrize(("polarisation", "sign"), [(SOFT, -1), (HARD, 1)])
def test_a_conducting_half_plane_follows_sommerfeld(phi_in, polarisation, sign):
    for radius in (0.4 * WAVELENGTH_M, 3.3 * WAVELENGTH_M, 2.0):
        for phi in np.arange(1.5, 359.0, 6.7):
            diffracted = plane_wave_coefficient(phi, phi_in, radius, polarisation, faces=SCREEN)
            total = optics(phi, phi_in, radius, sign, 360.0) + diffracted
            assert total == pytest.approx(half_plane(phi, phi_in, radius, sign), abs=2e-5)


def right_angle(phi, phi_in, radius, sign):
    """Exact field of a unit plane wave at a conducting wedge of 270 degrees: series of its modes."""
    n, kr = 1.5, WAVENUMBER * radius
    order = np.arange(0, int(n * (kr + 60))) / n
    weight = np.where(order == 0, 1.0, 2.0) / n * np.exp(0.5j * np.pi * order) * jv(order, kr)
    phi, phi_in = math.radians(phi), math.radians(phi_in)
    return (weight * (np.cos(order * (phi - phi_in)) + sign * np.cos(order * (phi + phi_in)))).sum()


@pytest.mark.parametrize("kr", [20.0, 50.0])
@pytest.mark.parametrize("phi_in", [25.0, 55.0, 110.0, 230.0])
@pytest.mark.parametrize(("polarisation", "sign"), [(SOFT, -1), (HARD, 1)])
def test_a_conducting_corner_follows_its_modes(kr, phi_in, polarisation, sign):
    radius = kr / WAVENUMBER
    errors = []
    for phi in np.arange(2.05, 269.0, 3.1):
        total = optics(phi, phi_in, radius, sign, 270.0)
        total += plane_wave_coefficient(phi, phi_in, radius, polarisation)
        errors.append(abs(total - right_angle(phi, phi_in, radius, sign)))
    assert max(errors) < 0.02  # of the incident field
    assert np.median(errors) < 0.004


def test_the_modes_are_those_of_a_corner():
    """The series itself: it vanishes on a soft face, and is flat there on a hard one."""
    for phi in (0.0, 270.0):
        assert abs(right_angle(phi, 40.0, 0.1, -1)) < 1e-9
        step = (right_angle(phi + 1e-3, 40.0, 0.1, 1) - right_angle(phi - 1e-3, 40.0, 0.1, 1)) / 2e-3
        assert abs(step) < 1e-3


def impedance_wedge(phi, phi_in, root):
    """Maliuzhinets' diffraction coefficient of a right-angled impedance wedge, without e^(-j pi/4) / sqrt(2 pi k).

    The faces reflect (cos - root) / (cos + root). The special function has a closed form for this wedge.
    """
    bound, nu = 0.75 * math.pi, 2.0 / 3.0
    brewster = np.arcsin(complex(root))

    def psi(z):
        return np.cos((z - np.pi) / 6) * np.cos((z + np.pi) / 6) / np.cos(z / 6)

    def product(z):
        return np.prod([psi(z + a * bound + b * (np.pi / 2 - brewster)) for a in (1, -1) for b in (1, -1)])

    a, b = math.radians(phi) - bound, math.radians(phi_in) - bound

    def spectrum(z):
        return product(z) / product(b) * nu * math.cos(nu * b) / (np.sin(nu * z) - math.sin(nu * b))

    return spectrum(a - np.pi) - spectrum(a + np.pi)


@pytest.mark.parametrize("phi_in", [10.0, 30.0, 60.0, 80.0])
@pytest.mark.parametrize("polarisation", [SOFT, HARD])
@pytest.mark.parametrize(("eta", "bound_db"), [(40 - 20j, 0.3), (CONCRETE, 0.7)])
def test_a_lossy_corner_casts_the_shadow_of_an_impedance_wedge(phi_in, polarisation, eta, bound_db):
    """A half space is an impedance at one angle only, which matters little where eta is large."""
    root = np.sqrt(eta - 0.5) if polarisation == SOFT else np.sqrt(eta - 0.5) / eta
    radius = 1e5
    for phi in np.arange(phi_in + 188, 269.0, 8.0):
        found = plane_wave_coefficient(phi, phi_in, radius, polarisation, eta=eta)
        exact = impedance_wedge(phi, phi_in, root) / math.sqrt(2 * math.pi * WAVENUMBER * radius)
        assert 20 * abs(math.log10(abs(found / exact))) < bound_db
        turned = np.exp(-1j * (WAVENUMBER * radius + math.pi / 4))
        assert abs(np.angle(found / (exact * turned))) < 0.05


def incident(tx, rx, polarisation):
    """Field of the direct wave, as the component (E or H) along the edge's direction, of a source of 1 V at 1 m."""
    length = np.linalg.norm(rx - tx)
    return np.exp(-1j * WAVENUMBER * length) / length * polarisation


def reflected(tx, rx, normal, eta, polarisation):
    image = tx - 2 * (tx @ normal) * normal
    path = rx - image
    length = np.linalg.norm(path)
    k_out = path / length
    k_in = k_out - 2 * (k_out @ normal) * normal
    r_s, r_p = slab_coefficients(abs(k_out @ normal), eta, math.inf, WAVELENGTH_M)
    s = np.cross(k_in, normal)
    s = unit(s) if np.linalg.norm(s) > 1e-9 else EDGE
    field = r_s * s * (s @ polarisation) + r_p * np.cross(s, k_out) * (np.cross(s, k_in) @ polarisation)
    return field * np.exp(-1j * WAVENUMBER * length) / length


def across(direction, kind):
    """A unit vector across a direction: along the edge as far as possible, or across it."""
    hard = unit(np.cross(direction, EDGE))
    return hard if kind == HARD else np.cross(direction, hard)


@pytest.mark.parametrize("eta", [METAL, CONCRETE])
@pytest.mark.parametrize("kind", [SOFT, HARD])
@pytest.mark.parametrize("height_m", [0.0, 4.0])
@pytest.mark.parametrize(
    ("phi_in", "boundary"), [(40.0, "shadow"), (40.0, "0-face"), (120.0, "0-face"), (200.0, "n-face")]
)
def test_no_wave_ends_at_a_boundary(eta, kind, height_m, phi_in, boundary):
    """A wave of geometrical optics and the diffracted one, across its boundary in steps of a tenth of a wavelength."""
    tx = at(8.0, phi_in, height_m)
    normal = RIGHT_ANGLE[1] if boundary == "n-face" else RIGHT_ANGLE[0]
    middle = {"shadow": phi_in + 180, "0-face": 180 - phi_in, "n-face": 360 - phi_in}[boundary]
    levels = []
    for offset in np.arange(-0.3, 0.3, WAVELENGTH_M / 10) + 1e-5:
        degrees = middle + math.degrees(offset / 6.0)
        rx = at(6.0, degrees, -height_m)
        polarisation = across(unit(rx - tx), kind)
        field, length = dyad(tx, rx, eta=eta)
        total = field @ polarisation * np.exp(-1j * WAVENUMBER * length)
        if boundary == "shadow":
            total = total + (incident(tx, rx, polarisation) if offset < 0 else 0)
        elif (offset < 0) == (boundary == "0-face"):
            total = total + reflected(tx, rx, normal, eta, polarisation)
        levels.append(20 * math.log10(np.linalg.norm(total)))
    assert max(levels) - min(levels) > 6.0
    assert np.abs(np.diff(levels)).max() < 0.5


def test_on_the_boundary_half_of_the_wave_is_left():
    """Exactly on it the edge takes the lit side's value."""
    tx, rx = np.array([0.0, 5.0, 0.0]), np.array([0.0, -7.0, 0.0])
    field, length = dyad(tx, rx, SCREEN)
    for polarisation in (EDGE, np.array([1.0, 0.0, 0.0])):
        total = field @ polarisation * np.exp(-1j * WAVENUMBER * length) + incident(tx, rx, polarisation)
        assert np.linalg.norm(total) * 12.0 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("height_m", [0.05, 0.3, 1.0])
def test_a_screen_casts_the_shadow_of_a_knife_edge(height_m):
    """Both ends 50 m from an edge that stands `height_m` above their line: J(nu) of ITU-R P.526."""
    tx, rx = np.array([height_m, 50.0, 0.0]), np.array([height_m, -50.0, 0.0])  # the screen is x > 0
    loss = knife_edge_db(height_m * math.sqrt(2 * 100.0 / (WAVELENGTH_M * 50.0 * 50.0)))
    field, _ = dyad(tx, rx, faces=SCREEN)
    for polarisation in (EDGE, np.array([1.0, 0.0, 0.0])):
        level = np.linalg.norm(field @ polarisation) * np.linalg.norm(rx - tx)
        assert -20 * math.log10(level) == pytest.approx(loss, abs=0.6)


def test_the_path_over_an_edge_is_the_shortest():
    rng = np.random.default_rng(3)
    for _ in range(100):
        tx, rx, origin = rng.uniform(-10, 10, (3, 3))
        direction, length = unit(rng.normal(size=3)), rng.uniform(0.5, 20.0)
        t = edge_point(tuple(tx), tuple(rx), tuple(origin), tuple(direction), length)

        def path(t, tx=tx, rx=rx, origin=origin, step=length * direction):
            return np.linalg.norm(origin + t * step - tx) + np.linalg.norm(rx - origin - t * step)

        assert path(t) <= minimize_scalar(path, tol=1e-12).fun + 1e-9
        point = origin + t * length * direction
        assert unit(point - tx) @ direction == pytest.approx(unit(rx - point) @ direction, abs=1e-9)


def test_ends_on_the_line_of_the_edge_meet_in_the_middle():
    assert edge_point((0.0, 0.0, 1.0), (0.0, 0.0, 5.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 10.0) == pytest.approx(0.3)


def random_turn(rng):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return turn * np.linalg.det(turn)


def random_ends(rng):
    a, b = rng.uniform(2.0, 268.0, 2)
    return a, b, at(rng.uniform(4, 20), a, rng.uniform(-9, 9)), at(rng.uniform(4, 20), b, rng.uniform(-9, 9))


def test_the_field_is_transverse_and_turns_with_the_wedge():
    rng = np.random.default_rng(4)
    for _ in range(50):
        _, _, tx, rx = random_ends(rng)
        here, _ = dyad(tx, rx, eta=CONCRETE, thickness=0.1)
        point = edge_point(tuple(tx), tuple(rx), (0.0, 0.0, 0.0), tuple(EDGE), 1.0) * EDGE
        size = np.abs(here).max()
        assert np.abs((rx - point) @ here).max() < 1e-9 * size * np.linalg.norm(rx)
        assert np.abs(here @ (point - tx)).max() < 1e-9 * size * np.linalg.norm(tx)
        turn = random_turn(rng)
        faces = (turn @ RIGHT_ANGLE[0], turn @ RIGHT_ANGLE[1])
        there, _ = dyad(turn @ tx, turn @ rx, faces, CONCRETE, 0.1, edge=turn @ EDGE)
        assert np.abs(turn.T @ there @ turn - here).max() < 1e-6 * size


def test_neither_the_order_of_the_faces_nor_the_direction_of_the_edge_matters():
    rng = np.random.default_rng(5)
    for rule in (HOLM, SIONNA):
        for _ in range(50):
            _, _, tx, rx = random_ends(rng)
            one, _ = dyad(tx, rx, RIGHT_ANGLE, CONCRETE, 0.1, rule)
            for edge, faces in ((EDGE, RIGHT_ANGLE[::-1]), (-EDGE, RIGHT_ANGLE)):
                other, _ = dyad(tx, rx, faces, CONCRETE, 0.1, rule, edge)
                assert np.abs(other - one).max() < 1e-9 * np.abs(one).max()


def test_shadows_are_reciprocal_and_elsewhere_the_ends_matter_little():
    """Swapping the ends transposes the dyad: always for metal, and for any wall as long as the wedge parts the ends.

    Where both see the same face of a lossy wedge, the form does not know at which of the two angles it reflects.
    """
    rng = np.random.default_rng(6)
    seen = [0, 0]
    for _ in range(2000):
        a, b, tx, rx = random_ends(rng)
        parted = abs(a - b) > 180
        for eta in (CONCRETE, METAL):
            there, length = dyad(tx, rx, eta=eta)
            back, _ = dyad(rx, tx, eta=eta)
            if parted or eta == METAL:
                assert np.abs(back.T - there).max() < 1e-5 * np.abs(there).max()
            else:
                assert np.abs(back.T - there).max() * length < 0.03  # of the field in free space
        seen[int(parted)] += 1
    assert min(seen) > 100


def test_faces_that_scatter_everything_leave_the_edge_of_the_incident_wave():
    """Nothing is reflected, so both polarisations bend alike, and the shadow still starts at half the field."""
    tx, rx = at(5.0, 30.0), at(7.0, 209.9999)
    field, _ = dyad(tx, rx, eta=CONCRETE, share=0.0)
    assert EDGE @ field @ EDGE * 12.0 == pytest.approx(-0.5, abs=0.001)
    hard = np.cross(unit(rx - tx), EDGE)
    assert hard @ field @ hard == pytest.approx(EDGE @ field @ EDGE, rel=1e-4)


def test_nothing_is_diffracted_along_the_edge():
    z = (0.0, 0.0, 1.0)
    d = wedge_transfer(z, (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), z, z, 1.0, 1.0, METAL, 1.0, METAL, 1.0, WAVELENGTH_M)
    assert np.abs(np.array(d)).max() == 0


@pytest.mark.parametrize("kind", [SOFT, HARD])
def test_the_form_of_sionna_doubles_the_jump_of_a_reflection(kind):
    """Why it is not the one to use: a mirror's wave should end in the edge's, not be parted from it by twice itself."""
    tx = at(8.0, 40.0)
    near, beyond = at(6.0, 139.999), at(6.0, 140.001)
    polarisation = across(unit(near - tx), kind)
    wave = reflected(tx, near, RIGHT_ANGLE[0], METAL, polarisation)
    for rule, jumps in ((HOLM, 0.0), (SIONNA, 2.0)):
        (before, length), (after, _) = dyad(tx, near, rule=rule), dyad(tx, beyond, rule=rule)
        step = wave + (before - after) @ polarisation * np.exp(-1j * WAVENUMBER * length)
        assert np.linalg.norm(step) == pytest.approx(jumps * np.linalg.norm(wave), abs=0.01 * np.linalg.norm(wave))


def theta_phi(direction):
    plan = math.hypot(direction[0], direction[1])
    phi = np.array([-direction[1] / plan, direction[0] / plan, 0.0])
    return np.cross(phi, direction), phi


@pytest.mark.parametrize("carrier_hz", [28e9, 60e9])
def test_the_form_of_sionna_is_that_of_sionna(sionna_rt, carrier_hz):
    """The concrete wedge of its scenes: both polarisations, ends at random."""
    rng = np.random.default_rng(7)
    scene = sionna_rt.load_scene(sionna_rt.scene.simple_wedge)
    scene.frequency = carrier_hz
    wall = next(iter(scene.objects.values())).radio_material
    array = sionna_rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="VH")
    scene.tx_array = scene.rx_array = array
    wavelength = SPEED_OF_LIGHT_MPS / carrier_hz
    loss = float(np.array(wall.conductivity)[0]) / (2 * math.pi * carrier_hz * VACUUM_PERMITTIVITY)
    eta = float(np.array(wall.relative_permittivity)[0]) - 1j * loss
    compared = 0
    for phi_in in (20.0, 75.0, 130.0, 215.0):
        tx = at(12.0, phi_in, rng.uniform(-4, 4))
        ends = [at(rng.uniform(5, 15), phi, rng.uniform(-4, 4)) for phi in rng.uniform(4, 266, 8)]
        scene.add(sionna_rt.Transmitter("tx", position=tx.tolist()))
        for number, rx in enumerate(ends):
            scene.add(sionna_rt.Receiver(f"rx{number}", position=rx.tolist()))
        paths = sionna_rt.PathSolver()(
            scene, max_depth=1, samples_per_src=100_000, los=False, specular_reflection=False, refraction=False,
            diffraction=True,
        )  # fmt: skip
        gain = paths.a[0].numpy() + 1j * paths.a[1].numpy()  # receiver, its polarisation, transmitter, its, path
        scene.remove("tx")
        for number, rx in enumerate(ends):
            scene.remove(f"rx{number}")
            theirs = gain[number, :, 0].sum(axis=-1)
            field, _ = dyad(tx, rx, RIGHT_ANGLE, eta, 0.1, SIONNA, wavelength=wavelength)
            point = edge_point(tuple(tx), tuple(rx), (0.0, 0.0, 0.0), tuple(EDGE), 1.0) * EDGE
            leaving, looking = theta_phi(unit(point - tx)), theta_phi(unit(point - rx))
            ours = wavelength / (4 * math.pi) * np.array([[p @ field @ q for q in leaving] for p in looking])
            assert np.abs(ours - theirs).max() < 0.002 * np.abs(theirs).max()
            compared += 1
    assert compared == 32
