"""Pictures as files and as the model's input: JPEG there and back, and the one size of SPEC 2.5."""

import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image

__all__ = ["IMAGE_PX", "JPEG_QUALITY", "LARGEST_PX", "decode_jpeg", "encode_jpeg", "resized"]

IMAGE_PX = 224
"""Rows and columns of a picture in a recording."""
JPEG_QUALITY = 90
LARGEST_PX = 40_000_000
"""Pixels of a picture that is read at most, a little more than 8K video: a small file can hold gigabytes of pixels."""
_FORMATS = ("JPEG", "PNG")


def resized(image: UInt8[np.ndarray, "row column 3"]) -> UInt8[np.ndarray, "224 224 3"]:
    """The whole picture at 224 x 224, bilinear over all pixels that shrink into one; at that size, itself."""
    if image.shape[:2] == (IMAGE_PX, IMAGE_PX):
        return image
    whole = Image.fromarray(np.ascontiguousarray(image))
    return np.array(whole.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BILINEAR))


def encode_jpeg(image: UInt8[np.ndarray, "row column 3"]) -> bytes:
    """The picture as a JPEG file of quality 90."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def decode_jpeg(data: bytes) -> UInt8[np.ndarray, "row column 3"]:
    """The colours in a JPEG or PNG file: grey, CMYK, palette and 16-bit ones become RGB, transparency is left out.

    Raises:
        ValueError: the file is none of these, cut, or holds more than `LARGEST_PX` pixels; the message says which.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # LARGEST_PX is stricter
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError("not a JPEG or PNG picture") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than {LARGEST_PX} pixels") from None
    except Exception as error:  # Pillow raises many kinds where a header is broken
        raise ValueError(f"a broken picture ({_reason(error)})") from error
    with image:
        if image.width * image.height > LARGEST_PX:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {LARGEST_PX}")
        try:
            return _rgb(image)
        except Exception as error:
            raise ValueError(f"a broken or cut picture ({_reason(error)})") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        grey = (np.asarray(image).astype(np.int64).clip(0, 0xFFFF) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _reason(error: Exception) -> str:
    """The first words of what Pillow says, on one line."""
    return " ".join(str(error).split())[:80] or type(error).__name__
