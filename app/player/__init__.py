"""The player as Streamlit wants it: one module made of the plain ES modules of this folder, and its style."""

import re
from pathlib import Path

__all__ = ["player_css", "player_js"]

MODULES = ("bundle.js", "clock.js", "draw.js", "player.js", "component.js")
"""In the order of their imports."""
_IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def player_js() -> str:
    """All modules as one: imports between them fall away, and every export but the last one's default."""
    folder = Path(__file__).parent
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", (folder / name).read_text())) for name in MODULES)


def player_css() -> str:
    """The style sheet of the player."""
    return (Path(__file__).parent / "player.css").read_text()
