"""A scenario recorded only while its UE is in the view of the base station, as the drives of DeepSense 6G are.

Outside that view every beam measures noise: of `deepsense32` as it stands four frames in five.
"""

from pathlib import Path

import yaml

from twin.scenario import load_scenario

__all__ = ["in_view"]


def in_view(name: str, directory: Path) -> Path:
    """Write the scenario below `directory`, each episode as long as its UE is in view; returns the file."""
    path = directory / name / "scenario.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = load_scenario(name).raw
    text = yaml.safe_dump({**raw, "ue": {**raw["ue"], "view_margin_deg": 0.0}}, sort_keys=False)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path
