"""What an export wrote."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ExportSummary"]


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
