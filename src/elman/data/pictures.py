"""Pictures as small grids of ink or of colours: one file, or a folder of subfolders that name their label."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from elman.data.table import Table
from elman.errors import UserError

Ink = Literal["auto", "dark", "bright"]
Grid: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MOST_PIXELS = 25_000_000
MOST_BYTES = 64 * 2**20
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
_LAYOUT = "lay the pictures out as FOLDER/label/picture.png"


def read_picture(path: str | Path, height: int, width: int, ink: Ink = "auto", crop: bool = True) -> Grid:
    """A picture as `(height, width)` amounts of ink, from 0 for its paper to 1 for its strongest stroke.

    Args:
        path: a PNG, JPEG, BMP, GIF, TIFF or WebP file; of an animation the first picture, of colours their grey,
            and what is transparent is white.
        height: rows of the grid.
        width: columns of the grid.
        ink: whether strokes are darker or brighter than the paper; auto: the paper is what the border shows.
        crop: cut the picture to its ink, centred, with the grid's proportions.

    Raises:
        UserError: the file is missing, no picture, damaged, too large (25 million pixels, 64 MiB), or of one
            colour.

    Example:
        >>> read_picture("seven.png", 8, 8).shape  # doctest: +SKIP
        (8, 8)
    """
    grey = _grey(Path(path).expanduser())
    if ink == "dark" or (ink == "auto" and _border(grey).mean() > (grey.min() + grey.max()) / 2):
        grey = 1 - grey
    low, high = grey.min(), grey.max()
    if high - low < 1 / 255:
        raise UserError("a picture must show something", where=path, found="one colour everywhere")
    grey = (grey - low) / (high - low)
    return _resized(_cropped(grey, height, width) if crop else grey, height, width)


def read_picture_folder(folder: Path, height: int, width: int, ink: Ink = "auto", crop: bool = True) -> Table:
    """A table with the columns picture (see `read_picture`) and label, in the order of the names.

    Hidden files are left out, and so are files with other endings than a picture's.

    Raises:
        UserError: no picture in any subfolder, a link that leads out of the folder, or what `read_picture`
            refuses.
    """
    labels = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths = [path for label in labels for path in pictures_in(label)]
    if not paths:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "an empty folder"
        raise UserError("the folder holds no labelled pictures", where=folder, found=found, fix=_LAYOUT)
    inside = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(inside):
            fix = "copy the file into the folder"
            raise UserError("a picture must lie inside its folder", where=path, found=path.resolve(), fix=fix)
    return Table(
        {
            "picture": [read_picture(path, height, width, ink, crop) for path in paths],
            "label": [path.parent.name for path in paths],
        },
        str(folder),
        files=[str(path) for path in paths],
    )


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by their names; hidden files and other endings are left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def read_colours(path: str | Path, side: int) -> Grid:
    """A picture as `(3, side, side)` amounts of red, green and blue, from 0 to 1, on white where it is not square.

    Args:
        path: as for `read_picture`; what is transparent is white.
        side: rows and columns.

    Raises:
        UserError: the file is missing, no picture, damaged or too large (25 million pixels, 64 MiB).

    Example:
        >>> read_colours("dog.jpg", 32).shape  # doctest: +SKIP
        (3, 32, 32)
    """
    return _opened(Path(path).expanduser(), lambda image: square_colours(image, side))


def square_colours(image: Any, side: int) -> Grid:
    """A Pillow image as `read_colours` gives it."""
    module = _pillow("Image")
    if image.mode.startswith(("I", "F")):
        image = module.fromarray((255 * _brightness(image)).round().astype(np.uint8))
    image = _on_white(image).convert("RGB")
    longest = max(image.size)
    size = tuple(max(1, round(side * pixels / longest)) for pixels in image.size)
    small = np.asarray(image.resize(size, module.Resampling.BOX), dtype=np.float32) / np.float32(255)
    grid = np.ones((side, side, 3), dtype=np.float32)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    grid[top : top + size[1], left : left + size[0]] = small
    return np.ascontiguousarray(grid.transpose(2, 0, 1))


def _grey(path: Path) -> Grid:
    """Brightness from 0 to 1, (rows, columns)."""
    return _opened(path, _brightness)


def _opened(path: Path, then: Callable[[Any], Grid]) -> Grid:
    """What `then` makes of a picture, once it is known to be one and not too large."""
    image_module, operations = _pillow("Image"), _pillow("ImageOps")
    try:
        if not path.is_file():
            raise UserError("no such picture" if not path.exists() else "this is no file", where=path)
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"a picture has at most {MOST_BYTES} bytes", where=path, found=size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large or odd files: refused below, or read as they are
            with image_module.open(path, formats=_FORMATS) as image:
                if (pixels := image.width * image.height) > MOST_PIXELS:
                    raise UserError(f"a picture has at most {MOST_PIXELS} pixels", where=path, found=pixels)
                return then(operations.exif_transpose(image))
    except UserError:
        raise
    except (
        Exception
    ) as error:  # the library raises what its formats raise: OSError, SyntaxError, struct.error, ...
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError("the picture cannot be read", where=path, found=found) from error


def _brightness(image: Any) -> Grid:
    if image.mode.startswith(("I", "F")):  # more than 8 bits a pixel, without colours
        deep: Grid = np.nan_to_num(np.asarray(image, dtype=np.float32))
        deep = (deep - deep.min()) / np.float32(max(float(deep.max() - deep.min()), 1e-6))
        return deep
    return np.asarray(_on_white(image).convert("L"), dtype=np.float32) / np.float32(255)


def _on_white(image: Any) -> Any:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    module, image = _pillow("Image"), image.convert("RGBA")
    return module.alpha_composite(module.new("RGBA", image.size, "white"), image)


def _border(grey: Grid) -> Grid:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _cropped(ink: Grid, height: int, width: int) -> Grid:
    """The smallest box around the ink, with paper around it up to the grid's proportions."""
    strong = ink > 0.5
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    tall, wide = box.shape
    scale = max(tall / height, wide / width)
    missing = (max(0, round(scale * height) - tall), max(0, round(scale * width) - wide))
    return np.pad(box, [(m // 2, m - m // 2) for m in missing])


def _resized(ink: Grid, height: int, width: int) -> Grid:
    image = _pillow("Image")
    picture = image.fromarray((255 * ink).round().astype(np.uint8)).resize((width, height), image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _pillow(module: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        what = "reading pictures needs Pillow, which is not installed"
        raise UserError(what, fix="pip install pillow, or give a table with a column a pixel") from error
