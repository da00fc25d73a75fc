"""Files scenario.yaml, and the scenarios drawn from them.

Any number may be a distribution instead: `{uniform: [low, high]}`, `{loguniform: [low, high]}`,
`{normal: [mean, deviation]}` (cut at three deviations), `{integers: [low, high]}` or `{choice: [a, b, ...]}`. It is
drawn once an episode.
"""

import zlib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from twin.errors import UserError
from twin.scenario.checks import check_world
from twin.scenario.distribution import (
    DISTRIBUTIONS,
    Distribution,
    Place,
    allowing_distributions,
    field_name,
    leaves,
    replaced,
)
from twin.scenario.fields import Scenario

__all__ = [
    "Template",
    "json_schema",
    "load_scenario",
    "scenario_file",
    "scenario_names",
]

STREAM_SCENARIO = 1
"""Key of the random stream that draws a scenario's numbers."""


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
        check_world(scenario, self.where)
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


def _folders() -> Path:
    installed = files("twin").joinpath("scenarios")
    return Path(str(installed)) if installed.is_dir() else Path(__file__).parents[2] / "scenarios"


def scenario_names() -> list[str]:
    """The scenarios that come with the project."""
    return sorted(path.parent.name for path in _folders().glob("*/scenario.yaml"))


def scenario_file(name: str) -> Path | None:
    """The file of a scenario that comes with the project, or None."""
    return _folders() / name / "scenario.yaml" if name in scenario_names() else None


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
