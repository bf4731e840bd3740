"""Atomic folders and files: whole or not at all, and every change noticed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from elman.errors import UserError
from elman.export import atomic_folder, atomic_write, current, read_folder, recover, verify


def write(folder: Path, **files: str) -> Path:
    with atomic_folder(folder) as new:
        for name, text in files.items():
            (new / name).write_text(text)
    return folder


def hidden(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.name.startswith(".")]


def test_a_folder_appears_whole_with_its_manifest(tmp_path):
    with atomic_folder(tmp_path / "made" / "folder") as new:
        (new / "a").write_text("1")
        assert not (tmp_path / "made" / "folder").exists()
    folder = tmp_path / "made" / "folder"
    assert read_folder(folder) == {"a": b"1"}
    entry = json.loads((folder / "manifest.json").read_text())["files"]["a"]
    assert entry == {"sha256": hashlib.sha256(b"1").hexdigest(), "size": 1}
    assert hidden(tmp_path / "made") == []


def test_a_replaced_folder_keeps_what_its_manifest_does_not_name(tmp_path):
    folder = write(tmp_path / "model", old="1", both="1")
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "latest").write_text("step")
    write(folder, both="2", new="2")
    assert read_folder(folder) == {"both": b"2", "new": b"2"}
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "both", "new", "notes.txt", "checkpoints"}
    assert (folder / "checkpoints" / "latest").read_text() == "step"
    assert hidden(tmp_path) == []


def test_somebody_elses_file_is_not_overwritten(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.json").write_text("mine")
    with pytest.raises(UserError, match=r"project/config\.json: saving would overwrite"):
        write(tmp_path / "project", **{"config.json": "{}"})
    assert (tmp_path / "project" / "config.json").read_text() == "mine"
    assert hidden(tmp_path) == []


def test_an_error_in_the_block_leaves_the_older_folder(tmp_path):
    folder = write(tmp_path / "model", a="1")
    with pytest.raises(KeyboardInterrupt), atomic_folder(folder) as new:
        (new / "a").write_text("2")
        raise KeyboardInterrupt
    assert read_folder(folder) == {"a": b"1"}
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_is_said_and_leaves_the_older_folder(tmp_path, monkeypatch, call):
    folder = write(tmp_path / "model", a="1")
    real, calls = getattr(os, call), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match="no space left on the disk"):
            write(folder, a="2")
    assert read_folder(folder) == {"a": b"1"}
    assert hidden(tmp_path) == []


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "latest"
    atomic_write(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="no space left on the disk"):
            atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert hidden(tmp_path) == []


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(UserError, match="a file stands where"):
        write(tmp_path / "model", a="1")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "model" / "inside", a="1")
    assert (tmp_path / "model").read_text() == "mine"


def test_a_file_is_not_written_through_a_planted_link(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".latest.new").symlink_to(tmp_path / "victim")
    atomic_write(tmp_path / "latest", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "latest").read_bytes() == b"new"


def test_between_the_two_renames_the_older_version_is_found_and_put_back(tmp_path):
    folder = write(tmp_path / "model", a="1")
    folder.rename(tmp_path / ".model.old")
    assert read_folder(current(folder)) == {"a": b"1"}
    recover(folder)
    assert read_folder(folder) == {"a": b"1"}
    assert hidden(tmp_path) == []


def test_subfolders_and_links_are_refused(tmp_path):
    with pytest.raises(ValueError, match="plain files only"), atomic_folder(tmp_path / "a") as new:
        (new / "inner").mkdir()
    with pytest.raises(ValueError, match="plain files only"), atomic_folder(tmp_path / "a") as new:
        (new / "link").symlink_to("/etc/hostname")
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path):
    folder = write(tmp_path / "model", **{"config.json": '{"cell": "lstm"}', "weights": "0123456789"})
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in range(8):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
                with pytest.raises(UserError):
                    verify(folder)
            path.write_bytes(whole[:place])
            with pytest.raises(UserError):
                verify(folder)
        path.write_bytes(whole + b"\n")
        with pytest.raises(UserError):
            verify(folder)
        path.write_bytes(whole)
    verify(folder)


def test_the_damaged_file_is_named(tmp_path):
    folder = write(tmp_path / "model", a="12", b="12")
    (folder / "b").write_text("13")
    with pytest.raises(UserError, match=r"model/b: the file is damaged: its SHA-256 has changed"):
        verify(folder)
    (folder / "b").write_text("1")
    with pytest.raises(UserError, match=r"model/b: .*2 bytes were written; found: 1 bytes"):
        verify(folder)
    (folder / "b").unlink()
    with pytest.raises(UserError, match=r"model/b: the file is missing"):
        verify(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no manifest"):
        verify(folder)


STEMS = ("secret", "a/secret", "a\\secret", "./secret", "etc/passwd", "x/../secret", "x\\..\\secret")
STARTS = ("../", "..\\", "../../", "/", "//", "\\", "C:\\", "C:", "./")
HOSTILE = sorted({start + stem for start in STARTS for stem in STEMS} - {""})
HOSTILE += ["", ".", "..", "secret/", "secret\0", "secret\n", "\u202esecret", "a/b", "~/../secret"]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    folder = write(tmp_path / "model", a="1")
    secret = tmp_path / "secret"
    secret.write_text("outside")
    entry = {"sha256": hashlib.sha256(b"outside").hexdigest(), "size": 7}
    hostile = json.dumps({"files": {name: entry}}, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(hostile)
    with pytest.raises(UserError, match="must lie directly in its folder"):
        read_folder(folder)


def test_there_are_more_than_fifty_hostile_names():
    assert len(HOSTILE) > 50


def test_a_link_in_place_of_a_file_is_refused(tmp_path):
    folder = write(tmp_path / "model", a="1")
    (folder / "a").rename(tmp_path / "elsewhere")
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link may not stand for a file"):
        read_folder(folder)
