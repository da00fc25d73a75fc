"""The fields of scenario.yaml that describe the street and who is on it: lanes, junction, traffic, parked vehicles."""

from typing import Literal

from pydantic import Field

from twin.scenario.section import LARGEST_M, Section

__all__ = [
    "ClassShares",
    "CrossStreet",
    "Cyclists",
    "Idm",
    "Junction",
    "LaneTraffic",
    "Parked",
    "Pedestrians",
    "Street",
    "Traffic",
]


class Street(Section):
    """A straight street; the point next to the base station lies in its middle.

    From its middle outwards: median, lanes, cycle lane, kerb, verge, sidewalk; alike on both sides.
    """

    length_m: float = Field(gt=0, le=5000)
    lane_width_m: float = Field(3.25, gt=1, le=10)
    lanes_forward: int = Field(1, ge=0, le=8, description="lanes in the direction of street_heading_deg")
    lanes_backward: int = Field(1, ge=0, le=8, description="lanes against it")
    drives_on: Literal["left", "right"] = Field(
        "left", description="left: the lanes on the base station's side go backward; right: they go forward"
    )
    median_width_m: float = Field(0.0, ge=0, le=50, description="between the two directions")
    cycle_lane_width_m: float = Field(0.0, ge=0, le=5, description="of the cycle lane along each kerb; 0: none")
    verge_width_m: float = Field(0.0, ge=0, le=50, description="between kerb and sidewalk: bus bays, parking, trees")
    sidewalk_width_m: float = Field(0.0, ge=0, le=50, description="of each sidewalk; 0: none")


class Idm(Section):
    """Parameters of the Intelligent Driver Model (Treiber, Hennecke and Helbing, Phys. Rev. E 62, 1805, 2000)."""

    time_headway_s: float = Field(1.5, gt=0)
    minimum_gap_m: float = Field(2.0, gt=0)
    acceleration_mps2: float = Field(1.5, gt=0)
    deceleration_mps2: float = Field(2.0, gt=0, description="comfortable braking")


class ClassShares(Section):
    """Shares of the vehicle classes in the traffic."""

    car: float = Field(0.75, ge=0)
    van: float = Field(0.12, ge=0)
    bus: float = Field(0.05, ge=0)
    truck: float = Field(0.08, ge=0)


class LaneTraffic(Section):
    """What is different on one lane; where nothing is said the lane is as the others."""

    lane: int = Field(description="as ue.lane: from the base station's side; negative ones from the far side")
    arrivals_per_minute: float | None = Field(None, ge=0, le=60)
    speed_mps: float | None = Field(None, gt=0, le=70)
    speed_deviation_mps: float | None = Field(None, ge=0, le=50)
    shares: ClassShares | None = None


class Cyclists(Section):
    """Cyclists on the cycle lanes, with the traffic beside them. They obey the signals and do not overtake."""

    arrivals_per_minute: float = Field(0.0, ge=0, le=60, description="a cycle lane")
    speed_mps: float = Field(5.0, gt=0, le=20, description="mean desired speed")
    speed_deviation_mps: float = Field(0.7, ge=0, le=50)
    sides: Literal["both", "near", "far"] = Field("both", description="seen from the base station")


class Pedestrians(Section):
    """People on the sidewalks in both directions, and some who cross the street at the crosswalks of the junction.

    Those who cross come along the kerb, wait for their signal and go back on the other side.
    """

    arrivals_per_minute: float = Field(0.0, ge=0, le=60, description="a sidewalk and direction")
    crossing_per_minute: float = Field(0.0, ge=0, le=60, description="a crosswalk and direction")
    speed_mps: float = Field(1.4, gt=0, le=5, description="mean desired speed")
    speed_deviation_mps: float = Field(0.2, ge=0, le=50, description="desired speeds are cut at two deviations")


class Traffic(Section):
    """Other road users: Poisson arrivals a lane."""

    arrivals_per_minute: float = Field(10.0, ge=0, le=60, description="a lane")
    speed_mps: float = Field(12.0, gt=0, le=70, description="mean desired speed")
    speed_deviation_mps: float = Field(1.5, ge=0, le=50)
    shares: ClassShares = Field(default_factory=ClassShares)
    lanes: tuple[LaneTraffic, ...] = Field((), description="lanes whose traffic differs")
    idm: Idm = Field(default_factory=Idm)
    cyclists: Cyclists = Field(default_factory=Cyclists)
    pedestrians: Pedestrians = Field(default_factory=Pedestrians)
    warmup_s: float = Field(30.0, ge=0, le=600, description="traffic runs this long before the UE enters")
    substep_s: float = Field(0.02, gt=0, le=0.1)


class CrossStreet(Section):
    """A street that crosses the main one at right angles; its traffic goes straight on.

    Forward is away from the base station's side.
    """

    length_m: float = Field(120.0, gt=0, le=5000, description="the middle lies in that of the main street")
    lane_width_m: float = Field(3.25, gt=1, le=10)
    lanes_forward: int = Field(1, ge=0, le=4)
    lanes_backward: int = Field(1, ge=0, le=4)
    arrivals_per_minute: float = Field(6.0, ge=0, le=60, description="a lane")
    speed_mps: float = Field(9.0, gt=0, le=70, description="mean desired speed")
    speed_deviation_mps: float = Field(1.0, ge=0, le=50)
    shares: ClassShares = Field(default_factory=ClassShares)


class Junction(Section):
    """Traffic lights at a cross street, at a crosswalk, or at both.

    The street is green, yellow and red; while it is red the cross street is green and yellow, and people cross.
    """

    along_m: float = Field(0.0, ge=-LARGEST_M, le=LARGEST_M, description="of its middle")
    green_s: float = Field(20.0, gt=0, le=600, description="of the street")
    cross_green_s: float = Field(20.0, gt=0, le=600, description="of the cross street and of those who cross")
    yellow_s: float = Field(3.0, ge=0, le=30)
    all_red_s: float = Field(2.0, ge=0, le=60, description="after each yellow")
    offset_s: float = Field(0.0, ge=0, le=3600, description="into the street's green when the UE is due")
    crosswalk_width_m: float = Field(3.0, ge=0, le=20, description="on both sides of the cross street; 0: none")
    cross_street: CrossStreet | None = None


class Parked(Section):
    """A vehicle that stands still, in street coordinates."""

    vehicle_class: Literal["car", "van", "bus", "truck"] = "car"
    along_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    across_m: float = Field(ge=-LARGEST_M, le=LARGEST_M)
    heading_deg: float = Field(0.0, ge=-360, le=360, description="against the forward lanes, counterclockwise")
