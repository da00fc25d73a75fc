"""The fields of scenario.yaml: site, buildings, materials, the served vehicle, radio and propagation."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from twin.scenario.section import LARGEST_M, Section
from twin.scenario.sensors import Camera, Gps, Lidar, Radar
from twin.scenario.street import Junction, Parked, Street, Traffic

__all__ = [
    "Antenna",
    "Building",
    "Codebook",
    "Material",
    "Propagation",
    "Radio",
    "Scenario",
    "Scenery",
    "Site",
    "Ue",
]


class Site(Section):
    """Where the base station stands. The street passes at `street_distance_m` in the direction of the boresight."""

    latitude_deg: float = Field(ge=-85, le=85)
    longitude_deg: float = Field(ge=-180, le=180)
    bs_height_m: float = Field(gt=0, le=200, description="height of the array above the ground")
    street_distance_m: float = Field(gt=0, le=500, description="from the base station to the middle of the street")
    gantry: int = Field(0, ge=0, le=1, description="1: it hangs from a gantry, and may do so over the carriageway")
    street_heading_deg: float = Field(
        0.0, ge=-360, le=360, description="of the forward lanes, counterclockwise from east"
    )
    turn_deg: float = Field(0.0, ge=-180, le=180, description="of the array, counterclockwise from the street's normal")
    boresight_error_deg: float = Field(0.0, ge=-90, le=90, description="of the array against where it should look")


class Building(Section):
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


class Scenery(Section):
    """Geometry from elsewhere: exactly one of a file and a scene that comes with Sionna RT.

    A file is a Mitsuba/Sionna scene (.xml), a mesh that trimesh reads, or GeoJSON footprints of buildings with heights;
    relative to the scenario's. Metres, in street coordinates; footprints stand where their longitudes and latitudes
    are."""

    file: str | None = None
    builtin: str | None = Field(None, description="name of a scene that comes with Sionna RT")
    along_m: float = Field(0.0, ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(0.0, ge=-LARGEST_M, le=LARGEST_M)
    heading_deg: float = Field(0.0, ge=-360, le=360)
    scale: float = Field(1.0, gt=0, le=LARGEST_M)
    material: str = Field("concrete", description="of what the file gives none")
    storey_height_m: float = Field(10.0, gt=0, le=1000, description="height of footprints that have none")


class Material(Section):
    """What surfaces are made of: a material of ITU-R P.2040, or constants at the carrier, or both (constants win)."""

    itu: str | None = Field(None, description="a name of ITU-R P.2040-3, table 3; constants follow the carrier")
    relative_permittivity: float | None = Field(None, ge=1)
    conductivity_s_per_m: float | None = Field(None, ge=0)
    thickness_m: float | None = Field(None, gt=0, le=100, description="of the slab; a half space by default")
    scattering_coefficient: float = Field(0.0, ge=0, le=1, description="S: share of the reflected amplitude scattered")
    roughness_m: float = Field(0.0, ge=0, le=1, description="standard deviation of the surface's height")


class Antenna(Section):
    """An antenna element: its pattern and how it is mounted. The base station's looks along the boresight."""

    pattern: Literal["isotropic", "tr38901", "measured"] = "isotropic"
    file: str | None = Field(None, description="npz of a measured pattern; relative to the scenario's file")
    slant_deg: float = Field(0.0, ge=-180, le=180, description="polarisation: 0 vertical, 90 horizontal")
    downtilt_deg: float = Field(0.0, ge=-90, le=90)


class Propagation(Section):
    """Which ways the waves take."""

    order: int = Field(2, ge=0, le=3, description="specular bounces at most")
    diffraction: int = Field(1, ge=0, le=1, description="single edges of what stands still diffract")
    blockage: Literal["none", "double_knife_edge", "model_b"] = Field(
        "double_knife_edge", description="how paths fade behind vehicles; none: they vanish"
    )
    specular_loss: int = Field(1, ge=0, le=1, description="scattering takes sqrt(1 - S^2) off reflections")
    diffuse: int = Field(
        0,
        ge=0,
        le=1,
        description="what scattering takes comes back as diffuse paths; many and weak, raise max_paths to keep them",
    )
    max_paths: int = Field(12, ge=1, le=1000, description="strongest paths kept a frame")
    rays: int = Field(
        1_000_000, ge=1000, le=100_000_000, description="launched into large scenes; with Sionna RT, in every solve"
    )


class Ue(Section):
    """The served vehicle. `lane` counts from the base station's side; negative ones from the far side."""

    vehicle_class: Literal["car", "van", "bus", "truck"] = "car"
    lane: int = 0
    speed_mps: float = Field(12.0, gt=0, le=70, description="desired speed")
    antenna_above_roof_m: float = Field(0.2, gt=0, le=5)
    antenna: Antenna = Field(default_factory=Antenna)
    view_margin_deg: float | None = Field(
        None, ge=-45, le=90, description="record only while it is inside the codebook's field of view, widened by this"
    )


class Codebook(Section):
    """64 beams ordered by azimuth."""

    kind: Literal["uniform_angle", "uniform_sine", "measured"] = "uniform_angle"
    field_of_view_deg: float = Field(90.0, gt=0, le=180)
    file: str | None = Field(
        None, description="npz of measured weights or patterns, for kind measured; relative to the scenario's file"
    )
    phase_error_deg: float = Field(0.0, ge=0, le=90, description="deviation of the elements' phases, drawn an episode")
    reversed: int = Field(0, ge=0, le=1, description="1 numbers the beams from the other side")


class Radio(Section):
    """The link. Noise is given as a power, or as a share of the strongest possible sweep value."""

    carrier_hz: float = Field(60e9, gt=1e9, le=300e9)
    tx_power_dbm: float = Field(20.0, ge=-50, le=80)
    elements: int = Field(16, ge=1, le=256)
    codebook: Codebook = Field(default_factory=Codebook)
    antenna: Antenna = Field(default_factory=Antenna)
    noise_dbm: float = Field(-75.0, ge=-200, le=50, description="sigma^2 of the receiver, in the sweep's bandwidth")
    floor_share: float | None = Field(
        None,
        ge=0,
        le=10,
        description="sigma^2 as a share of the peak in free space on the UE's lane, instead of noise_dbm",
    )
    symbols: int = Field(64, ge=1, le=100000, description="K, averaged a beam")


class Scenario(Section):
    """A scenario in plain numbers: what one episode is made with."""

    name: str
    description: str = ""
    frame_rate_hz: float = Field(10.0, gt=0, le=1000)
    frames: int = Field(
        300, ge=1, le=1_000_000, description="at most, an episode; it ends when the UE leaves the street"
    )
    site: Site
    street: Street
    junction: Junction | None = None
    buildings: tuple[Building, ...] = ()
    scenery: tuple[Scenery, ...] = ()
    ground: str | None = Field(
        "asphalt", description="material of the ground z = 0; null where the scenery brings its own"
    )
    materials: dict[str, Material]
    traffic: Traffic = Field(default_factory=Traffic)
    parked: tuple[Parked, ...] = ()
    ue: Ue = Field(default_factory=Ue)
    radio: Radio = Field(default_factory=Radio)
    propagation: Propagation = Field(default_factory=Propagation)
    gps: Gps = Field(default_factory=Gps)
    camera: Camera = Field(default_factory=Camera)
    lidar: Lidar = Field(default_factory=Lidar)
    radar: Radar = Field(default_factory=Radar)

    @property
    def street_heading_rad(self) -> float:
        """Azimuth of the forward lanes."""
        return math.radians(self.site.street_heading_deg)

    @property
    def boresight_rad(self) -> float:
        """Azimuth of the array's broadside: the street's normal, the turn and the error."""
        normal_rad = self.street_heading_rad + math.pi / 2
        return normal_rad + math.radians(self.site.boresight_error_deg) + math.radians(self.site.turn_deg)

    @property
    def lanes(self) -> list[tuple[float, int]]:
        """Middle of each lane across the street [m] and direction (1 forward, -1 back), base station's side first."""
        street = self.street
        near = street.lanes_backward if street.drives_on == "left" else street.lanes_forward
        count, direction = street.lanes_backward + street.lanes_forward, -1 if street.drives_on == "left" else 1
        return [
            (
                (number - (count - 1) / 2) * street.lane_width_m
                + (-0.5 if number < near else 0.5) * street.median_width_m,
                direction if number < near else -direction,
            )
            for number in range(count)
        ]

    @property
    def half_width_m(self) -> float:
        """Half the width of the carriageway without its cycle lanes."""
        street = self.street
        count = street.lanes_backward + street.lanes_forward
        return count * street.lane_width_m / 2 + street.median_width_m / 2

    @property
    def kerb_m(self) -> float:
        """From the middle of the street to its kerbs: half the width of the carriageway."""
        return self.half_width_m + self.street.cycle_lane_width_m

    @property
    def sidewalk_m(self) -> tuple[float, float]:
        """From the middle of the street to the near and the far edge of its sidewalks."""
        near = self.kerb_m + self.street.verge_width_m
        return near, near + self.street.sidewalk_width_m

    def local_m(self, along_m: Any, across_m: Any) -> np.ndarray:
        """East and north of points in street coordinates."""
        along, across = np.asarray(along_m, float), np.asarray(across_m, float) + self.site.street_distance_m
        c, s = math.cos(self.street_heading_rad), math.sin(self.street_heading_rad)
        return np.stack([along * c - across * s, along * s + across * c], -1)
