"""Names that become names of files: no two become the same one, and older ones are found."""

from itertools import combinations

import pytest

from raypipe.core.ids import file_stem
from raypipe.storage.files import Folder
from raypipe.storage.names import BatchFiles, batch_file

NAMES = [
    *("clip_v1", "clip-v1", "clip.v1", "clip/v1", "clip v1", "clip--v1", "CLIP-v1", "Clip_v1"),
    *("моде́ль", "модель", "モデル", "模型", "", "-", "_", "~", "a" * 300, "a" * 301),
    *("../clip", "/clip", "clip", "clip~6794bc234d", "miniature/clip", "miniature-clip", "ﬁ", "fi"),
    *("clip\n", "clip\0", "con", ".", "..", "CLIP", "İ", "i̇"),
]


def older(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


@pytest.mark.parametrize("name", NAMES)
def test_a_stem_is_a_safe_file_name(name):
    stem = file_stem(name)
    assert stem.strip("abcdefghijklmnopqrstuvwxyz0123456789_-~") == ""
    assert 0 < len(stem) < 64
    assert stem[0] not in "-~"


def test_no_two_names_have_the_same_stem():
    for one, other in combinations(NAMES, 2):
        assert file_stem(one).casefold() != file_stem(other).casefold(), (one, other)


@pytest.mark.parametrize("name", ["clip", "image_reward", "clip-v1", "0a"])
def test_plain_names_stay_as_they_are(name):
    assert file_stem(name) == name


@pytest.fixture
def run(tmp_path):
    return Folder(str(tmp_path))


def test_a_run_of_the_earlier_version_goes_on_with_its_names(run):
    run.write("embeddings/a-b.0.parquet", b"")
    files = BatchFiles(run, "embeddings", ["a/b", "c/d"], older)
    assert files.of("a/b", "0") == "embeddings/a-b.0.parquet"
    assert files.of("a/b", "1") == "embeddings/a-b.1.parquet"
    assert (files.has("a/b", "0"), files.has("a/b", "1")) == (True, False)
    assert files.of("c/d", "0") == batch_file("embeddings", "c/d", "0")


def test_where_both_are_there_the_newer_name_counts(run):
    run.write("embeddings/a-b.0.parquet", b"")
    run.write("embeddings/a-b.1.parquet", b"")
    run.write(batch_file("embeddings", "a/b", "0"), b"")
    files = BatchFiles(run, "embeddings", ["a/b"], older)
    assert files.of("a/b", "0") == batch_file("embeddings", "a/b", "0")
    assert files.of("a/b", "1") == "embeddings/a-b.1.parquet"
    assert files.of("a/b", "2") == batch_file("embeddings", "a/b", "2")


@pytest.mark.parametrize("names", [("a/b", "a_b"), ("a/b", "a-b"), ("A/b", "a/b"), ("ä", "ö")])
def test_an_older_name_of_two_makers_counts_for_neither(run, names):
    run.write(f"embeddings/{older(names[0])}.0.parquet", b"")
    files = BatchFiles(run, "embeddings", names, older)
    assert files.of(names[0], "0") == batch_file("embeddings", names[0], "0")
    assert not files.has(names[0], "0")
