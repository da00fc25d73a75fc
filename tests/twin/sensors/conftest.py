"""What several tests of the sensors need."""

import os

import pytest


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
