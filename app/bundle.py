"""The replay bundle: everything that the player draws of one recording, once, in few bytes.

Numbers travel as base64 of little-endian typed arrays; powers as 8-bit steps between their extremes in dB.
"""

import base64
from typing import Any

import numpy as np

from jepa.data.preprocess import POWER_FLOOR
from jepa.data.splits import PARTS
from jepa.evaluation.metrics import rssi_db
from jepa.evaluation.predictions import Predictions
from twin.radio.array import ula_response
from twin.recording import Recording
from twin.scenario.fields import Scenario
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["replay_bundle"]

PATTERN_ANGLES = 121
"""Angles from -90 to 90 degrees at which a beam's pattern is drawn."""
PATTERN_RANGE_DB = 30.0
"""Patterns are drawn down to this far below their peak."""
TOP_BEAMS = 3


def _pack(values: np.ndarray, dtype: str) -> dict[str, Any]:
    packed = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return {"type": dtype, "shape": list(packed.shape), "base64": base64.b64encode(packed.tobytes()).decode()}


def replay_bundle(recording: Recording, predictions: Predictions | None = None) -> dict[str, Any]:
    """A JSON-able dictionary of one recording and, if given, the predictions of one run for it."""
    arrays = recording.arrays
    power = np.where(arrays["valid_rf"][:, None], arrays["rf"], np.nan).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        power_db = 10 * np.log10(np.where(power > 0, power, np.nan))
    low, step = _steps(power_db)
    quantised = np.clip(np.round((np.nan_to_num(power_db, nan=low) - low) / step), 0, 255)
    bundle: dict[str, Any] = {
        "name": recording.name,
        "scenario": recording.manifest.scenario_name,
        "source": recording.manifest.source,
        "frames": recording.frames,
        "rate_hz": recording.manifest.frame_rate_hz,
        "power_unit": "dBW" if recording.manifest.power_unit == "W" else "dB (arbitrary)",
        "time_s": _pack(arrays["time"], "float32"),
        "power": {"low_db": low, "step_db": step, **_pack(quantised, "uint8")},
        "best_beam": _pack(recording.best_beam(), "int16"),
        "rssi_db": _pack(_rssi(power), "float32"),
        "measured_m": _pack(recording.position_m(), "float32"),
        "boresight_rad": recording.manifest.bs.boresight_rad,
        "street": _street(recording),
        "patterns": _patterns(recording),
        "actors": _actors(recording),
        "true_m": None,
        "line_of_sight": None,
        "predictions": None if predictions is None else _predictions(predictions),
    }
    if "truth/position_m" in arrays:
        bundle["true_m"] = _pack(arrays["truth/position_m"][:, :2], "float32")
        bundle["line_of_sight"] = _pack(arrays["truth/line_of_sight"], "uint8")
    return bundle


def _steps(power_db: np.ndarray) -> tuple[float, float]:
    known = power_db[np.isfinite(power_db)]
    if known.size == 0:
        return 0.0, 1.0
    return float(known.min()), float(max(known.max() - known.min(), 1e-3) / 255)


def _rssi(power: np.ndarray) -> np.ndarray:
    """RSSI of every frame, NaN without a sweep; a beam that measured nothing counts as such."""
    return rssi_db(10 * np.log10(np.maximum(power, POWER_FLOOR)))


def _street(recording: Recording) -> dict[str, Any] | None:
    """Outlines of buildings and lanes, from the resolved scenario; a real recording has none."""
    if isinstance(recording.manifest.scenario, str):
        return None
    scenario = Scenario.model_validate(recording.manifest.scenario)
    buildings = []
    for building in scenario.buildings:
        if building.present:
            half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2 * [building.length_m, building.depth_m]
            corners = scenario.local_m(building.along_m + half[:, 0], building.across_m + half[:, 1])
            buildings.append({"corners_m": corners.round(2).tolist(), "height_m": building.height_m})
    end, side, width = scenario.street.length_m / 2, scenario.half_width_m, scenario.street.lane_width_m
    middles = np.array([across for across, _ in scenario.lanes])
    marks = np.unique(np.round(np.concatenate([middles - width / 2, middles + width / 2]), 6))
    road = scenario.local_m(np.array([-end, end, end, -end]), np.array([-side, -side, side, side]))
    lines = [scenario.local_m(np.array([-end, end]), np.full(2, mark)).round(2).tolist() for mark in marks]
    return {"buildings": buildings, "road_m": road.round(2).tolist(), "lines_m": lines}


def _patterns(recording: Recording) -> dict[str, Any] | None:
    """Power pattern of every beam over the angle from broadside, 255 at its peak, 0 from 30 dB below it."""
    codebook = recording.manifest.codebook
    if codebook is None:
        return None
    weights = codebook.weights()
    angles = np.linspace(-np.pi / 2, np.pi / 2, PATTERN_ANGLES)
    response = ula_response(np.sin(angles), weights.shape[1])
    gain_db = 20 * np.log10(np.abs(response.conj() @ weights.T).T + 1e-9)
    depth = (gain_db - gain_db.max(1, keepdims=True)) / PATTERN_RANGE_DB + 1
    return _pack(np.round(255 * np.clip(depth, 0, 1)), "uint8")


def _actors(recording: Recording) -> dict[str, Any] | None:
    if "truth/actor_id" not in recording.arrays:
        return None
    box = recording.arrays["truth/actor_box"]
    return {
        "classes": list(VEHICLE_CLASSES),
        "kind": _pack(recording.arrays["truth/actor_class"], "int8"),
        "box": _pack(box[..., [0, 1, 3, 4, 6]], "float32"),
    }


def _predictions(predictions: Predictions) -> dict[str, Any]:
    """Trajectories, the three likeliest beams and RSSI of every window; NaN or -1 for a task the run does not do."""
    output = predictions.output
    logits = output.beam_logits
    top = np.argsort(-np.nan_to_num(logits), axis=-1, kind="stable")[..., :TOP_BEAMS]
    top = np.where(np.isfinite(logits).all(-1, keepdims=True), top, -1)
    return {
        "model": predictions.manifest.model,
        "t": _pack(predictions.t, "int32"),
        "part": [PARTS[part] for part in predictions.part],
        "trajectory_m": _pack(output.trajectory_m, "float32"),
        "top_beams": _pack(top, "int16"),
        "rssi_db": _pack(rssi_db(output.spectrum_db), "float32"),
    }
