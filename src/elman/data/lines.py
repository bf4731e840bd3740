"""The lines of a text file, decoded strictly: what cannot be text is refused with the line it stands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from elman.errors import UserError

# UTF-32 stands before UTF-16, whose mark it begins with.
_SIGNATURES = {
    b"\xff\xfe\x00\x00": ("UTF-32", "save it as UTF-8"),
    b"\x00\x00\xfe\xff": ("UTF-32", "save it as UTF-8"),
    b"\xff\xfe": ("UTF-16", "save it as UTF-8 (in a shell: iconv -f UTF-16 -t UTF-8 FILE > NEW)"),
    b"\xfe\xff": ("UTF-16", "save it as UTF-8 (in a shell: iconv -f UTF-16 -t UTF-8 FILE > NEW)"),
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or export the sheet as CSV"),
    b"\x1f\x8b": ("compressed by gzip", "decompress it with gunzip"),
    b"PAR1": ("a Parquet file", "name it .parquet"),
}


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file one by one, with their line ends; a byte order mark is left out.

    Args:
        path: the file. `\n`, `\r\n` and `\r` all end a line.

    Raises:
        UserError: the file is empty, not text (a signature of another format, a NUL byte), not UTF-8 (the
            line and the byte are named), or cannot be opened.
    """
    _check_signature(path)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    fix = "the file is damaged, no text, or UTF-16: save it as UTF-8"
                    raise UserError("a text holds no NUL byte", where=f"{path}:{number}", found="0x00", fix=fix)
                yield line
    except UnicodeDecodeError:
        raise _undecodable(path) from None
    except OSError as error:
        raise UserError("the file cannot be read", where=path, found=error.strerror) from error
    if not number:
        raise UserError("the file is empty", where=path, found="0 characters")


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise UserError("the file cannot be read", where=path, found=error.strerror) from error
    for signature, (name, fix) in _SIGNATURES.items():
        if start.startswith(signature):
            raise UserError("a text file must be UTF-8", where=path, found=name, fix=fix)


def _undecodable(path: Path) -> UserError:
    """The error that names the first byte that is not UTF-8: the decoder itself knows no lines."""
    number = 1
    with path.open("rb") as file:
        for raw in file:
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                number += raw.count(b"\r", 0, error.start)
                found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1} of the line"
                fix = "save it as UTF-8 (from Windows often: iconv -f CP1252 -t UTF-8 FILE > NEW)"
                return UserError("the text is not UTF-8", where=f"{path}:{number}", found=found, fix=fix)
            number += 1 + raw.removesuffix(b"\r\n").count(b"\r")
    return UserError("the text is not UTF-8", where=path, found="the file changed while it was read")
