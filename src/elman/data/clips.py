"""Clips of pictures with a label for each frame: films of a user's disk and a table of what they show when."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from elman.data.file_tables import column_called, file_inside, table_and_folder
from elman.data.table import Table, as_number, is_missing
from elman.errors import UserError

Frames: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

MOST_BYTES = 2**30
MOST_PIXELS = 10_000_000  # of a frame
MOST_FRAMES = 20_000  # of a clip
MOST_SECONDS = 1_200.0  # of a clip
MOST_NUMBERS = 2 * 10**9  # of all clips together, a byte each
ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif", ".mpg", ".mpeg", ".ogv")
# No playlists: they would open other files, or the net.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegts,ogg,flv"
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_USUAL = "labels.csv with the columns clip, frame and label"
_CLIP, _LABEL = ("clip", "file", "video", "path", "filename"), ("label", "class", "action", "name")


@dataclass(frozen=True)
class Clip:
    """A film, small.

    Attributes:
        frames: (T, C, side, side) from 0 to 255, C 1 for greys and 3 for colours.
        times: when each frame is shown, in seconds.
    """

    frames: Frames
    times: Sequence[float]


@dataclass(frozen=True)
class LabelledClips:
    """Clips with a label, or None, for each frame.

    Attributes:
        clips: the films.
        labels: for each clip the labels of its frames.
        names: of the clips.
        source: the data, as the user named it.
    """

    clips: Sequence[Clip]
    labels: Sequence[Sequence[str | None]]
    names: Sequence[str]
    source: str


def read_clip(path: str | Path, side: int, colours: bool = False) -> Clip:
    """A film as small pictures, frame by frame, black above and below or at the sides where it is not square.

    Args:
        path: an MP4, Matroska, WebM, AVI, MPEG, Ogg or GIF file.
        side: rows and columns of each frame.
        colours: three channels instead of one of greys.

    Raises:
        UserError: the file is missing, no film, damaged, or too large (1 GiB, 10 million pixels a frame, 20,000
            frames, 20 minutes), or PyAV is not installed.

    Example:
        >>> read_clip("clip.mp4", 24).frames.shape  # doctest: +SKIP
        (120, 1, 24, 24)
    """
    av = _av()
    path = Path(path).expanduser()
    try:
        if not path.is_file():
            raise UserError("no such clip" if not path.exists() else "this is no file", where=path)
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"a clip has at most {MOST_BYTES} bytes", where=path, found=size)
        with av.open(str(path.resolve()), options=_OPTIONS) as container:
            if not container.streams.video:
                raise UserError("a clip must hold pictures", where=path, found="no video stream")
            return _decoded(container, path, side, colours)
    except UserError:
        raise
    except Exception as error:  # the library raises what its formats raise
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError("the clip cannot be read", where=path, found=found) from error


def read_labelled_clips(
    data: Any, side: int, colours: bool = False, clip: str | None = None, label: str | None = None
) -> LabelledClips:
    """Clips of a user's own, and what is said of their frames.

    Args:
        data: a table, or a folder with clips and one table. Its columns: a clip, named from the table's own folder
            on; a label; and either `frame`, a number from 0, or `start` and `end` in seconds, the end left out.
        side: rows and columns of each frame.
        colours: three channels instead of one of greys.
        clip: the column of clips, where it is not to be guessed.
        label: the column of labels, where it is not to be guessed.

    Raises:
        UserError: a column is missing, a clip cannot be read, a label stands at no frame or two differ at one; the
            line is named.
    """
    table, folder = table_and_folder(data, "clips", _USUAL)
    clip, label = (
        column_called(table, clip, _CLIP, "clip", "--text"),
        column_called(table, label, _LABEL, "label", "--label"),
    )
    names = [str(name) for name in table.column(clip)]
    found: dict[str, Clip] = {}
    for row, name in enumerate(names):
        if name not in found:
            found[name] = read_clip(file_inside(folder, name, table.where(row)), side, colours)
            if (numbers := sum(one.frames.size for one in found.values())) > MOST_NUMBERS:
                fix = "set data.side lower, or give fewer or shorter clips"
                raise UserError("the clips do not fit into memory", where=table.source, found=numbers, fix=fix)
    labels: dict[str, list[str | None]] = {name: [None] * len(one.frames) for name, one in found.items()}
    said = table.column(label)
    for row, name in enumerate(names):
        if is_missing(said[row]):
            raise UserError("every row needs a label", where=table.where(row), found="nothing")
        for frame in _frames_of(table, row, name, found[name]):
            if labels[name][frame] not in (None, str(said[row])):
                both = f"{labels[name][frame]!r} and {said[row]!r}"
                what = f"frame {frame} of {name} has two labels"
                raise UserError(what, where=table.where(row), found=both)
            labels[name][frame] = str(said[row])
    return LabelledClips(list(found.values()), list(labels.values()), list(found), table.source)


def clips_in(folder: Path) -> list[Path]:
    """The clips of a folder by their names; hidden files and other endings are left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def write_clip(path: Path, frames: Frames, rate: int = 10) -> None:
    """Writes frames (T, 1, H, W) of greys, H and W even, as a film without loss (FFV1 in Matroska)."""
    av = _av()
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        (stream.height, stream.width), stream.pix_fmt = frames.shape[2:], "gray"
        for picture in frames[:, 0]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")))
        container.mux(stream.encode())


def _decoded(container: Any, path: Path, side: int, colours: bool) -> Clip:
    frames, times = [], []
    for number, frame in enumerate(container.decode(video=0)):
        time = float(frame.time) if frame.time is not None else float(number)
        for most, amount, unit in (
            (MOST_PIXELS, frame.width * frame.height, "pixels a frame"),
            (MOST_FRAMES, number + 1, "frames"),
            (MOST_SECONDS, time, "seconds"),
        ):
            if amount > most:
                fix = "cut it, or make it smaller"
                raise UserError(f"a clip has at most {most:g} {unit}", where=path, found=f"{amount:g}", fix=fix)
        frames.append(_small(frame, side, colours))
        times.append(time)
    if not frames:
        raise UserError("a clip must hold pictures", where=path, found="no frame")
    return Clip(np.stack(frames), [time - times[0] for time in times])


def _small(frame: Any, side: int, colours: bool) -> Frames:
    longest = max(frame.width, frame.height)
    width, height = (max(1, round(side * pixels / longest)) for pixels in (frame.width, frame.height))
    pixels = frame.reformat(width, height, format="rgb24", interpolation="AREA").to_ndarray()
    if not colours:
        pixels = pixels.mean(2, keepdims=True).round()
    grid = np.zeros((side, side, pixels.shape[2]), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    grid[top : top + height, left : left + width] = pixels
    return grid.transpose(2, 0, 1)


def _frames_of(table: Table, row: int, name: str, clip: Clip) -> Sequence[int]:
    """The frames that a row is about."""
    where, count = table.where(row), len(clip.frames)
    cells = {
        name: as_number(table.columns[name][row]) for name in ("frame", "start", "end") if name in table.columns
    }
    if (frame := cells.get("frame")) is not None:
        if not 0 <= frame < count or frame != int(frame):  # NaN is in no range
            what = f"a label needs its frame; {name} has {count}, numbered from 0"
            raise UserError(what, where=where, found=f"frame {frame:g}")
        return (int(frame),)
    start, end = cells.get("start"), cells.get("end")
    if start is None or end is None:
        fix = "give a column frame (a number from 0), or start and end (seconds)"
        raise UserError("a label needs its frame, or its start and end", where=where, found="neither", fix=fix)
    frames = [number for number, time in enumerate(clip.times) if start <= time < end]
    if not frames:
        what = f"a label needs its frames; the last of {name} is at {clip.times[-1]:g} seconds"
        raise UserError(what, where=where, found=f"none from {start:g} to {end:g}")
    return frames


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UserError(
            "reading clips needs PyAV, which is not installed", fix="pip install 'elman[video]'"
        ) from error
