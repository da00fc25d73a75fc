"""Recordings as TFRecord shards, and the `tf.data` reader of these. TensorFlow is the extra `tensorflow`.

A record is one frame, a `tf.train.Example`: `episode` and `frame`, pictures as JPEG streams, every other array as its
little-endian C-order bytes. `features.json` beside the shards, written last, says shape and type of each. The frames
of an episode follow each other and lie in one shard.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twin.console import standard_error_closed
from twin.errors import UserError
from twin.recording.catalogue import Entry, dataset_hash, whole_episodes
from twin.recording.export import ExportSummary, frames_of, lost_frames, modalities_to_export
from twin.recording.store import new_directory
from twin.sensors.images import IMAGE_PX, decode_jpeg

__all__ = ["export_tfrecord", "tfrecord_dataset"]

FEATURES = "features.json"
SHARD_BYTES = 100_000_000
"""An episode that would make a shard larger begins the next one; TensorFlow's guides advise 100 MB and more."""
JPEG = "camera"


def _tensorflow() -> Any:
    try:
        with standard_error_closed():  # its libraries speak of the machine while they load
            import tensorflow
    except ImportError:
        remedy = "pip install 'jepa-msac-twin[tensorflow]'"
        raise UserError("TensorFlow is not installed", "tfrecord", remedy) from None
    return tensorflow


def export_tfrecord(
    root: str | Path,
    out: str | Path,
    *,
    modalities: Sequence[str] | None = None,
    truth: bool = True,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportSummary:
    """Write the dataset `root` as shards into the directory `out`, which appears whole or not at all.

    Args:
        modalities: what to write; all that every recording holds by default.
        truth: write the arrays below `truth/` that every recording holds, and in one shape a frame.
        shard_bytes: of frames in a shard, about.
        progress: told how many of how many frames are written.

    Raises:
        UserError: no TensorFlow, no recordings, a damaged one, or one that lacks a modality.
    """
    tf = _tensorflow()
    episodes = whole_episodes(root)
    chosen = modalities_to_export(root, episodes, modalities)
    features = _features(episodes, chosen, truth)
    shards = list(_shards(episodes, features, shard_bytes))
    total, samples = frames_of(episodes), 0
    with new_directory(out) as draft:
        for number, entries in enumerate(shards):
            path = Path(draft, f"frames-{number:05d}-of-{len(shards):05d}.tfrecord")
            with tf.io.TFRecordWriter(str(path)) as writer:
                for example in _examples(tf, entries, features):
                    writer.write(example)
                    samples += 1
                    progress(samples, total)
        stated = {
            "dataset_hash": dataset_hash(episodes),
            "shards": len(shards),
            "frames": samples,
            "features": features,
        }
        Path(draft, FEATURES).write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    missing = lost_frames(episodes, chosen)
    return ExportSummary(str(out), samples, len(episodes), list(chosen), missing, len(shards))


def _features(entries: Sequence[Entry], modalities: Sequence[str], truth: bool) -> dict[str, dict[str, Any]]:
    """Shape and type of a frame of each array to write."""
    held = [entry.manifest.arrays for entry in entries]
    common = set.intersection(*(set(arrays) for arrays in held))
    names = ["time", *modalities, *(f"valid_{name}" for name in modalities)]
    names += [name for name in sorted(common) if truth and name.startswith("truth/")]
    found = {}
    for name in names:
        frame = {arrays[name].shape[1:] for arrays in held}
        if name == JPEG:
            found[name] = {"encoding": "jpeg", "shape": _picture_shape(entries)}
        elif len(frame) == 1:
            found[name] = {"encoding": "raw", "shape": list(frame.pop()), "dtype": held[0][name].dtype}
    return found


def _picture_shape(entries: Sequence[Entry]) -> list[int]:
    """Rows, columns and colours of the first picture."""
    streams = (stream for entry in entries for stream in entry.open().jpegs())
    first = next(filter(None, streams), None)
    return [IMAGE_PX, IMAGE_PX, 3] if first is None else list(decode_jpeg(first).shape)


def _shards(entries: Sequence[Entry], features: dict[str, Any], shard_bytes: int) -> Iterator[list[Entry]]:
    """Whole episodes, about `shard_bytes` together."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        arrays = entry.manifest.arrays
        of_entry = sum(int(np.prod(arrays[name].shape)) * np.dtype(arrays[name].dtype).itemsize for name in features)
        if some and size + of_entry > shard_bytes:
            yield some
            some, size = [], 0
        some.append(entry)
        size += of_entry
    yield some


def _examples(tf: Any, entries: Sequence[Entry], features: dict[str, Any]) -> Iterator[bytes]:
    """The frames of some episodes as serialized examples."""
    for entry in entries:
        recording = entry.open()
        arrays = {name: recording.arrays[name] for name in features if name != JPEG}
        pictures = recording.jpegs() if JPEG in features else []
        for k in range(recording.frames):
            found = {name: values[k].tobytes() for name, values in arrays.items()}
            if pictures:
                found[JPEG] = pictures[k]
            feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in found.items()}
            feature["episode"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[entry.name.encode()]))
            feature["frame"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[k]))
            yield tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def tfrecord_dataset(root: str | Path, window: int | None = None) -> Any:
    """A `tf.data.Dataset` of what `export_tfrecord` wrote, in order.

    Its elements are dictionaries: `episode`, `frame`, and every array by name with its shape and type; pictures are
    decoded at the camera's size, and black in a frame without one.

    Args:
        window: frames of an element, which never cross episodes; one frame without that dimension by default.

    Raises:
        UserError: no TensorFlow, `root` holds no such shards, or not all, or a window of no frames.
    """
    if window is not None and window < 1:
        raise UserError(f"a window of {window} frames", "window", "give at least 1")
    tf = _tensorflow()
    where = Path(root, FEATURES)
    try:
        stated = json.loads(where.read_text(encoding="utf-8"))
        features, count = dict(stated["features"]), int(stated["shards"])
    except FileNotFoundError:
        raise UserError("holds no TFRecords", root, "name a directory made by twin export --format tfrecord") from None
    except (ValueError, KeyError, TypeError):
        raise UserError("is damaged", where, "export the dataset again") from None
    files = [Path(root, f"frames-{number:05d}-of-{count:05d}.tfrecord") for number in range(count)]
    missing = next((file for file in files if not file.exists()), None)
    if missing is not None:
        raise UserError("is missing", missing, "export the dataset again")

    def parse(record: Any) -> dict[str, Any]:
        return _parsed(tf, record, features)

    records = tf.data.TFRecordDataset([str(file) for file in files])
    frames = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if window is None:
        return frames
    gathered = frames.window(window, shift=1, drop_remainder=True).flat_map(
        lambda some: tf.data.Dataset.zip({name: part.batch(window) for name, part in some.items()})
    )
    return gathered.filter(lambda some: tf.reduce_all(some["episode"] == some["episode"][0]))


def _parsed(tf: Any, record: Any, features: dict[str, Any]) -> dict[str, Any]:
    """A frame of a serialized example."""
    kinds = {name: tf.io.FixedLenFeature((), tf.string) for name in (*features, "episode")}
    raw = tf.io.parse_single_example(record, {**kinds, "frame": tf.io.FixedLenFeature((), tf.int64)})
    found = {"episode": raw["episode"], "frame": raw["frame"]}
    for name, stated in features.items():
        if stated["encoding"] == "jpeg":
            found[name] = _picture(tf, raw[name], stated["shape"])
            continue
        kind = tf.as_dtype(np.dtype(stated["dtype"]))
        as_bool = kind == tf.bool
        values = tf.io.decode_raw(raw[name], tf.uint8 if as_bool else kind, little_endian=True)
        values = tf.reshape(values, stated["shape"])
        found[name] = tf.cast(values, tf.bool) if as_bool else values
    return found


def _picture(tf: Any, jpeg: Any, shape: list[int]) -> Any:
    """The picture as `decode_jpeg` gives it, which takes the accurate of the library's transforms."""

    def decoded() -> Any:
        return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")

    image = tf.cond(tf.strings.length(jpeg) > 0, decoded, lambda: tf.zeros(shape, tf.uint8))
    image.set_shape(shape)
    return image
