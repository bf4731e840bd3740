"""The default data: fetched once, checked, whole or not there. Nothing here uses the network."""

import dataclasses
import importlib
import io
import json
import logging
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from elman.data import DATASETS, cache_folder, fetch
from elman.data.cache import damage, hash_of, keep
from elman.errors import UserError

MODULE = importlib.import_module("elman.data.fetch")
REAL = DATASETS["sentiment"]
CONTENT = {name: f"1\t1.5\t{name}\r\n".encode() for name in REAL.members}


def tar(members):
    """A gzipped tar archive; a member is bytes, or the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def sdist(members=None):
    inner = [(path, CONTENT[name]) for name, path in REAL.members.items()] if members is None else members
    return tar([("vaderSentiment-3.3.2/setup.py", b"raise SystemExit"), (REAL.archive, tar(inner))])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Puts an archive where the real one is expected, hash included."""

    def place(content):
        changed = dataclasses.replace(REAL, sha256=hash_of(content))
        monkeypatch.setitem(DATASETS, "sentiment", changed)
        path = tmp_path / "by hand.tar.gz"
        path.write_bytes(content)
        return path

    return place


@pytest.fixture
def pip(monkeypatch):
    """Stands for pip: writes the given content where it was told to, or fails."""

    def install(content=None, said="", code=0):
        calls = []

        def run(command, **settings):
            calls.append(command)
            requirement = Path(command[command.index("-r") + 1]).read_text()
            assert requirement == f"vaderSentiment==3.3.2 --hash=sha256:{DATASETS['sentiment'].sha256}\n"
            assert {"--no-deps", "--no-binary", "--require-hashes"} < set(command)
            if code:
                raise subprocess.CalledProcessError(code, command, stderr=said)
            if content is not None:
                (Path(command[command.index("-d") + 1]) / REAL.sdist).write_bytes(content)
            return settings

        monkeypatch.setattr(MODULE.subprocess, "run", run)
        return calls

    return install


def refusal(*arguments, **settings):
    with pytest.raises(UserError) as caught:
        fetch(*arguments, **settings)
    return str(caught.value)


def test_fetched_once_then_read_from_the_cache(archive, pip, cache):
    content = sdist()
    archive(content)
    calls = pip(content)
    folder = fetch("sentiment")
    assert folder == cache / "data" / "sentiment"
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert fetch("sentiment") == folder
    assert len(calls) == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([*CONTENT, "manifest.json"])
    assert [path.name for path in folder.parent.iterdir()] == ["sentiment"]


def test_placed_by_hand(archive, pip):
    path = archive(sdist())
    calls = pip(code=1)
    assert (fetch("sentiment", archive=path) / "manifest.json").exists()
    assert calls == []


def test_the_manifest_records_every_hash(archive):
    path = archive(sdist())
    manifest = json.loads((fetch("sentiment", archive=path) / "manifest.json").read_text())
    assert manifest["origin"] == hash_of(path.read_bytes())
    assert manifest["files"] == {name: hash_of(content) for name, content in CONTENT.items()}


def flip(folder):
    path = folder / "tweets_GroundTruth.txt"
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5"))


def truncate(folder):
    (folder / "movieReviewSnippets_GroundTruth.txt").write_bytes(b"")


def remove(folder):
    (folder / "movieReviewSnippets_GroundTruth.txt").unlink()


def cut_manifest(folder):
    (folder / "manifest.json").write_text('{"origin": ')


def foreign_manifest(folder):
    (folder / "manifest.json").write_text("[]")


def other_origin(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "origin": "0" * 64}))


@pytest.mark.parametrize("harm", [flip, truncate, remove, cut_manifest, foreign_manifest, other_origin])
def test_a_damaged_copy_is_said_and_fetched_again(archive, pip, caplog, harm):
    content = sdist()
    archive(content)
    calls = pip(content)
    folder = fetch("sentiment")
    harm(folder)
    with caplog.at_level(logging.WARNING):
        assert {name: (fetch("sentiment") / name).read_bytes() for name in CONTENT} == CONTENT
    assert "is damaged" in caplog.text
    assert len(calls) == 2
    assert damage(folder, hash_of(content), list(CONTENT)) is None


def test_a_damaged_copy_stays_when_it_cannot_be_replaced(archive, pip, caplog):
    folder = fetch("sentiment", archive=archive(sdist()))
    flip(folder)
    pip(code=1, said="ERROR: no network")
    refusal("sentiment")
    assert "is damaged" in caplog.text
    assert (folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            "WARNING: Retrying\nERROR: No matching distribution found for vaderSentiment==3.3.2\n\n",
            "ERROR: No matching",
        ),
        ("/usr/bin/python3: No module named pip\n", "No module named pip"),
        ("", "nothing"),
    ],
)
def test_no_network_or_no_pip_says_how_to_go_on(pip, cache, said, found):
    pip(said=said, code=1)
    message = refusal("sentiment")
    assert "the data 'sentiment' could not be fetched by pip; found: " in message
    assert found in message
    assert "vaderSentiment-3.3.2.tar.gz by hand" in message
    assert "elman data sentiment --from FILE" in message
    assert not (cache / "data").exists()


def test_pip_that_writes_nothing_or_never_ends(pip, monkeypatch):
    pip()
    assert "could not be fetched by pip" in refusal("sentiment")

    def hang(command, timeout, **_settings):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(MODULE.subprocess, "run", hang)
    assert "timed out after 600 seconds" in refusal("sentiment")


def test_another_archive_is_refused(tmp_path, pip):
    path = tmp_path / "other.tar.gz"
    path.write_bytes(sdist())
    assert f"other.tar.gz: the archive must be vaderSentiment-3.3.2.tar.gz with SHA-256 {REAL.sha256}" in refusal(
        "sentiment", archive=path
    )
    pip(sdist())
    assert "pip download: the archive must be" in refusal("sentiment")
    assert "none.tar.gz: the archive cannot be read; found: No such file" in refusal(
        "sentiment", tmp_path / "none.tar.gz"
    )


NAMES = list(REAL.members.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "the archive is damaged or lacks a file"),
        (sdist()[:200], "the archive is damaged or lacks a file"),
        (tar([(REAL.archive, b"no archive")]), "the archive is damaged or lacks a file"),
        (tar([("other", b"")]), "the archive is damaged or lacks a file"),
        (sdist([(name, b"x") for name in NAMES[:2]]), "lacks a file"),
        (sdist([(NAMES[0], "/etc/passwd"), *[(name, b"x") for name in NAMES[1:]]]), "must be a plain file"),
    ],
    ids=range(6),
)
def test_archives_that_are_not_what_they_should_be(archive, cache, content, said):
    path = archive(content)
    assert said in refusal("sentiment", archive=path)
    assert not (cache / "data" / "sentiment").exists()


def test_a_member_of_absurd_size_is_refused(archive, monkeypatch):
    monkeypatch.setattr(MODULE, "_LARGEST_MEMBER", 4)
    assert "a plain file of a sane size" in refusal("sentiment", archive=archive(sdist()))


def test_nothing_else_is_unpacked(archive, tmp_path):
    hostile = [(path, CONTENT[name]) for name, path in REAL.members.items()]
    hostile += [("../" * depth + "planted", b"x") for depth in range(1, 60)]
    hostile += [("/tmp/planted", b"x"), ("hutto_ICWSM_2014/../../planted", b"x"), ("planted", "/etc/passwd")]
    folder = fetch("sentiment", archive=archive(sdist(hostile)))
    assert sorted(path.name for path in folder.iterdir()) == sorted([*CONTENT, "manifest.json"])
    assert not list(tmp_path.rglob("planted"))


def test_unknown_name():
    assert refusal("sentimnt") == "no data set 'sentimnt'; did you mean 'sentiment'?"


def test_a_cache_that_cannot_be_written(archive, tmp_path, monkeypatch):
    path = archive(sdist())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "file"))
    assert "the data cannot be kept" in refusal("sentiment", archive=path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_no_half_folder(archive, cache, monkeypatch, failing):
    path = archive(sdist())

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "rename")), full)
    assert "No space left on device; make room, or set ELMAN_CACHE" in refusal("sentiment", archive=path)
    assert list((cache / "data").iterdir()) == []


def test_another_process_was_quicker(archive, monkeypatch):
    path = archive(sdist())
    origin = hash_of(path.read_bytes())

    def lose(folder, *arguments):
        keep(folder, *arguments)
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(MODULE, "keep", lose)
    assert damage(fetch("sentiment", archive=path), origin, list(CONTENT)) is None


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("ELMAN_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "elman"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "elman"
