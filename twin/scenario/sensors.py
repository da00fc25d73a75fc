"""The fields of scenario.yaml that describe the sensors: camera, LiDAR, radar and GPS."""

from typing import Literal

from pydantic import Field

from twin.scenario.section import Section

__all__ = ["Camera", "Gps", "Lidar", "Mounted", "Radar", "Timed"]


class Timed(Section):
    """When a sensor sees what it reports for a frame: `latency_s` ago, give or take, or never."""

    latency_s: float = Field(0.0, ge=0, le=1, description="age of what a frame holds")
    jitter_s: float = Field(0.0, ge=0, le=0.5, description="standard deviation of that age, which is never negative")
    drop_share: float = Field(0.0, ge=0, le=1, description="share of frames that are lost")


class Mounted(Timed):
    """A sensor at the base station; it looks along the street's normal unless it is turned."""

    above_bs_m: float = Field(0.0, ge=-50, le=50, description="height above the array")
    turn_deg: float = Field(0.0, ge=-180, le=180, description="counterclockwise from the street's normal")
    pitch_deg: float = Field(0.0, ge=-90, le=90, description="upward")


class Camera(Mounted):
    """A colour camera. A frame is stored as JPEG."""

    width_px: int = Field(224, ge=16, le=4096)
    height_px: int = Field(224, ge=16, le=4096)
    horizontal_view_deg: float = Field(110.0, gt=1, lt=170, description="field of view across (ZED2: 110)")
    vertical_view_deg: float = Field(70.0, gt=1, lt=170, description="field of view up and down (ZED2: 70)")
    sun_azimuth_deg: float = Field(225.0, ge=-360, le=360, description="counterclockwise from east")
    sun_elevation_deg: float = Field(45.0, ge=1, le=90, description="above the horizon")
    cloud: float = Field(0.2, ge=0, le=1, description="share of the sun's light that clouds scatter; 1: overcast")
    night: int = Field(0, ge=0, le=1, description="1: street lamps, headlights and windows instead of the sun")
    exposure_ev: float = Field(0.0, ge=-8, le=8, description="stops above a well exposed picture")
    noise: float = Field(
        0.01, ge=0, le=1, description="standard deviation of mid grey (0.18) in linear light, where white is 1"
    )
    blur_px: float = Field(0.5, ge=0, le=20, description="standard deviation of the point spread")
    visibility_m: float = Field(
        20_000.0, ge=5, le=100_000, description="meteorological visibility, for the LiDAR too: fog below 1 km"
    )


class Lidar(Mounted):
    """A spinning LiDAR (defaults: Ouster OS1-32, second generation, 1024 x 10)."""

    rings: int = Field(32, ge=1, le=256)
    azimuth_steps: int = Field(1024, ge=8, le=8192, description="a revolution")
    lowest_deg: float = Field(-22.5, ge=-90, le=90, description="elevation of the lowest ring")
    highest_deg: float = Field(22.5, ge=-90, le=90, description="elevation of the highest ring")
    farthest_m: float = Field(120.0, gt=0, le=1000)
    range_noise_m: float = Field(0.02, ge=0, le=1, description="standard deviation")
    half_range_m: float = Field(
        55.0, ge=1, le=2000, description="where half of the pulses on a surface that reflects 10 % come back"
    )
    rolling: int = Field(1, ge=0, le=1, description="1: the world moves during a revolution")


class Radar(Mounted):
    """An FMCW radar with a uniform linear array (defaults: TI AWR1243 at DeepSense 6G)."""

    carrier_hz: float = Field(77e9, gt=1e9, le=300e9)
    slope_hz_per_s: float = Field(15.015e12, ge=1e9, le=1e15, description="of the ramp")
    sample_rate_hz: float = Field(5e6, ge=1e4, le=1e9, description="of the complex intermediate frequency")
    samples: int = Field(256, ge=8, le=4096, description="a chirp")
    chirps: int = Field(250, ge=1, le=4096, description="a frame")
    chirp_interval_s: float = Field(65e-6, gt=0, le=1, description="from ramp to ramp")
    antennas: int = Field(4, ge=1, le=64, description="receivers, half a wavelength apart")
    tx_power_dbm: float = Field(12.0, ge=-50, le=60)
    antenna_gain_dbi: float = Field(10.0, ge=-20, le=60, description="of each of transmitter and receiver")
    noise_figure_db: float = Field(15.0, ge=0, le=60)
    phase_noise_deg: float = Field(0.0, ge=0, le=180, description="standard deviation from chirp to chirp")
    clutter: Literal["chirp_mean", "antenna_mean", "none"] = Field(
        "chirp_mean", description="what is subtracted before the map"
    )


class Gps(Timed):
    """Errors of the reported position, east and north alike."""

    sigma_m: float = Field(0.5, ge=0, le=1000, description="of the Gauss-Markov part")
    tau_s: float = Field(60.0, gt=0, description="its correlation time")
    white_m: float = Field(0.1, ge=0, le=1000)
    bias_m: float = Field(0.0, ge=0, le=1000, description="standard deviation of an offset that a drive keeps")
    multipath_m: float = Field(0.0, ge=0, le=1000, description="root mean square length of a jump near buildings")
    multipath_reach_m: float = Field(
        15.0, gt=0, le=1000, description="so much further from a wall jumps begin e times less often"
    )
    multipath_s: float = Field(3.0, gt=0, le=600, description="mean time that a jump lasts")
    loss_share: float = Field(0.0, ge=0, lt=1, description="share of the time without a fix")
    loss_s: float = Field(2.0, gt=0, le=600, description="mean time without a fix")
