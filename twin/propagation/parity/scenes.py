"""What the tracers are compared on: scenes, base stations, receivers, and how many rays Sionna launches."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from twin.errors import UserError
from twin.geometry.bvh import build_bvh, hides
from twin.geometry.facets import Body
from twin.geometry.scene import build_scene
from twin.geometry.scene_files import load_builtin_scene
from twin.propagation.materials import RadioMaterial, itu_material
from twin.scenario import load_scenario

__all__ = ["SCENES", "THICKNESS_M", "ParityScene", "parity_scene"]

THICKNESS_M = 0.1
"""Of every wall, on both sides [m]."""
CARRIERS_HZ = (1e9, 100e9)
"""Where the constants of the materials mean something."""
_BRICK_TO_HZ = 40e9
"""Table 3 of ITU-R P.2040-3 describes brick up to here; beyond, its constants are kept."""
_STREET_M = 1.7
_STREETS_AROUND_M = 200.0

Receivers = Float[np.ndarray, "receiver 3"]
Stations = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class ParityScene:
    """A scene to compare on.

    Attributes:
        name: of the scene.
        bodies: the static bodies at a carrier [Hz].
        stations_m: base stations, each with as many receivers.
        receivers: so many receivers, drawn from a generator [m]; the bodies are there to keep out of them.
        order: specular bounces at most.
        samples: rays that Sionna launches a solve.
        edges: whether single-edge diffraction is compared too.
    """

    name: str
    bodies: Callable[[float], tuple[Body, ...]]
    stations_m: Stations
    receivers: Callable[[np.random.Generator, int, tuple[Body, ...]], Receivers]
    order: int
    samples: int
    edges: bool = False


def parity_scene(name: str) -> ParityScene:
    """The scene of that name.

    Raises:
        UserError: there is none.
    """
    if name not in SCENES:
        raise UserError("is no scene to compare on", name, f"choose from {', '.join(SCENES)}")
    return SCENES[name]


def _material(itu: str, carrier_hz: float) -> RadioMaterial:
    """ITU-R P.2040-3 at the carrier.

    Raises:
        UserError: the carrier is out of range.
    """
    if not CARRIERS_HZ[0] <= carrier_hz <= CARRIERS_HZ[1]:
        low, high = (f / 1e9 for f in CARRIERS_HZ)
        raise UserError(f"{carrier_hz / 1e9:g} GHz is out of range", "--carrier", f"give {low:g} to {high:g} GHz")
    return itu_material(itu, min(carrier_hz, _BRICK_TO_HZ) if itu == "brick" else carrier_hz, thickness_m=THICKNESS_M)


def _builtin(name: str) -> Callable[[float], tuple[Body, ...]]:
    def bodies(carrier_hz: float) -> tuple[Body, ...]:
        scene = load_builtin_scene(name)
        made = {key: _material(str(material.itu), carrier_hz) for key, material in scene.materials.items()}
        return tuple(Body(o.name, o.vertex_m, o.face, made[o.material]) for o in scene.objects)

    return bodies


def _scenario(name: str) -> Callable[[float], tuple[Body, ...]]:
    def bodies(carrier_hz: float) -> tuple[Body, ...]:
        _material("concrete", carrier_hz)
        template = load_scenario(name)
        scenario, _ = template.draw(0, 0)

        def plain(material: RadioMaterial) -> RadioMaterial:
            return replace(material, thickness_m=THICKNESS_M, scattering_coefficient=0.0, roughness_m=0.0)

        still = build_scene(scenario, template.folder).bodies
        return tuple(replace(body, material=plain(body.material)) for body in still)

    return bodies


def _within(
    low: tuple[float, float, float], high: tuple[float, float, float]
) -> Callable[[np.random.Generator, int, tuple[Body, ...]], Receivers]:
    """Receivers anywhere in a box."""
    return lambda rng, count, bodies: rng.uniform(low, high, (count, 3))


def _around_the_wedge(rng: np.random.Generator, count: int, bodies: tuple[Body, ...]) -> Receivers:
    """Receivers on the open side of the edge x = y = 0, whose solid fills x > 0, y < 0."""
    angle, distance = rng.uniform(np.radians(1.0), np.radians(269.0), count), rng.uniform(2.0, 20.0, count)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle), rng.uniform(-8.0, 8.0, count)], -1)


def _in_the_streets(rng: np.random.Generator, count: int, bodies: tuple[Body, ...]) -> Receivers:
    """Receivers with nothing above them, within a circle around the first base station."""
    tree = build_bvh(np.concatenate([body.triangle_m for body in bodies]))
    x, y, _ = SCENES["munich"].stations_m[0]
    found: list[tuple[float, float, float]] = []
    while len(found) < count:
        distance, angle = _STREETS_AROUND_M * np.sqrt(rng.uniform()), rng.uniform(0.0, 2.0 * np.pi)
        east, north = x + distance * np.cos(angle), y + distance * np.sin(angle)
        if not hides(tree.node, tree.triangle, 0, len(tree.node), east, north, 1.5, east, north, 500.0):
            found.append((east, north, 1.5))
    return np.array(found)


SCENES = {
    scene.name: scene
    for scene in (
        ParityScene(
            "box", _builtin("box"), ((1.3, -2.1, 3.2),), _within((-4.8, -4.8, 0.2), (4.8, 4.8, 4.8)), 3, 1_000_000
        ),
        ParityScene(
            "simple_reflector", _builtin("simple_reflector"), ((0.3, -0.2, 1.5),),
            _within((-1.5, -1.5, 0.2), (1.5, 1.5, 3.0)), 3, 1_000_000,
        ),
        ParityScene(
            "simple_wedge", _builtin("simple_wedge"), ((6.0, 9.0, 1.0),), _around_the_wedge, 3, 1_000_000, edges=True
        ),
        ParityScene(
            "simple_street_canyon_with_cars", _builtin("simple_street_canyon_with_cars"),
            ((-33.0, 0.0, 32.0), (-33.0, 0.0, 6.0)), _within((-80.0, -2.8, _STREET_M), (80.0, 3.4, _STREET_M)), 3,
            1_000_000, edges=True,
        ),
        ParityScene(
            "street_canyon", _scenario("street_canyon"), ((0.0, 0.0, 5.0),),
            _within((-80.0, 5.5, _STREET_M), (80.0, 18.5, _STREET_M)), 3, 1_000_000, edges=True,
        ),
        ParityScene("munich", _builtin("munich"), ((8.5, 21.0, 27.0),), _in_the_streets, 2, 4_000_000),
    )
}  # fmt: skip
