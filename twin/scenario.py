"""The schema of scenario.yaml: a site, its street, traffic, radio and sensors.

Any number may be a distribution instead: `{uniform: [low, high]}`, `{loguniform: [low, high]}`,
`{normal: [mean, deviation]}` (cut at three deviations), `{integers: [low, high]}` or `{choice: [a, b, ...]}`. It is
drawn once an episode.
"""

import math
import zlib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.distribution import DISTRIBUTIONS, Distribution, Place, allowing_distributions, field_name, leaves, replaced
from twin.errors import UserError

__all__ = [
    "VEHICLE_CLASSES",
    "Building",
    "Mesh",
    "Scenario",
    "Template",
    "json_schema",
    "load_scenario",
    "scenario_names",
]

LARGEST_M = 10_000
"""Nothing of a scene lies or reaches further than this: the local frame is flat."""
STREAM_SCENARIO = 1
"""Key of the random stream that draws a scenario's numbers."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Site(_Section):
    """Where the base station stands. The street passes at `street_distance_m` in the direction of the boresight."""

    latitude_deg: float = Field(ge=-85, le=85)
    longitude_deg: float = Field(ge=-180, le=180)
    bs_height_m: float = Field(gt=0, le=200, description="height of the array above the ground")
    street_distance_m: float = Field(gt=0, le=500, description="from the base station to the middle of the street")
    street_heading_deg: float = Field(
        0.0, ge=-360, le=360, description="of the forward lanes, counterclockwise from east"
    )
    boresight_error_deg: float = Field(0.0, ge=-90, le=90, description="of the array against the street's normal")


class Street(_Section):
    """A straight street; the point next to the base station lies in its middle."""

    length_m: float = Field(gt=0, le=5000)
    lane_width_m: float = Field(3.25, gt=1, le=10)
    lanes_forward: int = Field(1, ge=0, le=8, description="lanes in the direction of street_heading_deg, far side")
    lanes_backward: int = Field(1, ge=0, le=8, description="lanes against it, on the side of the base station")


class Building(_Section):
    """A box in street coordinates: `along_m` from the base station's foot point, `across_m` from the street's middle.

    Positive `across_m` lies beyond the street, negative on the side of the base station.
    """

    along_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    length_m: float = Field(gt=0, le=LARGEST_M)
    depth_m: float = Field(gt=0, le=LARGEST_M)
    height_m: float = Field(gt=0, le=1000)
    material: str = "concrete"
    present: int = Field(1, ge=0, le=1, description="0 leaves it out: a building that is there in some episodes")


class Mesh(_Section):
    """A triangle mesh (any file that trimesh reads; relative to the scenario's), metres, in street coordinates."""

    file: str
    along_m: float = Field(0.0, ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(0.0, ge=-LARGEST_M, le=LARGEST_M)
    heading_deg: float = Field(0.0, ge=-360, le=360)
    scale: float = Field(1.0, gt=0, le=LARGEST_M)
    material: str = "concrete"


class Material(_Section):
    """Electrical constants at the carrier: relative permittivity and conductivity."""

    relative_permittivity: float = Field(ge=1)
    conductivity_s_per_m: float = Field(ge=0)


class ClassShares(_Section):
    """Shares of the vehicle classes in the traffic."""

    car: float = Field(0.75, ge=0)
    van: float = Field(0.12, ge=0)
    bus: float = Field(0.05, ge=0)
    truck: float = Field(0.08, ge=0)


class Idm(_Section):
    """Parameters of the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805, 2000)."""

    time_headway_s: float = Field(1.5, gt=0)
    minimum_gap_m: float = Field(2.0, gt=0)
    acceleration_mps2: float = Field(1.5, gt=0)
    deceleration_mps2: float = Field(2.0, gt=0, description="comfortable braking")


class Traffic(_Section):
    """Other vehicles: Poisson arrivals a lane."""

    arrivals_per_minute: float = Field(10.0, ge=0, le=60, description="a lane")
    speed_mps: float = Field(12.0, gt=0, le=70, description="mean desired speed")
    speed_deviation_mps: float = Field(1.5, ge=0)
    shares: ClassShares = Field(default_factory=ClassShares)
    idm: Idm = Field(default_factory=Idm)
    warmup_s: float = Field(30.0, ge=0, le=600, description="traffic runs this long before the UE enters")
    substep_s: float = Field(0.02, gt=0, le=0.1)


class Parked(_Section):
    """A vehicle that stands still, in street coordinates."""

    vehicle_class: Literal["car", "van", "bus", "truck"] = "car"
    along_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    heading_deg: float = Field(0.0, ge=-360, le=360, description="against the forward lanes, counterclockwise")


class Ue(_Section):
    """The served vehicle. `lane` counts from the base station's side; negative ones from the far side."""

    vehicle_class: Literal["car", "van", "bus", "truck"] = "car"
    lane: int = 0
    speed_mps: float = Field(12.0, gt=0, le=70, description="desired speed")
    antenna_above_roof_m: float = Field(0.2, gt=0, le=5)
    view_margin_deg: float | None = Field(
        None, ge=-45, le=90, description="record only while it is inside the codebook's field of view, widened by this"
    )


class Codebook(_Section):
    """64 beams ordered by azimuth."""

    kind: Literal["uniform_angle", "uniform_sine", "measured"] = "uniform_angle"
    field_of_view_deg: float = Field(90.0, gt=0, le=180)
    file: str | None = Field(
        None, description="npz of measured weights or patterns, for kind measured; relative to the scenario's file"
    )
    phase_error_deg: float = Field(0.0, ge=0, le=90, description="deviation of the elements' phases, drawn an episode")
    reversed: int = Field(0, ge=0, le=1, description="1 numbers the beams from the other side")


class Radio(_Section):
    """The link. Noise is given as a power, or as a share of the strongest possible sweep value."""

    carrier_hz: float = Field(60e9, gt=1e9, le=300e9)
    tx_power_dbm: float = Field(20.0, ge=-50, le=80)
    elements: int = Field(16, ge=1, le=256)
    codebook: Codebook = Field(default_factory=Codebook)
    noise_dbm: float = Field(-75.0, ge=-200, le=50, description="sigma^2 of the receiver, in the sweep's bandwidth")
    floor_share: float | None = Field(
        None,
        ge=0,
        le=10,
        description="sigma^2 as a share of the peak in free space on the UE's lane, instead of noise_dbm",
    )
    symbols: int = Field(64, ge=1, le=100000, description="K, averaged a beam")


class Gps(_Section):
    """Errors of the reported position, east and north alike."""

    sigma_m: float = Field(0.5, ge=0, le=1000, description="of the Gauss-Markov part")
    tau_s: float = Field(60.0, gt=0, description="its correlation time")
    white_m: float = Field(0.1, ge=0, le=1000)


class Scenario(_Section):
    """A scenario in plain numbers: what one episode is made with."""

    name: str
    description: str = ""
    frame_rate_hz: float = Field(10.0, gt=0, le=1000)
    frames: int = Field(
        300, ge=1, le=1_000_000, description="at most, an episode; it ends when the UE leaves the street"
    )
    site: Site
    street: Street
    buildings: tuple[Building, ...] = ()
    meshes: tuple[Mesh, ...] = ()
    ground: str = Field("asphalt", description="material of the ground")
    materials: dict[str, Material]
    traffic: Traffic = Field(default_factory=Traffic)
    parked: tuple[Parked, ...] = ()
    ue: Ue = Field(default_factory=Ue)
    radio: Radio = Field(default_factory=Radio)
    gps: Gps = Field(default_factory=Gps)

    @property
    def street_heading_rad(self) -> float:
        """Azimuth of the forward lanes."""
        return math.radians(self.site.street_heading_deg)

    @property
    def boresight_rad(self) -> float:
        """Azimuth of the array's broadside: the street's normal plus the error."""
        return self.street_heading_rad + math.pi / 2 + math.radians(self.site.boresight_error_deg)

    @property
    def lanes(self) -> list[tuple[float, int]]:
        """Middle of each lane across the street [m] and direction (1 forward, -1 back), base station's side first."""
        count = self.street.lanes_backward + self.street.lanes_forward
        width = self.street.lane_width_m
        return [
            ((number - (count - 1) / 2) * width, -1 if number < self.street.lanes_backward else 1)
            for number in range(count)
        ]

    @property
    def half_width_m(self) -> float:
        """Half the width of the carriageway."""
        return (self.street.lanes_backward + self.street.lanes_forward) * self.street.lane_width_m / 2

    def local_m(self, along_m: Any, across_m: Any) -> np.ndarray:
        """East and north of points in street coordinates."""
        along, across = np.asarray(along_m, float), np.asarray(across_m, float) + self.site.street_distance_m
        c, s = math.cos(self.street_heading_rad), math.sin(self.street_heading_rad)
        return np.stack([along * c - across * s, along * s + across * c], -1)


VEHICLE_CLASSES: dict[str, tuple[float, float, float]] = {
    "car": (4.6, 1.8, 1.5),
    "van": (5.4, 2.0, 2.3),
    "bus": (12.0, 2.55, 3.1),
    "truck": (9.0, 2.5, 3.6),
}
"""Length, width and height [m]; cars and buses as in 3GPP TR 37.885, table 6.1.2-1 (types 2 and 3), rounded."""


class Template:
    """A scenario as its file gives it, distributions and all. `draw` makes the scenario of an episode.

    Raises:
        UserError: a field is unknown, missing or out of range, also at the ends of a distribution, with the field, the
            value and what is allowed; the base station stands inside a building; a material is not described.
    """

    def __init__(self, raw: Any, where: object) -> None:
        if not isinstance(raw, dict):
            raise UserError("is no scenario: it holds no fields", where, "see twin scenarios --schema")
        self.raw = raw
        self.where = where
        self.distributions = {
            place: Distribution.parse(value, field_name(place), where)
            for place, value in leaves(raw)
            if isinstance(value, dict) and value
        }
        ends = {place: distribution.extremes() for place, distribution in self.distributions.items()}
        low = high = self._validated({place: end[0] for place, end in ends.items()})
        if ends:
            high = self._validated({place: end[1] for place, end in ends.items()})
        self.name, self.description = low.name, low.description
        self.most_frames = max(low.frames, high.frames)

    @property
    def folder(self) -> Path:
        """Where the files that the scenario names are looked for."""
        return self.where.parent if isinstance(self.where, Path) else Path()

    def draw(self, seed: int, episode: int) -> tuple[Scenario, dict[str, float]]:
        """The scenario of an episode and the numbers drawn for it, by field; each field has its own random stream."""
        drawn = {}
        for place, distribution in self.distributions.items():
            key = zlib.crc32(field_name(place).encode())
            drawn[place] = distribution.draw(np.random.default_rng([seed, episode, STREAM_SCENARIO, key]))
        return self._validated(drawn), {field_name(place): value for place, value in drawn.items()}

    def _validated(self, values: dict[Place, float]) -> Scenario:
        try:
            scenario = Scenario.model_validate(replaced(self.raw, values))
        except ValidationError as error:
            raise self._refused(error) from None
        _check_world(scenario, self.where)
        return scenario

    def _refused(self, error: ValidationError) -> UserError:
        first = error.errors()[0]
        place = field_name(first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_fields(first["loc"][:-1])
            near = get_close_matches(str(first["loc"][-1]), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            return UserError(f"unknown field {place}", self.where, hint)
        if first["type"] == "missing":
            return UserError(f"field {place} is missing", self.where, "add it; see twin scenarios --schema")
        if isinstance(first["input"], dict) and first["type"] in ("float_type", "int_type"):
            kinds = ", ".join(DISTRIBUTIONS)
            return UserError(f"{place} = {first['input']!r} is no number", self.where, f"distributions are {kinds}")
        value = "" if isinstance(first["input"], dict | list) else f" = {first['input']!r}"
        return UserError(f"{place}{value}", self.where, first["msg"][0].lower() + first["msg"][1:])


def _known_fields(place: tuple[int | str, ...]) -> list[str]:
    model: Any = Scenario
    for key in place:
        if isinstance(key, int) or not hasattr(model, "model_fields"):
            continue
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        inner = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        model = inner[0] if inner else annotation
    return list(getattr(model, "model_fields", {}))


def _check_world(scenario: Scenario, where: object) -> None:
    """What single fields cannot tell."""
    lanes = scenario.lanes
    if not -len(lanes) <= scenario.ue.lane < len(lanes):
        raise UserError(f"ue.lane = {scenario.ue.lane}", where, f"the street has {len(lanes)} lanes, counted from 0")
    used = [("ground", scenario.ground)]
    used += [(f"buildings.{n}.material", building.material) for n, building in enumerate(scenario.buildings)]
    used += [(f"meshes.{n}.material", mesh.material) for n, mesh in enumerate(scenario.meshes)]
    for field, material in used:
        if material not in scenario.materials:
            known = ", ".join(scenario.materials)
            raise UserError(f"{field} = {material!r} is not in materials", where, f"describe it or use one of {known}")
    if scenario.radio.codebook.kind == "measured" and scenario.radio.codebook.file is None:
        raise UserError("radio.codebook.file is missing", where, "name the npz of the measured patterns")
    shares = scenario.traffic.shares
    driven = {name for name in VEHICLE_CLASSES if getattr(shares, name) > 0} | {scenario.ue.vehicle_class}
    widest_m = max(VEHICLE_CLASSES[name][1] for name in driven)
    if scenario.street.lane_width_m < widest_m:
        raise UserError(
            f"street.lane_width_m = {scenario.street.lane_width_m:g}: vehicles in neighbouring lanes would overlap",
            where,
            f"give at least {widest_m:g}, the width of the widest class driven",
        )
    if shares.car + shares.van + shares.bus + shares.truck <= 0:
        raise UserError("traffic.shares are all zero", where, "give at least one class a share above 0")
    bs_across = -scenario.site.street_distance_m
    if scenario.half_width_m > scenario.site.street_distance_m:
        raise UserError(
            f"site.street_distance_m = {scenario.site.street_distance_m:g} puts the base station on the carriageway",
            where,
            f"give more than half its width, {scenario.half_width_m:g} m",
        )
    _check_parked(scenario, where)
    for number, building in enumerate(scenario.buildings):
        if not building.present:
            continue
        beside = abs(building.across_m) - building.depth_m / 2 >= scenario.half_width_m
        before = abs(building.along_m) - building.length_m / 2 >= scenario.street.length_m / 2
        if not beside and not before:
            remedy = f"keep {scenario.half_width_m:g} m from its middle"
            raise UserError(f"buildings.{number} stands on the carriageway", where, remedy)
        under = abs(building.along_m) < building.length_m / 2
        under = under and abs(bs_across - building.across_m) < building.depth_m / 2
        if under and scenario.site.bs_height_m < building.height_m:
            raise UserError(f"the base station stands inside buildings.{number}", where, "move one of them")


def _check_parked(scenario: Scenario, where: object) -> None:
    """Parked vehicles stand beside the carriageway, outside buildings and clear of each other."""
    corners = [_corners(vehicle) for vehicle in scenario.parked]
    for number, mine in enumerate(corners):
        if mine[:, 1].min() < scenario.half_width_m and mine[:, 1].max() > -scenario.half_width_m:
            raise UserError(f"parked.{number} stands on the carriageway", where, "move it off the lanes")
        foot = np.tile([[0.0, -scenario.site.street_distance_m]], (4, 1)) + 1e-6 * np.array(_SQUARE)
        height_m = VEHICLE_CLASSES[scenario.parked[number].vehicle_class][2]
        if _overlap(mine, foot) and scenario.site.bs_height_m < height_m:
            raise UserError(f"the base station stands inside parked.{number}", where, "move one of them")
        for other in range(number):
            if _overlap(mine, corners[other]):
                raise UserError(f"parked.{number} overlaps parked.{other}", where, "move one of them")
        for other, building in enumerate(scenario.buildings):
            half = np.array([building.length_m, building.depth_m]) / 2
            box = np.array([building.along_m, building.across_m]) + half * _SQUARE
            if building.present and _overlap(mine, box):
                raise UserError(f"parked.{number} overlaps buildings.{other}", where, "move one of them")


_SQUARE = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def _corners(vehicle: Parked) -> np.ndarray:
    length, width, _ = VEHICLE_CLASSES[vehicle.vehicle_class]
    c, s = math.cos(math.radians(vehicle.heading_deg)), math.sin(math.radians(vehicle.heading_deg))
    half = np.array(_SQUARE) * [length / 2, width / 2]
    return half @ np.array([[c, s], [-s, c]]) + [vehicle.along_m, vehicle.across_m]


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two rectangles overlap: no side of either separates them."""
    for corners in (one, two):
        for side in (corners[1] - corners[0], corners[2] - corners[1]):
            first, second = one @ side, two @ side
            if first.max() <= second.min() or second.max() <= first.min():
                return False
    return True


def _folders() -> Path:
    installed = files("twin").joinpath("scenarios")
    return Path(str(installed)) if installed.is_dir() else Path(__file__).parent.parent / "scenarios"


def scenario_names() -> list[str]:
    """The scenarios that come with the project."""
    return sorted(path.parent.name for path in _folders().glob("*/scenario.yaml"))


def load_scenario(name_or_path: str | Path) -> Template:
    """The scenario of that name, or of that YAML file.

    Raises:
        UserError: there is none, or it is wrong.
    """
    text = str(name_or_path)
    is_path = text.endswith((".yaml", ".yml")) or "/" in text
    path = Path(text) if is_path else _folders() / text / "scenario.yaml"
    if not is_path and text not in scenario_names():
        near = get_close_matches(text, scenario_names(), 1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(scenario_names())} or name a file"
        raise UserError("no such scenario", text or "''", hint)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", path, "name a scenario or its YAML file") from None
    except IsADirectoryError:
        raise UserError("is a directory", path, "name the YAML file inside it") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"is no YAML{line}", path, "mend its syntax") from None
    try:
        return Template(raw, path)
    except RecursionError:
        raise UserError("is nested too deeply or in itself", path, "remove the anchors") from None


def json_schema() -> dict[str, Any]:
    """JSON Schema of scenario.yaml: that of `Scenario` with a distribution allowed wherever a number is."""
    schema = allowing_distributions(Scenario.model_json_schema())
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    some = {"type": "array", "items": {"type": "number"}, "minItems": 1}
    schema["$defs"]["Distribution"] = {
        "description": "Drawn once an episode.",
        "oneOf": [
            {
                "type": "object",
                "properties": {kind: some if kind == "choice" else pair},
                "required": [kind],
                "additionalProperties": False,
                "description": meaning,
            }
            for kind, meaning in DISTRIBUTIONS.items()
        ],
    }
    return schema
