"""Recordings: the one door between the simulator or real measurements and everything that learns or draws."""

from twin.recording.catalogue import Catalogue, Entry, dataset_hash, open_dataset, scan, verify_dataset, whole_episodes
from twin.recording.deepsense import DEFAULT_MAX_BAD, DEFAULT_RATE_HZ, ImportSummary, import_deepsense
from twin.recording.export import ExportSummary
from twin.recording.recording import ARRAYS, MODALITIES, BaseStation, CodebookWeights, Recording, RecordingManifest
from twin.recording.store import (
    SCHEMA_VERSION,
    Array,
    ArraySpec,
    StoredManifest,
    content_hash,
    filesystem_of,
    is_url,
    join,
    new_directory,
    read_array,
    read_manifest,
    verify_bundle,
    write_bundle,
)

__all__ = [
    "ARRAYS",
    "DEFAULT_MAX_BAD",
    "DEFAULT_RATE_HZ",
    "MODALITIES",
    "SCHEMA_VERSION",
    "Array",
    "ArraySpec",
    "BaseStation",
    "Catalogue",
    "CodebookWeights",
    "Entry",
    "ExportSummary",
    "ImportSummary",
    "Recording",
    "RecordingManifest",
    "StoredManifest",
    "content_hash",
    "dataset_hash",
    "filesystem_of",
    "import_deepsense",
    "is_url",
    "join",
    "new_directory",
    "open_dataset",
    "read_array",
    "read_manifest",
    "scan",
    "verify_bundle",
    "verify_dataset",
    "whole_episodes",
    "write_bundle",
]
