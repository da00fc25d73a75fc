"""Pictures go into files and come back, whatever files people have."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twin.sensors.images import decode_jpeg, encode_jpeg, resized


def street(rows=120, columns=160):
    """A smooth picture whose red grows to the right and green downwards."""
    row, column = np.mgrid[:rows, :columns]
    blue = np.full((rows, columns), 90.0)
    return np.stack([255 * column / columns, 255 * row / rows, blue], -1).astype(np.uint8)


def saved(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width, height, depth=8, colour=2, rows=b""):
    """A PNG file of the given header, whatever pixels it then holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_picture_survives_its_file():
    image = street()
    back = decode_jpeg(encode_jpeg(image))
    assert back.shape == image.shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - image).mean() < 2


def test_the_same_picture_makes_the_same_bytes():
    assert encode_jpeg(street()) == encode_jpeg(street()[:, ::-1][:, ::-1])


def test_a_picture_of_the_models_size_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resized(image), image)


@pytest.mark.parametrize("shape", [(448, 448), (540, 960), (17, 33), (1, 1)])
def test_a_ramp_stays_a_ramp_at_the_models_size(shape):
    small = resized(street(*shape)).astype(float)
    assert small.shape == (224, 224, 3)
    column = (np.arange(224) + 0.5) / 224
    inside = (column > 1 / shape[1]) & (column < 1 - 1 / shape[1])  # the ramp has no slope beyond the outer pixels
    expected = 255 * (column - 0.5 / shape[1])
    assert np.abs(small[112, :, 0] - expected)[inside].max(initial=0) < 1.5
    assert np.abs(small[..., 2] - 90).max() == 0


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(resized(stripes)[10:-10, 10:-10].astype(int) - 100).max() <= 1


def test_every_kind_of_picture_becomes_rgb():
    image = Image.fromarray(street())
    grey = np.asarray(image.convert("L"))
    for data in (saved(image.convert("L")), saved(image.convert("L"), "JPEG", quality=100)):
        assert np.abs(decode_jpeg(data).astype(int) - grey[..., None]).max() <= 2
    for data in (
        saved(image),
        saved(image.convert("RGBA")),
        saved(image.convert("CMYK"), "JPEG", quality=100),
        saved(image, "JPEG", quality=100, progressive=True),
    ):
        assert np.abs(decode_jpeg(data).astype(int) - street()).mean() < 3
    assert np.abs(decode_jpeg(saved(image.quantize(256))).astype(int) - street()).mean() < 20
    assert set(np.unique(decode_jpeg(saved(image.convert("1"))))) == {0, 255}


def test_sixteen_bits_become_the_upper_eight():
    deep = np.arange(256 * 16, dtype=np.uint16).reshape(64, 64) * 16
    np.testing.assert_array_equal(decode_jpeg(saved(Image.fromarray(deep))), np.repeat(deep[..., None] >> 8, 3, 2))
    rows = b"".join(b"\0" + struct.pack(">HHH", 0x1234, 0xFF00, 0x00FF) * 4 for _ in range(2))
    assert np.abs(decode_jpeg(png(4, 2, 16, 2, rows))[1, 3].astype(int) - [0x12, 0xFF, 0x00]).max() <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "."),
        (b"unit1/camera_data/image_1.jpg\n", "not a JPEG or PNG"),
        (saved(Image.fromarray(street()), "BMP"), "not a JPEG or PNG"),
        (saved(Image.fromarray(street()), "GIF"), "not a JPEG or PNG"),
        (encode_jpeg(street())[:700], "cut"),
        (saved(Image.fromarray(street()))[:60], "cut"),
        (png(30_000, 30_000), "pixels"),
        (png(10_000, 10_000), "pixels"),
        (png(2**31 - 1, 2**31 - 1), "pixels"),
        (png(0, 4), "."),
        (png(100, 100), "cut"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_few_words(data, reason, recwarn):
    with pytest.raises(ValueError, match=reason) as error:
        decode_jpeg(data)
    assert len(str(error.value)) < 140
    assert "\n" not in str(error.value)
    assert not recwarn.list


@settings(max_examples=200, deadline=None)
@given(
    data=st.sampled_from([encode_jpeg(street(24, 32)), saved(Image.fromarray(street(24, 32)).quantize(16))]),
    places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 10_000),
)
def test_damage_gives_a_picture_or_a_reason(data, places, length):
    broken = bytearray(data)
    for place, value in places:
        broken[place % len(broken)] = value
    try:
        image = decode_jpeg(bytes(broken[:length]))
    except ValueError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3
