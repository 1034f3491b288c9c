"""A folder's files appear whole or not at all, on every filesystem."""

import os
import subprocess
import sys
import threading
import time

import pyarrow.fs as pafs
import pytest

from raypipe.errors import UserError
from raypipe.storage.files import Folder, open_uri, read_text


@pytest.fixture(params=["path", "file://"])
def folder(request, tmp_path):
    where = tmp_path / "run"
    return Folder(str(where) if request.param == "path" else f"file://{where}")


def test_what_is_written_is_read_back(folder):
    assert folder.read("a.json") is None
    assert folder.names() == folder.entries() == folder.names("images") == []
    folder.write("a.json", b"one")
    folder.write("a.json", b"two")
    folder.write("images/0.parquet", b"")
    assert folder.read("a.json") == b"two"
    assert folder.open("a.json").read() == b"two"
    assert folder.names() == ["a.json"]
    assert folder.entries() == ["a.json", "images"]
    assert folder.names("images") == ["0.parquet"]


def test_delete_removes_a_file_and_minds_no_absent_one(folder):
    folder.write("a", b"x")
    folder.delete("a")
    folder.delete("a")
    assert folder.read("a") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_visible(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("images/a", b"old")
    with pytest.raises(TypeError):
        folder.write("images/a", "no bytes")
    assert folder.read("images/a") == b"old"
    assert folder.names("images") == ["a"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a"]


def test_the_half_of_a_write_that_was_killed_is_unseen_until_it_is_cleaned_away(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("images/a", b"whole")
    (tmp_path / "images" / "b.0123abcd.partial").write_bytes(b"half")
    assert folder.names("images") == ["a"]
    folder.clean("images")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    folder, seen, done = Folder(str(tmp_path)), set(), threading.Event()
    contents = [bytes([i]) * 2**20 for i in range(40)]
    folder.write("a", contents[0])

    def read():
        while not done.is_set():
            seen.add(folder.read("a"))

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        folder.write("a", content)
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert seen


WRITES_FOR_EVER = """
import sys
from raypipe.storage.files import Folder
folder = Folder(sys.argv[1])
while True:
    for i in range(256):
        folder.write("a", bytes([i]) * 2**23)
"""


@pytest.mark.parametrize("after_s", [0, 0.02, 0.05])
def test_a_killed_writer_leaves_no_half_file_in_sight(tmp_path, after_s):
    writer = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path)])
    while not (tmp_path / "a").exists():
        assert writer.poll() is None
    time.sleep(after_s)
    writer.kill()
    writer.wait()
    folder = Folder(str(tmp_path))
    assert folder.names() == folder.entries() == ["a"]
    data = folder.read("a")
    assert len(data) == 2**23
    assert len(set(data)) == 1


def test_paths_and_uris_name_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in (str(tmp_path / "x"), "x", "./x", "~/x", f"file://{tmp_path}/x/"):
        filesystem, path = open_uri(uri)
        assert isinstance(filesystem, pafs.LocalFileSystem)
        assert os.path.normpath(path) == str(tmp_path / "x")


@pytest.mark.parametrize("uri", ["ftp://host/x", "http://host/x", "nonsense://x"])
def test_an_unknown_scheme_is_refused(uri):
    with pytest.raises(UserError, match=r"a path or an s3:// or gs:// URI was expected, got .*//"):
        open_uri(uri)


def test_odd_names_are_plain_names(tmp_path):
    folder = Folder(str(tmp_path / "a b#c%20d?e"))
    folder.write("x", b"1")
    assert (tmp_path / "a b#c%20d?e" / "x").read_bytes() == b"1"


def test_text_must_be_there_and_be_utf_8(tmp_path):
    path = tmp_path / "t.txt"
    with pytest.raises(UserError, match=f"^list not found: {path}$"):
        read_text(str(path), "list")
    with pytest.raises(UserError, match=f"^list cannot be read: {tmp_path}: "):
        read_text(str(tmp_path), "list")
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=f"^list must be UTF-8 text: {path}: byte 2 is not$"):
        read_text(str(path), "list")
    path.write_bytes(b"\xef\xbb\xbf\xc3\xa9")
    assert read_text(str(path), "list") == "é"


def test_a_compressed_looking_name_is_read_as_it_is(tmp_path):
    (tmp_path / "t.gz").write_bytes(b"plain")
    assert read_text(str(tmp_path / "t.gz"), "list") == "plain"
