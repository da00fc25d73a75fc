"""Scenarios: the files scenario.yaml, their fields, and what is checked of them."""

from twin.scenario.template import Template, json_schema, load_scenario, scenario_file, scenario_names

__all__ = ["Template", "json_schema", "load_scenario", "scenario_file", "scenario_names"]
