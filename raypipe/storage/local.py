"""Files of a local disk that appear whole or not at all, whatever is killed and whoever races."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers to one."""


def write(path: str, data: bytes | memoryview) -> None:
    """Write a file, or replace it; makes its folder."""
    with _beside(path, data) as partial:
        partial.replace(path)
        _to_disk(partial.parent)


def create(path: str, data: bytes | memoryview) -> bool:
    """Write a file that must not be there yet; False where it is. Of many that try, one succeeds.

    By a hard link, which fails where the name is taken, over NFS too; on a file system without
    links the file is created under its name, and a crash may leave half of it.
    """
    with _beside(path, data) as partial:
        created = _name(partial, path)
        partial.unlink()
        _to_disk(partial.parent)
        return created


def _to_disk(folder: Path) -> None:
    """Have the names of a folder's files reach the disk, as their content has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems do not sync folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _beside(path: str, data: bytes | memoryview) -> Iterator[Path]:
    """A whole file on disk beside `path`, to be given its name."""
    partial = Path(f"{path}.{uuid.uuid4().hex[:8]}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the content
        yield partial
    except BaseException:  # an interrupt, too
        with contextlib.suppress(OSError):
            partial.unlink()  # it may have filled the disk
        raise


def _name(partial: Path, path: str) -> bool:
    """Give a file its name, unless the name is taken; False then."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return partial.stat().st_nlink == 2  # over NFS, where the answer to our own link was lost
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with Path(path).open("xb") as file:
                file.write(partial.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
    return True
