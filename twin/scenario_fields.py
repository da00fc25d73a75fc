"""The fields of scenario.yaml: site, street, buildings, materials, traffic, radio, propagation and sensors."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "LARGEST_M",
    "Antenna",
    "Building",
    "ClassShares",
    "Codebook",
    "Gps",
    "Idm",
    "Material",
    "Parked",
    "Propagation",
    "Radio",
    "Scenario",
    "Scenery",
    "Section",
    "Site",
    "Street",
    "Traffic",
    "Ue",
]

LARGEST_M = 10_000
"""Nothing of a scene lies or reaches further than this: the local frame is flat."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Site(Section):
    """Where the base station stands. The street passes at `street_distance_m` in the direction of the boresight."""

    latitude_deg: float = Field(ge=-85, le=85)
    longitude_deg: float = Field(ge=-180, le=180)
    bs_height_m: float = Field(gt=0, le=200, description="height of the array above the ground")
    street_distance_m: float = Field(gt=0, le=500, description="from the base station to the middle of the street")
    street_heading_deg: float = Field(
        0.0, ge=-360, le=360, description="of the forward lanes, counterclockwise from east"
    )
    boresight_error_deg: float = Field(0.0, ge=-90, le=90, description="of the array against the street's normal")


class Street(Section):
    """A straight street; the point next to the base station lies in its middle."""

    length_m: float = Field(gt=0, le=5000)
    lane_width_m: float = Field(3.25, gt=1, le=10)
    lanes_forward: int = Field(1, ge=0, le=8, description="lanes in the direction of street_heading_deg, far side")
    lanes_backward: int = Field(1, ge=0, le=8, description="lanes against it, on the side of the base station")


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


class ClassShares(Section):
    """Shares of the vehicle classes in the traffic."""

    car: float = Field(0.75, ge=0)
    van: float = Field(0.12, ge=0)
    bus: float = Field(0.05, ge=0)
    truck: float = Field(0.08, ge=0)


class Idm(Section):
    """Parameters of the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805, 2000)."""

    time_headway_s: float = Field(1.5, gt=0)
    minimum_gap_m: float = Field(2.0, gt=0)
    acceleration_mps2: float = Field(1.5, gt=0)
    deceleration_mps2: float = Field(2.0, gt=0, description="comfortable braking")


class Traffic(Section):
    """Other vehicles: Poisson arrivals a lane."""

    arrivals_per_minute: float = Field(10.0, ge=0, le=60, description="a lane")
    speed_mps: float = Field(12.0, gt=0, le=70, description="mean desired speed")
    speed_deviation_mps: float = Field(1.5, ge=0)
    shares: ClassShares = Field(default_factory=ClassShares)
    idm: Idm = Field(default_factory=Idm)
    warmup_s: float = Field(30.0, ge=0, le=600, description="traffic runs this long before the UE enters")
    substep_s: float = Field(0.02, gt=0, le=0.1)


class Parked(Section):
    """A vehicle that stands still, in street coordinates."""

    vehicle_class: Literal["car", "van", "bus", "truck"] = "car"
    along_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    heading_deg: float = Field(0.0, ge=-360, le=360, description="against the forward lanes, counterclockwise")


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


class Gps(Section):
    """Errors of the reported position, east and north alike."""

    sigma_m: float = Field(0.5, ge=0, le=1000, description="of the Gauss-Markov part")
    tau_s: float = Field(60.0, gt=0, description="its correlation time")
    white_m: float = Field(0.1, ge=0, le=1000)


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
