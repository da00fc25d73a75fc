"""A scene is read by the suffix of its file, and the scenes of Sionna RT come out whole."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from twin.errors import UserError
from twin.geometry.scene_files import builtin_scene_file, builtin_scene_names, load_builtin_scene, load_scene_file

needs_sionna = pytest.mark.skipif(
    importlib.util.find_spec("sionna") is None and "CI" not in os.environ, reason="needs the scenes of sionna-rt"
)

BUILTIN = {
    "box": (1, 12),
    "box_knife": (2, 20),
    "box_one_screen": (2, 14),
    "box_two_screens": (3, 16),
    "double_reflector": (2, 4),
    "etoile": (565, 13_098),
    "floor_wall": (2, 4),
    "florence": (2_639, 35_373),
    "munich": (2_367, 38_936),
    "san_francisco": (4_735, 268_041),
    "simple_reflector": (1, 2),
    "simple_street_canyon": (7, 74),
    "simple_street_canyon_with_cars": (15, 234),
    "simple_wedge": (1, 4),
    "triple_reflector": (3, 6),
}
"""Objects and triangles of the scenes of sionna-rt 2.2.0."""


@needs_sionna
@pytest.mark.parametrize("name", BUILTIN)
def test_the_scenes_of_sionna_are_whole(name):
    scene = load_builtin_scene(name)
    assert (len(scene.objects), sum(len(item.face) for item in scene.objects)) == BUILTIN[name]
    assert all(scene.materials[item.material].itu for item in scene.objects)
    assert all(scene.materials[item.material].thickness_m for item in scene.objects)


@needs_sionna
def test_all_scenes_of_sionna_are_known():
    assert set(BUILTIN) <= set(builtin_scene_names())
    assert all(builtin_scene_file(name).is_file() for name in builtin_scene_names())


@needs_sionna
def test_the_street_canyon_has_sionnas_names_materials_and_measures():
    scene = load_builtin_scene("simple_street_canyon")
    assert [(item.name, scene.materials[item.material].itu) for item in scene.objects] == [
        ("building_1", "glass"),
        ("building_6", "wood"),
        ("building_5", "glass"),
        ("building_4", "marble"),
        ("building_3", "marble"),
        ("building_2", "brick"),
        ("floor", "concrete"),
    ]
    *buildings, floor = (item.vertex_m for item in scene.objects)
    assert np.ptp(floor[:, 2]) == 0
    assert all(building[:, 2].min() == pytest.approx(floor[0, 2], abs=1e-6) for building in buildings)
    heights_m = [np.ptp(building[:, 2]) for building in buildings]
    assert heights_m == pytest.approx([21.85, 50.97, 29.13, 50.97, 29.13, 21.85], abs=0.01)


@needs_sionna
def test_finding_the_scenes_does_not_start_sionna():
    code = (
        "import sys; from twin.geometry.scene_files import load_builtin_scene; load_builtin_scene('box');"
        "assert not {'sionna', 'mitsuba', 'drjit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_sionna
def test_an_unknown_scene_is_answered_with_the_known():
    with pytest.raises(UserError, match=r"atlantis: Sionna RT has no such scene; choose one of box, .*munich"):
        load_builtin_scene("atlantis")
    with pytest.raises(UserError, match="no such scene"):
        builtin_scene_file("../scenes/box")


def test_without_sionna_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install jepa-msac-twin\[sionna\]"):
        load_builtin_scene("munich")


def test_the_suffix_tells_the_kind(tmp_path):
    (tmp_path / "a.xml").write_text('<scene version="2.1.0"><shape type="cube" id="block"/></scene>')
    (tmp_path / "a.OBJ").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n")
    ring = [[11.0, 48.0], [11.0001, 48.0], [11.0001, 48.0001]]
    house = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "a.json").write_text(json.dumps({"type": "FeatureCollection", "features": [house]}))
    (tmp_path / "a.geojson").write_bytes((tmp_path / "a.json").read_bytes())
    for name, faces in (("a.xml", 12), ("a.OBJ", 1), ("a.json", 8), ("a.geojson", 8)):
        scene = load_scene_file(tmp_path / name, "glass", origin_deg=(48.0, 11.0), default_height_m=4)
        assert [(len(item.face), item.material) for item in scene.objects] == [(faces, "glass")], name
    assert load_scene_file(tmp_path / "a.json", origin_deg=(48.0, 11.0)).objects[0].vertex_m[:, 2].max() == 10


def test_footprints_without_an_origin_are_told(tmp_path):
    with pytest.raises(UserError, match=r"town\.geojson: footprints need an origin"):
        load_scene_file(tmp_path / "town.geojson")


@pytest.mark.parametrize("name", ["scene.blend", "scene", "scene.xml.gz"])
def test_another_kind_of_file_is_told(tmp_path, name):
    with pytest.raises(UserError, match=r"is of no kind of scene that is known .* give one of \.xml \.ply"):
        load_scene_file(tmp_path / name)
