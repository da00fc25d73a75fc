"""What several tests of the sensors need."""

import os

import numpy as np
import pytest


def range_to_box(origin, direction, box):
    """Distance to a box that stands upright, by slabs in its own frame; inf past it."""
    c, s = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    start, way = turn @ (origin - box[:3]), direction @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-box[3:6] / 2 - start) / way, (box[3:6] / 2 - start) / way
    enter, leave = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


@pytest.fixture(scope="session")
def embree():
    """An independent caster of rays, trimesh over Intel's Embree; continuous integration has to have it."""
    try:
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError as error:
        reason = f"embreex is missing ({error}): pip install embreex"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return RayMeshIntersector


@pytest.fixture(scope="session")
def box_range():
    """Range of rays (origin, directions) to an upright box (an actor's row)."""
    return range_to_box
