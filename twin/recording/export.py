"""What every export does alike: which modalities it writes, and what it says of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twin.errors import UserError
from twin.recording.catalogue import Entry
from twin.recording.recording import MODALITIES

__all__ = ["ExportSummary", "frames_of", "lost_frames", "modalities_to_export"]


@dataclass(frozen=True)
class ExportSummary:
    """Counts for the user, and as JSON for a script.

    `missing` counts the frames of each modality that were lost: they have no file, hold NaN, or are black; `shards` are
    the files of TFRecords; `radar_clutter` is what an import has to subtract to find the same radar maps.
    """

    out: str
    samples: int
    sequences: int
    modalities: list[str]
    missing: dict[str, int]
    shards: int | None = None
    radar_clutter: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dictionary."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def modalities_to_export(
    root: str | Path, entries: Sequence[Entry], modalities: Sequence[str] | None
) -> tuple[str, ...]:
    """The modalities asked for, or all that every recording holds.

    Raises:
        UserError: there is no such modality, none is asked for, or a recording lacks one.
    """
    unknown = sorted(set(modalities or ()) - set(MODALITIES))
    if unknown or modalities == []:
        what = f"cannot export {', '.join(unknown) or 'nothing'}"
        raise UserError(what, "--modalities", f"choose from {', '.join(MODALITIES)}")
    held = [set(entry.open().modalities) for entry in entries]
    for name in modalities or ():
        lacking = next((e.name for e, names in zip(entries, held, strict=True) if name not in names), None)
        if lacking is not None:
            raise UserError(f"{lacking} holds no {name}", root, "leave it out of --modalities")
    wanted = set.intersection(*held) if modalities is None else set(modalities)
    return tuple(name for name in MODALITIES if name in wanted)


def frames_of(entries: Sequence[Entry]) -> int:
    """Frames of some recordings together."""
    return sum(entry.open().frames for entry in entries)


def lost_frames(entries: Sequence[Entry], modalities: Sequence[str]) -> dict[str, int]:
    """Invalid frames of each modality."""
    return {name: sum(int((~entry.open().arrays[f"valid_{name}"]).sum()) for entry in entries) for name in modalities}
