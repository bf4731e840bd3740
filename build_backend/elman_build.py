"""scikit-build-core, with an editable install that is a line in a .pth file and nothing else.

Its own editable installs put a finder before every other: a checkout then hides whatever PYTHONPATH names, and a
file that was renamed is looked for where it was.
"""

from __future__ import annotations

from pathlib import Path

from scikit_build_core.build import *  # noqa: F403
from scikit_build_core.build import build_wheel, get_requires_for_build_sdist

Settings = dict[str, list[str] | str]
SOURCES = Path("src")


def get_requires_for_build_editable(config_settings: Settings | None = None) -> list[str]:
    """What an editable install needs: no CMake, `make native` compiles."""
    return get_requires_for_build_sdist(config_settings)


def build_editable(
    folder: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """A wheel that puts src/ on the path."""
    line = Path("build/elman.pth")
    line.parent.mkdir(exist_ok=True)
    line.write_text(f"{SOURCES.resolve()}\n")
    settings = {"wheel.cmake": "false", "wheel.packages": [], f"wheel.force-include.{line}": line.name}
    return build_wheel(folder, {**(config_settings or {}), **settings}, metadata_directory)
