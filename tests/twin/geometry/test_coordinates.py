"""The local frame: metres east and north of the base station."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.geometry.coordinates import equirectangular_m, geodetic_deg

TEMPE = np.array([33.42034722, -111.92915278])


def test_a_degree_of_latitude_is_111_km_and_one_of_longitude_shrinks_with_the_cosine():
    east, north = equirectangular_m(TEMPE + [0.001, 0.001], TEMPE)
    assert north == pytest.approx(2 * np.pi * 6371e3 / 360 * 1e-3, rel=1e-9)
    assert east / north == pytest.approx(np.cos(np.radians(TEMPE[0])), rel=1e-9)


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(-70, 70), st.floats(-180, 179.99))
def test_there_and_back_is_within_a_micrometre(east, north, lat, lon):
    origin = np.array([lat, lon])
    back = equirectangular_m(geodetic_deg(np.array([east, north]), origin), origin)
    assert back == pytest.approx([east, north], abs=1e-6)


def test_the_date_line_is_no_jump():
    west_of_it = np.array([10.0, 179.9999])
    east_of_it = np.array([10.0, -179.9999])
    assert 0 < equirectangular_m(east_of_it, west_of_it)[0] < 30
