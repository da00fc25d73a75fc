"""Datasets on other storage than the local disk: a manifest, written last, commits an episode."""

import os
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from twin.cli import commands
from twin.errors import UserError
from twin.generation import dataset_summary, generate_dataset
from twin.recording import dataset_hash, join, scan, verify_bundle, verify_dataset
from twin.recording.directory import MANIFEST, new_directory

REQUEST = {"episodes": 3, "frames": 20, "seed": 3, "modalities": ("rf", "gps")}


def hash_of(place):
    found = scan(place)
    assert not found.damaged
    return dataset_hash(found.episodes)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "one"
    generate_dataset("street_canyon", path, **REQUEST)
    return hash_of(path)


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}/data"


def put(url, content):
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.pipe_file(path, content)


@pytest.mark.parametrize(
    ("root", "joined"),
    [
        ("/", "/drive"),
        ("data/", "data/drive"),
        ("memory://", "memory:///drive"),
        ("file:///", "file:///drive"),
        ("s3://bucket/data/", "s3://bucket/data/drive"),
        ("simplecache::memory://data", "simplecache::memory://data/drive"),
    ],
)
def test_a_place_below_a_directory_or_url(root, joined):
    assert join(root, "drive") == joined


def test_in_memory_a_dataset_is_the_same_as_on_the_disk(expected, memory):
    assert generate_dataset("street_canyon", memory, **REQUEST) == 60
    assert hash_of(memory) == expected
    assert not any(verify_dataset(memory).values())
    assert generate_dataset("street_canyon", memory, **REQUEST) == 0
    with pytest.raises(UserError, match="seed 3, not 4"):
        generate_dataset("street_canyon", memory, **{**REQUEST, "seed": 4})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_url_of_the_local_disk_is_a_path(expected, tmp_path, workers):
    url = f"file://{tmp_path}/new/data"
    generate_dataset("street_canyon", url, **REQUEST, workers=workers)
    assert hash_of(url) == hash_of(tmp_path / "new/data") == expected
    assert not any(verify_dataset(url).values())
    assert generate_dataset("street_canyon", tmp_path / "new/data", **REQUEST) == 0


@pytest.mark.parametrize("elsewhere", [{"workers": 2}, {"cluster": "tcp://127.0.0.1:1"}])
def test_the_memory_of_one_process_is_not_that_of_another(memory, elsewhere):
    with pytest.raises(UserError, match="workers cannot write to the memory of this process"):
        generate_dataset("street_canyon", memory, **REQUEST, **elsewhere)


def test_threads_share_a_memory(expected, memory):
    with ThreadPoolExecutor(3) as executor:
        generate_dataset("street_canyon", memory, **REQUEST, executor=executor)
    assert hash_of(memory) == expected


def test_what_a_writer_left_that_died_is_replaced(expected, memory):
    generate_dataset("street_canyon", memory, **{**REQUEST, "episodes": 1})
    put(f"{memory}/episode-00001/frames.zarr/rf/c/0/0", b"half")
    put(f"{memory}/episode-00001/frames.zarr/from_another_version/c/0", b"whole")
    assert [entry.name for entry in scan(memory).episodes] == ["episode-00000"]
    assert generate_dataset("street_canyon", memory, **REQUEST) == 40
    assert hash_of(memory) == expected
    assert not any(verify_dataset(memory).values())


def test_two_writers_of_the_same_do_not_disturb_each_other(memory):
    """The second begins when the first has uploaded a part, and the first ends when the second has."""
    filesystem, root = fsspec.core.url_to_fs(f"{memory}/drive")
    with new_directory(f"{memory}/drive") as late:
        (Path(late) / "a").write_bytes(b"A")
        (Path(late) / "b").write_bytes(b"B")
        (Path(late) / MANIFEST).write_bytes(b"{}")
        filesystem.pipe_file(f"{root}/a", b"A")
    assert {name: filesystem.cat_file(f"{root}/{name}") for name in ("a", "b", MANIFEST)} == {
        "a": b"A",
        "b": b"B",
        MANIFEST: b"{}",
    }
    with pytest.raises(UserError, match="another writer"), new_directory(f"{memory}/walk") as late:  # noqa: PT012
        (Path(late) / MANIFEST).write_bytes(b"{}")
        put(f"{memory}/walk/{MANIFEST}", b"theirs")
    assert fsspec.filesystem("memory").cat_file(f"{memory}/walk/{MANIFEST}") == b"theirs"


def test_an_upload_that_fails_leaves_nothing_there_or_here(memory, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    filesystem, root = fsspec.core.url_to_fs(memory)
    whole = filesystem.__class__.put_file

    def broken(self, source, target, **options):
        if target.endswith("zarr.json"):
            raise OSError("the connection is gone")
        whole(self, source, target, **options)

    monkeypatch.setattr(filesystem.__class__, "put_file", broken)
    with pytest.raises(OSError, match="connection"):
        generate_dataset("street_canyon", memory, **REQUEST)
    assert filesystem.find(root) == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_urls(expected, tmp_path, memory):
    request = ["generate", "street_canyon", "--episodes=3", "--frames=20", "--seed=3", "--modalities=rf,gps"]
    for url in (memory, f"file://{tmp_path}/data"):
        result = CliRunner().invoke(commands, [*request, "--out", url])
        assert result.exception is None
        assert f"{url}: 3 episodes, 60 frames, dataset {expected[:16]}" in result.stdout
        again = CliRunner().invoke(commands, [*request, "--out", url])
        assert isinstance(again.exception, UserError)
        assert "exists already" in str(again.exception)
    assert dataset_summary(memory)["bytes"] == dataset_summary(tmp_path / "data")["bytes"] > 0


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (["generate", "street_canyon"], "memory:/drives"),
        (["generate", "street_canyon"], "file:/tmp/drives"),
        (["generate", "street_canyon"], "nonsense://drives"),
        (["import", "a.csv"], "memory://drives"),
    ],
)
def test_a_url_is_not_taken_for_a_local_folder(tmp_path, monkeypatch, command, out):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(commands, [*command, "--out", out])
    assert isinstance(result.exception, UserError)
    assert not list(tmp_path.iterdir())


BUCKET = """
import os, signal
from pathlib import Path
import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from twin.generation import generate_dataset

class Bucket(DirFileSystem):
    protocol = "bucket"
    puts_left = {puts}

    def __init__(self, **options):
        super().__init__(path={folder!r}, fs=LocalFileSystem(), **options)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("bucket://").strip("/")

    def put(self, sources, targets):
        for source, target in zip(sources, targets, strict=True):
            if self.puts_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            Bucket.puts_left -= 1
            path = Path({folder!r}, target)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Path(source).read_bytes())

fsspec.register_implementation("bucket", Bucket)
generate_dataset("street_canyon", "bucket://data", **{request!r})
"""
"""A program that writes to a storage without renaming, below a folder of this disk, and dies after so many files."""


@pytest.mark.long
def test_killed_while_it_uploads_no_part_of_an_episode_is_ever_listed(expected, tmp_path):
    """It dies in the middle of an episode, before its manifest, and after it; the storage is read as what it is."""
    folder = tmp_path / "storage"
    (folder / "data").mkdir(parents=True)

    def generate(puts):
        code = BUCKET.format(folder=str(folder), request=REQUEST, puts=puts)
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=300)
        return done.returncode

    generate_dataset("street_canyon", tmp_path / "plain", **{**REQUEST, "episodes": 1})
    files = sum(path.is_file() for path in (tmp_path / "plain/episode-00000").rglob("*"))
    for puts, whole, remains in ((9, 0, 1), (files - 1, 0, 1), (files, 1, 0), (7, 1, 1), (files + 1, 2, 1)):
        assert generate(puts) == -signal.SIGKILL
        found = scan(folder / "data")
        assert (len(found.episodes), len(found.damaged)) == (whole, remains)
        assert all(reason == "no manifest, so it is no recording" for _, reason in found.damaged)
        assert not any(verify_bundle(entry.path, type(entry.manifest)) for entry in found.episodes)
    assert generate(-1) == 0
    assert hash_of(folder / "data") == expected
    assert not any(verify_dataset(folder / "data").values())
    assert not list(tmp_path.glob(".*.partial"))
