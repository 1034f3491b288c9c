"""Copies weights from a bucket (any URI that pyarrow's filesystems know) to a local directory."""

import errno
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from raypipe.errors import UserError
from raypipe.storage.files import open_uri
from raypipe.weights.hub import matches
from raypipe.weights.retry import TransientError, one_line

COPIES = 8
"""Files copied at a time; each is read in parts, a few at a time, by pyarrow."""
REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|HTTP status 40[134]"
    r"|PERMISSION_DENIED|UNAUTHENTICATED|PermissionDenied|Unauthenticated"
)
"""In messages of object stores: a retry would get the same answer."""
PERMANENT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of a disk that a retry does not fix."""


@dataclass(frozen=True)
class File:
    """A file of a bucket as listed: `name` below the URI, or "" where the URI is the file."""

    name: str
    size: int
    modified_ns: int | None


def listing(uri: str, files: Sequence[str] | None, what: str) -> list[File]:
    """The files below a URI that match the globs (None: all), or the one file that it names.

    Raises UserError where there are none, TransientError where the bucket does not answer.
    """
    filesystem, root = open_uri(uri)
    try:
        info = filesystem.get_file_info(root)
        if info.is_file:
            return [File("", info.size, info.mtime_ns)]
        selector = pafs.FileSelector(root, recursive=True, allow_not_found=True)
        infos = [info for info in filesystem.get_file_info(selector) if info.is_file]
    except OSError as error:
        raise _verdict(error, uri, what) from error
    found = [File(i.path[len(root) :].lstrip("/"), i.size, i.mtime_ns) for i in infos]
    found = sorted((f for f in found if matches(f.name, files)), key=lambda file: file.name)
    if not found:
        wanted = "files" if files is None else "file like " + " or ".join(files[:3])
        raise UserError(f"{what} has no {wanted}: {uri}")
    if any(".." in PurePosixPath(file.name).parts for file in found):
        raise UserError(f"{what} has files whose names lead out of it: {uri}")
    return found


def copy(uri: str, files: Sequence[File], target: Path, what: str) -> list[Path]:
    """Copy files into a directory, but for those that are there already; each appears whole.

    The directory is for these files alone, as listed, and no other process may write there.
    Raises UserError or TransientError.
    """
    filesystem, root = open_uri(uri)

    def one(file: File) -> Path:
        source = f"{root}/{file.name}" if file.name else root
        path = target / (file.name or PurePosixPath(root).name)
        if not path.exists():
            _copy_file(filesystem, source, path, file.size)
        return path

    try:
        with ThreadPoolExecutor(COPIES) as pool:
            return list(pool.map(one, files))
    except OSError as error:
        raise _verdict(error, uri, what) from error


def _copy_file(filesystem: pafs.FileSystem, source: str, path: Path, size: int) -> None:
    """Copy beside and rename, so that no half of it is ever taken for the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        pafs.copy_files(
            source, str(partial), source_filesystem=filesystem,
            destination_filesystem=pafs.LocalFileSystem(),
        )  # fmt: skip
        if partial.stat().st_size != size:
            raise TransientError(f"{path.name} has {partial.stat().st_size} of {size} bytes")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _verdict(error: OSError, uri: str, what: str) -> Exception:
    """UserError or TransientError for a filesystem's error, by its code or message."""
    if error.errno in PERMANENT or REFUSED.search(str(error)):
        return UserError(f"{what} cannot be copied: {uri}: {one_line(error)}")
    return TransientError(one_line(error))
