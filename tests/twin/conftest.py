"""What several tests of the twin need."""

import os

import pytest

from twin.errors import UserError
from twin.propagation.sionna import load_sionna


@pytest.fixture(scope="session")
def sionna_rt():
    """Sionna RT; continuous integration has to have it."""
    try:
        return load_sionna()
    except UserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
