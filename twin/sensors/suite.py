"""The sensors of a site, which see one world: camera, radar and LiDAR of an episode, frame by frame.

What a sensor is made of is imported when it is first used: an episode without pictures loads no renderer.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from twin.errors import UserError
from twin.geometry.scene import Scene
from twin.scenario.fields import Scenario
from twin.scenario.sensors import Mounted
from twin.sensors.actors import Actors
from twin.sensors.gps import gps_fixes
from twin.sensors.images import encode_jpeg
from twin.sensors.mount import Mount
from twin.sensors.timing import actors_at, capture_times
from twin.sensors.walls import Walls
from twin.traffic.simulate import TrafficTrace

if TYPE_CHECKING:
    from twin.sensors.camera.sensor import CameraFrame, CameraSensor
    from twin.sensors.lidar.sensor import LidarSensor, PointCloud
    from twin.sensors.radar.sensor import RadarFrame, RadarSensor
    from twin.sensors.world import World

__all__ = ["KEEPABLE", "UE_SLOT", "SensorSuite"]

KEEPABLE = {
    "radar_cube": "radar",
    "lidar_points": "lidar",
    "camera_depth": "camera",
    "camera_instance": "camera",
}
"""What is recorded on request only, and the modality that it belongs to."""
STREAMS = {"gps": 4, "camera": 6, "lidar": 7, "radar": 8}
LARGEST_KEPT_BYTES = 4_000_000_000
"""What an episode may hold of what is kept on request."""
STREAM_TIMING, STREAM_COLOURS = 9, 10
UE_SLOT = 0
"""Place of the UE among the actors of a frame."""


class SensorSuite:
    """Camera, radar, LiDAR and GPS of an episode. A frame does not depend on what was asked for before it.

    Args:
        traffic: the actors of every frame of the episode.
        antenna_height_m: of the UE.
    """

    def __init__(
        self, scenario: Scenario, scene: Scene, traffic: TrafficTrace, antenna_height_m: float, seed: int, episode: int
    ) -> None:
        self.scenario, self.traffic, self._antenna_height_m = scenario, traffic, antenna_height_m
        self._scene, self._seed, self._episode = scene, seed, episode
        self._rate_hz = scenario.frame_rate_hz

    def _rng(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._episode, stream, *key])

    def mount(self, sensor: str) -> Mount:
        """Where `camera`, `lidar` or `radar` is, and which way it looks."""
        mounted: Mounted = getattr(self.scenario, sensor)
        height_m = self.scenario.site.bs_height_m + mounted.above_bs_m
        normal_rad = self.scenario.street_heading_rad + math.pi / 2
        return Mount(
            np.array([0.0, 0.0, height_m]),
            normal_rad + math.radians(mounted.turn_deg),
            math.radians(mounted.pitch_deg),
        )

    @cached_property
    def world(self) -> "World":
        """What all of them see."""
        from twin.sensors.world import World

        return World.of(self._scene)

    @cached_property
    def camera(self) -> "CameraSensor":
        """The camera."""
        from twin.sensors.camera.sensor import CameraSensor

        colours = int(self._rng(STREAM_COLOURS).integers(2**31))
        return CameraSensor(self.world, self.scenario.camera, self.mount("camera"), self.scenario, colours)

    @cached_property
    def lidar(self) -> "LidarSensor":
        """The LiDAR; a revolution takes a frame."""
        from twin.sensors.lidar.sensor import LidarSensor
        from twin.sensors.surfaces.ground import ground_of

        lidar = self.scenario.lidar
        fog_m = self.scenario.camera.visibility_m
        return LidarSensor(self.world, lidar, self.mount("lidar"), 1 / self._rate_hz, fog_m, ground_of(self.scenario))

    @cached_property
    def radar(self) -> "RadarSensor":
        """The radar."""
        from twin.sensors.radar.sensor import RadarSensor

        return RadarSensor(self.world, self.scenario.radar, self.mount("radar"))

    @cached_property
    def captured(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each sensor, when it captured each frame [s] and whether the frame arrived."""
        time_s = np.arange(self.traffic.frames) / self._rate_hz
        return {
            name: capture_times(getattr(self.scenario, name), time_s, self._rng(STREAM_TIMING, STREAMS[name]))
            for name in STREAMS
        }

    @cached_property
    def fixes(self) -> tuple[Float[np.ndarray, "frame 2"], Bool[np.ndarray, "frame"]]:
        """What the UE's GPS receiver reports [deg], and in which frames it does."""
        site, above_m = self.scenario.site, self._antenna_height_m
        captured_s, arrived = self.captured["gps"]
        at_m = np.stack([actors_at(self.traffic, float(t), self._rate_hz).box[UE_SLOT, :2] for t in captured_s])
        fix_deg, fixed = gps_fixes(
            self.scenario.gps,
            np.array([site.latitude_deg, site.longitude_deg]),
            at_m,
            Walls.of(self._scene.bodies, above_m).to_nearest(at_m),
            1 / self._rate_hz,
            (self._rng(STREAMS["gps"], k) for k in range(self.traffic.frames)),
        )
        valid = arrived & fixed
        return np.where(valid[:, None], fix_deg, np.nan), valid

    def actors(self, sensor: str, frame: int) -> Actors:
        """Who was where when the sensor captured the frame."""
        return actors_at(self.traffic, float(self.captured[sensor][0][frame]), self._rate_hz)

    def picture(self, frame: int) -> "CameraFrame":
        """What the camera sees, be the frame lost or not."""
        return self.camera.capture(self.actors("camera", frame), self._rng(STREAMS["camera"], frame))

    def cloud(self, frame: int) -> "PointCloud":
        """What the LiDAR returns."""
        return self.lidar.scan(self.actors("lidar", frame), self._rng(STREAMS["lidar"], frame))

    def echo(self, frame: int) -> "RadarFrame":
        """What the radar receives."""
        return self.radar.measure(self.actors("radar", frame), self._rng(STREAMS["radar"], frame))

    def record(self, frames: int, modalities: Sequence[str], keep: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The arrays of a recording's first frames; `keep` names what of `KEEPABLE` is wanted beside the maps.

        Raises:
            UserError: what is to be kept would not fit into memory.
        """
        self._check_size(frames, keep)
        arrays: dict[str, np.ndarray] = {}
        if "camera" in modalities:
            arrays |= self._record_camera(frames, keep)
        if "radar" in modalities:
            arrays |= self._record_radar(frames, "radar_cube" in keep)
        if "lidar" in modalities:
            arrays |= self._record_lidar(frames, "lidar_points" in keep)
        return arrays

    def _check_size(self, frames: int, keep: Sequence[str]) -> None:
        radar, camera = self.scenario.radar, self.scenario.camera
        pixels = camera.width_px * camera.height_px
        of_frame = {
            "radar_cube": 8 * radar.antennas * radar.samples * radar.chirps,
            "camera_depth": 2 * pixels,
            "camera_instance": 2 * pixels,
            "lidar_points": 16 * self.scenario.lidar.rings * self.scenario.lidar.azimuth_steps,
        }
        whole = frames * sum(of_frame[name] for name in keep)
        if whole > LARGEST_KEPT_BYTES:
            what = f"{', '.join(keep)} of {frames} frames take {whole / 1e9:.1f} GB"
            raise UserError(what, "--keep", f"keep less, or lower --frames: {LARGEST_KEPT_BYTES / 1e9:.0f} GB at most")

    def _arrived(self, sensor: str, frames: int) -> np.ndarray:
        return np.asarray(self.captured[sensor][1][:frames])

    def _record_camera(self, frames: int, keep: Sequence[str]) -> dict[str, np.ndarray]:
        arrived, count = self._arrived("camera", frames), self.traffic.actor_id.shape[1]
        jpegs: list[bytes] = [b""] * frames
        box_px, pixels = np.full((frames, count, 4), np.nan), np.zeros((frames, count), np.int32)
        size = (frames, self.scenario.camera.height_px, self.scenario.camera.width_px)
        depth = np.full(size if "camera_depth" in keep else (0, 0, 0), np.nan, np.float16)
        instance = np.full(size if "camera_instance" in keep else (0, 0, 0), -2, np.int16)
        for k in map(int, np.flatnonzero(arrived)):
            seen = self.picture(k)
            jpegs[k] = encode_jpeg(seen.image)
            actors = self.actors("camera", k)
            box_px[k] = self.camera.boxes_px(actors)
            pixels[k] = _pixels(seen.instance, actors.identity)
            if len(depth):
                depth[k] = seen.depth_m
            if len(instance):
                instance[k] = seen.instance
        arrays = {
            "camera": _padded(jpegs),
            "valid_camera": arrived,
            "truth/actor_box_px": box_px,
            "truth/actor_pixels": pixels,
        }
        kept = {"truth/camera_depth_m": depth, "truth/camera_instance": instance}
        return arrays | {name: values for name, values in kept.items() if len(values)}

    def _record_radar(self, frames: int, keep_cube: bool) -> dict[str, np.ndarray]:
        arrived, radar = self._arrived("radar", frames), self.scenario.radar
        shape = (frames, radar.antennas, radar.samples, radar.chirps) if keep_cube else (0, 0, 0, 0)
        cube = np.full(shape, np.nan, np.complex64)
        found = np.full((frames, 64, 256), np.nan, np.float16)
        for k in map(int, np.flatnonzero(arrived)):
            echo = self.echo(k)
            found[k] = echo.map_db
            if keep_cube:
                cube[k] = echo.cube()
        return {"radar": found, "valid_radar": arrived} | ({"radar_cube": cube} if keep_cube else {})

    def _record_lidar(self, frames: int, keep_points: bool) -> dict[str, np.ndarray]:
        arrived = self._arrived("lidar", frames)
        found = np.full((frames, 64, 256), np.nan, np.float16)
        from twin.sensors.lidar.depth_image import depth_image

        clouds = {}
        for k in map(int, np.flatnonzero(arrived)):
            cloud = self.cloud(k)
            found[k] = depth_image(cloud.point_m)
            if keep_points:
                clouds[k] = np.column_stack([cloud.point_m, cloud.intensity])
        arrays = {"lidar": found, "valid_lidar": arrived}
        if keep_points:
            most = max((len(points) for points in clouds.values()), default=0)
            arrays["lidar_points"] = np.full((frames, max(1, most), 4), np.nan, np.float32)
            for k, points in clouds.items():
                arrays["lidar_points"][k, : len(points)] = points
        return arrays


def _pixels(instance: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """Pixels of each actor."""
    seen = instance[instance >= 0]
    counts = np.bincount(seen, minlength=max(1, int(identity.max(initial=0)) + 1))
    return np.where(identity >= 0, counts[np.maximum(identity, 0)], 0)


def _padded(streams: Sequence[bytes]) -> np.ndarray:
    """One row a stream, with zeros after its end."""
    rows = np.zeros((len(streams), max(1, *map(len, streams))), np.uint8)
    for row, stream in zip(rows, streams, strict=True):
        row[: len(stream)] = np.frombuffer(stream, np.uint8)
    return rows
