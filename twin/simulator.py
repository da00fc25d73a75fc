"""The simulator: an episode of a scenario, frame by frame or as a recording."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twin.errors import UserError
from twin.geometry.scene import build_scene, vehicle_shapes
from twin.propagation.movers import Movers
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Paths
from twin.propagation.tracer import Tracer
from twin.radio import antenna as patterns
from twin.radio import codebook as beams
from twin.radio.array import direction_sine
from twin.radio.link import through_antennas
from twin.radio.sweep import beam_power, best_beam, measure_sweep
from twin.recording import MODALITIES, BaseStation, CodebookWeights, Recording, RecordingManifest
from twin.scenario import Template, load_scenario
from twin.scenario.fields import Antenna, Scenario
from twin.sensors.suite import KEEPABLE, UE_SLOT, SensorSuite
from twin.traffic.simulate import TrafficTrace, simulate_traffic
from twin.traffic.vehicles import VEHICLE_CLASSES

if TYPE_CHECKING:
    from twin.propagation.sionna import SionnaTracer

__all__ = ["BACKENDS", "KEEPABLE", "MODALITIES", "Frame", "Simulator"]

BACKENDS = ("numba", "sionna")
STREAM_NOISE, STREAM_ARRAY = 3, 5


@dataclass(frozen=True)
class Frame:
    """One frame of an episode: the measured sweep [W], the GPS fix [deg] and the paths behind them."""

    time_s: float
    sweep_w: np.ndarray
    gps_deg: np.ndarray
    paths: Paths


class Simulator:
    """An episode of a scenario. `step` gives the next frame, `run` a recording; both see the same world.

    Randomness is keyed by (seed, episode, stream, frame): a frame does not depend on what was simulated before it.

    Raises:
        UserError: the scenario is wrong.
    """

    def __init__(
        self, scenario: str | Path | Template, seed: int = 0, episode: int = 0, backend: str = "numba"
    ) -> None:
        if backend not in BACKENDS:
            raise UserError(f"there is no backend {backend!r}", "--backend", f"choose from {', '.join(BACKENDS)}")
        self.backend = backend
        template = scenario if isinstance(scenario, Template) else load_scenario(scenario)
        self.seed, self.episode = seed, episode
        self.scenario, self.drawn = template.draw(seed, episode)
        if backend == "sionna":
            self.scenario = _as_sionna_traces(self.scenario)
        self.folder = template.folder
        self.scene = build_scene(self.scenario, self.folder)
        self._next = 0

    @cached_property
    def bs_m(self) -> np.ndarray:
        """Position of the array: the origin of the local frame lies on the ground under it."""
        return np.array([0.0, 0.0, self.scenario.site.bs_height_m])

    @cached_property
    def codebook(self) -> np.ndarray:
        """Beam weights (64, elements), phase errors included."""
        radio = self.scenario.radio
        if radio.codebook.kind == "measured":
            weights = beams.measured(self.folder / str(radio.codebook.file), elements=radio.elements)
        else:
            make = {"uniform_angle": beams.uniform_angle, "uniform_sine": beams.uniform_sine}[radio.codebook.kind]
            weights = make(elements=radio.elements, field_of_view_rad=math.radians(radio.codebook.field_of_view_deg))
        errors = self._rng(STREAM_ARRAY).normal(0, math.radians(radio.codebook.phase_error_deg), radio.elements)
        weights = beams.with_phase_errors(weights, errors)
        return beams.reversed_order(weights) if radio.codebook.reversed else weights

    @cached_property
    def noise_w(self) -> float:
        """sigma^2 of the receiver [W]."""
        radio = self.scenario.radio
        if radio.floor_share is None:
            return float(10 ** (radio.noise_dbm / 10 - 3))
        lane_m = self.scenario.site.street_distance_m + self.scenario.lanes[self.scenario.ue.lane][0]
        nearest_m = math.hypot(lane_m, self.scenario.site.bs_height_m - self._antenna_height_m)
        friis = (SPEED_OF_LIGHT_MPS / radio.carrier_hz / (4 * math.pi * nearest_m)) ** 2
        return radio.floor_share * self.tx_power_w * radio.elements * friis

    @property
    def tx_power_w(self) -> float:
        """Transmitted power [W]."""
        return float(10 ** (self.scenario.radio.tx_power_dbm / 10 - 3))

    @property
    def _antenna_height_m(self) -> float:
        return VEHICLE_CLASSES[self.scenario.ue.vehicle_class][2] + self.scenario.ue.antenna_above_roof_m

    @cached_property
    def traffic(self) -> TrafficTrace:
        """The vehicles of the whole episode.

        Raises:
            UserError: the UE never comes into view.
        """
        whole = simulate_traffic(self.scenario, self.scenario.frames, self.seed, self.episode)
        margin_deg = self.scenario.ue.view_margin_deg
        if margin_deg is None:
            return whole
        half_rad = math.radians(self.scenario.radio.codebook.field_of_view_deg / 2 + margin_deg)
        east, north = whole.box[:, 0, 0], whole.box[:, 0, 1]
        turn_rad = np.angle(np.exp(1j * (np.arctan2(north, east) - self.scenario.boresight_rad)))
        seen = np.flatnonzero(np.abs(turn_rad) <= half_rad)
        if not len(seen):
            raise UserError(
                f"the UE is not in view within {self.scenario.frames} frames", "ue.view_margin_deg", "raise frames"
            )
        return whole.cut(int(seen[0]), int(seen[-1]) + 1)

    @property
    def frames(self) -> int:
        """Frames of the episode."""
        return int(self.traffic.frames)

    def _rng(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.episode, stream, *key])

    @cached_property
    def ue_m(self) -> np.ndarray:
        """Position of the UE's antenna (frame, 3)."""
        position = self.traffic.box[:, 0, :3].copy()
        position[:, 2] = self._antenna_height_m
        return position

    @cached_property
    def ue_mps(self) -> np.ndarray:
        """Velocity of the UE (frame, 3)."""
        return np.pad(self.traffic.velocity_mps[:, 0], ((0, 0), (0, 1)))

    @cached_property
    def gps_deg(self) -> np.ndarray:
        """What the UE's receiver reports (frame, 2), NaN without a fix."""
        return self.sensors.fixes[0]

    @cached_property
    def sensors(self) -> SensorSuite:
        """Camera, radar, LiDAR and GPS."""
        return SensorSuite(self.scenario, self.scene, self.traffic, self._antenna_height_m, self.seed, self.episode)

    @cached_property
    def tracer(self) -> "Tracer | SionnaTracer":
        """What finds the paths; the static world is prepared once.

        Raises:
            UserError: Sionna RT is asked for and cannot run.
        """
        how = self.scenario.propagation
        shapes = vehicle_shapes()
        carrier_hz = self.scenario.radio.carrier_hz
        if self.backend == "sionna":
            from twin.propagation.sionna import SionnaTracer

            return SionnaTracer(
                self.scene.bodies,
                self.bs_m,
                carrier_hz,
                shapes,
                how.order,
                how.max_paths,
                how.rays,
                diffraction=bool(how.diffraction),
                specular_loss=bool(how.specular_loss),
            )
        return Tracer(
            self.scene.bodies,
            self.bs_m,
            carrier_hz,
            shapes,
            how.order,
            how.max_paths,
            diffraction=bool(how.diffraction),
            blockage=how.blockage,
            specular_loss=bool(how.specular_loss),
            diffuse=bool(how.diffuse),
            rays=how.rays,
        )

    @cached_property
    def movers(self) -> Movers:
        """The vehicles of the episode, the UE's first."""
        traffic = self.traffic
        pose = np.stack(
            [traffic.box[..., 0], traffic.box[..., 1], np.zeros_like(traffic.box[..., 0]), traffic.box[..., 6]], -1
        )
        return Movers(
            np.where(traffic.actor_id >= 0, traffic.actor_class, -1),
            np.nan_to_num(pose),
            np.nan_to_num(np.pad(traffic.velocity_mps, ((0, 0), (0, 0), (0, 1)))),
        )

    def _pattern(self, antenna: Antenna, azimuth_rad: float) -> patterns.AntennaPattern:
        tilt_rad = math.radians(antenna.downtilt_deg)
        if antenna.pattern == "measured":
            return patterns.measured(self.folder / str(antenna.file), azimuth_rad, tilt_rad)
        return patterns.AntennaPattern(antenna.pattern, math.radians(antenna.slant_deg), azimuth_rad, tilt_rad)

    @cached_property
    def _patterns(self) -> tuple[patterns.AntennaPattern, patterns.AntennaPattern]:
        """Elements of the base station and of the UE, whose vehicle heads east."""
        station = self._pattern(self.scenario.radio.antenna, self.scenario.boresight_rad)
        return station, self._pattern(self.scenario.ue.antenna, 0.0)

    def paths(self, start: int = 0, stop: int | None = None) -> Paths:
        """The paths of some frames."""
        part = slice(start, self.frames if stop is None else stop)
        movers = self.movers
        found = self.tracer.paths(
            self.ue_m[part],
            self.ue_mps[part],
            Movers(movers.shape[part], movers.pose[part], movers.velocity_mps[part]),
            UE_SLOT,
        )
        if found.enclosed.any():
            frame = start + int(np.flatnonzero(found.enclosed)[0])
            east, north = self.ue_m[frame, :2]
            place = f"{east:.1f} m east and {north:.1f} m north of the base station"
            what = f"the UE, or else the base station, is inside a solid in frame {frame}, {place}"
            raise UserError(what, self.scenario.name, "clear the carriageway of scenery, or move the base station")
        self._warn_of_scenery_around(found, start)
        return through_antennas(found, *self._patterns, self.traffic.box[part, 0, 6])

    def _warn_of_scenery_around(self, paths: Paths, start: int) -> None:
        """Warn of the first frame without a path if one of its ends seems to be inside scenery."""
        dark = start + np.flatnonzero(~paths.valid.any(axis=-1))
        if not len(dark):
            return
        around_ue, around_bs = self.tracer.shut_in(np.stack([self.ue_m[dark[0]], self.bs_m]))
        if around_ue != around_bs:
            what = "the UE" if around_ue else "the base station"
            text = f"no path in frame {dark[0]}, where {what} has surfaces on all sides: is it inside scenery?"
            warnings.warn(f"{self.scenario.name}: {text}", stacklevel=2)

    def rsrp_w(self, paths: Paths) -> np.ndarray:
        """Noise-free power of every beam [W]."""
        sine = direction_sine(paths.aod_rad[..., 0], paths.aod_rad[..., 1], self.scenario.boresight_rad)
        return beam_power(paths.gain, sine, self.codebook, self.tx_power_w)

    def sweep_w(self, rsrp_w: np.ndarray, start: int = 0) -> np.ndarray:
        """Measured power of every beam [W], noise averaged over the symbols."""
        symbols = self.scenario.radio.symbols
        return np.stack(
            [
                measure_sweep(row, self.noise_w, symbols, self._rng(STREAM_NOISE, start + k))
                for k, row in enumerate(rsrp_w)
            ]
        )

    def step(self) -> Frame:
        """The next frame.

        Raises:
            StopIteration: the UE has left the street.
        """
        k = self._next
        if k >= self.frames:
            raise StopIteration
        self._next += 1
        paths = self.paths(k, k + 1)
        return Frame(k / self.scenario.frame_rate_hz, self.sweep_w(self.rsrp_w(paths), k)[0], self.gps_deg[k], paths)

    def run(
        self, frames: int | None = None, modalities: Sequence[str] = MODALITIES, keep: Sequence[str] = ()
    ) -> Recording:
        """A recording of the first `frames` frames (all by default); `keep` names what of `KEEPABLE` it holds, too."""
        count = min(self.frames, frames or self.frames)
        paths = self.paths(0, count)
        power = self.rsrp_w(paths)
        traffic = self.traffic
        arrays = {
            "time": np.arange(count) / self.scenario.frame_rate_hz,
            "rf": self.sweep_w(power) if "rf" in modalities else np.full((count, 64), np.nan),
            "gps": self.gps_deg[:count] if "gps" in modalities else np.full((count, 2), np.nan),
            "valid_rf": np.full(count, "rf" in modalities),
            "valid_gps": self.sensors.fixes[1][:count] & ("gps" in modalities),
            "truth/position_m": self.ue_m[:count],
            "truth/velocity_mps": self.ue_mps[:count],
            "truth/heading_rad": traffic.box[:count, 0, 6],
            "truth/line_of_sight": paths.line_of_sight,
            "truth/blocked": paths.blocked,
            "truth/best_beam": best_beam(power),
            "truth/path_gain": np.stack([paths.gain.real, paths.gain.imag], -1),
            "truth/path_delay_s": paths.delay_s,
            "truth/path_aod_rad": paths.aod_rad,
            "truth/path_aoa_rad": paths.aoa_rad,
            "truth/path_doppler_hz": paths.doppler_hz,
            "truth/path_kind": paths.path_kind,
            "truth/path_blockage_db": paths.blockage_db,
            "truth/path_vertices_m": paths.vertices_m,
            "truth/actor_id": traffic.actor_id[:count],
            "truth/actor_class": traffic.actor_class[:count],
            "truth/actor_box": traffic.box[:count],
            **self.sensors.record(count, modalities, keep),
        }
        return Recording(f"episode-{self.episode:05d}", self._manifest(), arrays)

    def _manifest(self) -> RecordingManifest:
        site = self.scenario.site
        return RecordingManifest(
            source="twin",
            scenario=self.scenario.model_dump(mode="json"),
            bs=BaseStation(
                latitude_deg=site.latitude_deg,
                longitude_deg=site.longitude_deg,
                height_m=site.bs_height_m,
                boresight_rad=self.scenario.boresight_rad,
            ),
            codebook=CodebookWeights.of(self.codebook),
            seed=self.seed,
            episode=self.episode,
            drawn=self.drawn,
            backend=self.backend,
            generator_version=version("jepa-msac-twin"),
            frame_rate_hz=self.scenario.frame_rate_hz,
            time_source="nominal",
            power_unit="W",
        )


def _as_sionna_traces(scenario: Scenario) -> Scenario:
    """The scenario without blockage models: behind a vehicle Sionna's paths vanish.

    Raises:
        UserError: it asks for what the Sionna backend does not trace.
    """
    rough = [f"materials.{name}.roughness_m" for name, material in scenario.materials.items() if material.roughness_m]
    refused = (["propagation.diffuse"] if scenario.propagation.diffuse else []) + rough
    if refused:
        what = f"the Sionna backend does not trace {', '.join(refused)}"
        raise UserError(what, scenario.name, "set it to 0, or use numba")
    propagation = scenario.propagation.model_copy(update={"blockage": "none"})
    return scenario.model_copy(update={"propagation": propagation})
