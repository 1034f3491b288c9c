"""WebDataset shards: tar files in which a photo and its caption are files of one stem.

A photo is read again by the offset of its bytes, without reading what comes before.
"""

import io
import re
import tarfile
from typing import Any

from raypipe.core.address import is_below
from raypipe.core.limits import LINE, PICTURE, ROWS, parse_json
from raypipe.errors import UserError
from raypipe.inputs.pictures import SUFFIXES
from raypipe.storage.files import absolute, open_uri, storage_errors

SOURCE = re.compile(r"(.*)#(\d+)\+(\d+)", re.DOTALL)
"""shard#offset+size, of the photo's bytes."""

BUFFER = 2**16
"""Bytes read ahead: the headers of small files are neighbours."""


class _Headers(io.BufferedReader):
    """A shard of which no more than a caption or a long name is read at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LINE:
            raise tarfile.ReadError(
                f"a name or caption in it must have at most {LINE:,} bytes, got {size or 0:,}"
            )
        return super().read(size)


def list_shard(uri: str, names: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """(source, caption) of every photo in a shard, in order. UserError where it is not a tar file.

    A stem is a path up to the first point in its last part, as WebDataset has it. The caption is
    the .txt file's content, else what `names` name in the .json file.
    """
    filesystem, path = open_uri(uri)
    photos: dict[str, str] = {}
    captions: dict[str, str] = {}
    try:
        with (
            storage_errors(uri),
            _Headers(filesystem.open_input_file(path), BUFFER) as file,  # type: ignore[arg-type]
            tarfile.open(fileobj=file, mode="r:") as tar,
        ):
            for number, member in enumerate(tar, 1):
                tar.members.clear()  # else every header stays in memory
                if number > ROWS:
                    raise tarfile.ReadError(f"it must hold at most {ROWS:,} files")
                stem, ending = split_name(member.name)
                if not member.isreg() or member.issparse():
                    continue
                if ending in SUFFIXES:
                    if member.size > PICTURE:
                        raise tarfile.ReadError(
                            f"a picture must have at most {PICTURE:,} bytes, got {member.size:,}: "
                            f"{ascii(member.name)[:80]}"
                        )
                    photos.setdefault(stem, f"{uri}#{member.offset_data}+{member.size}")
                elif ending == ".txt":
                    captions[stem] = _content(tar, member).decode(errors="replace")
                elif ending == ".json":
                    captions.setdefault(stem, _caption(_content(tar, member), names))
    except FileNotFoundError:
        raise UserError(f"shard not found: {uri}") from None
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"shard cannot be read: {uri}: {error}") from None
    return [(source, captions.get(stem, "").strip() or None) for stem, source in photos.items()]


def read_from_shard(source: str, root: str) -> bytes | None:
    """A photo's bytes; None where the shard is gone. root: the shard or the folder of shards."""
    found = SOURCE.fullmatch(source)
    if found is None or not is_below(absolute(found[1]), root) or int(found[3]) > PICTURE:
        raise UserError(
            f"a photo in a shard must be at shard#offset+size below {root}, with at most "
            f"{PICTURE:,} bytes, got {source}"
        )
    filesystem, path = open_uri(found[1])
    try:
        with storage_errors(found[1]), filesystem.open_input_file(path) as file:
            return bytes(file.read_at(int(found[3]), int(found[2])))
    except FileNotFoundError:
        return None


def split_name(name: str) -> tuple[str, str]:
    """Stem and ending of a file in a shard.

    >>> split_name("a.b/000012.seg.PNG")
    ('a.b/000012', '.seg.png')
    """
    folder, slash, last = name.rpartition("/")
    stem, point, ending = last.partition(".")
    return f"{folder}{slash}{stem}", f"{point}{ending}".lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LINE:
        raise tarfile.ReadError(
            f"a caption must have at most {LINE:,} bytes, got {member.size:,}: "
            f"{ascii(member.name)[:80]}"
        )
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _caption(data: bytes, names: tuple[str, ...]) -> str:
    """The caption in a .json file; "" where there is none."""
    try:
        row: Any = parse_json(data)
    except ValueError:
        return ""
    if not isinstance(row, dict):
        return ""
    value = next((row[name] for name in names if name in row), None)
    return value if isinstance(value, str) else ""
