"""Files by path or URI (local, s3://, gs://), through pyarrow's filesystems."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs as pafs

from raypipe.core.address import check_address, check_name, is_uri
from raypipe.core.limits import FILE
from raypipe.errors import UserError
from raypipe.storage import exclusive, local

S3_ATTEMPTS = 5
"""Tries of one request, with growing pauses between them."""

EMPTY_ANSWERS = 3
"""Times that an object or a folder of a store must seem empty to be so."""

STRANGERS = frozenset({"Thumbs.db", "desktop.ini"})
"""Files that no job made, beside hidden ones such as .DS_Store and ._NAME."""

READERS = 8
"""Files fetched at once: most of the time goes to waiting for the storage."""

T, U = TypeVar("T"), TypeVar("U")

REFUSALS = {
    ("NO_SUCH_BUCKET", "Bucket '"): "there is no such bucket",
    ("INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "EXPIRED_TOKEN", "InvalidToken"): (
        "the storage does not accept these credentials"
    ),
    ("ACCESS_DENIED", "HTTP status 403", "MISSING_AUTHENTICATION_TOKEN", "PERMISSION_DENIED"): (
        "the storage refuses access; which credentials are used is up to the environment "
        "(AWS_PROFILE, an instance's role, GOOGLE_APPLICATION_CREDENTIALS)"
    ),
}
"""What stores answer to mistakes that the user must fix, with the reason to show."""

SILENT = ("curlCode: 6,", "curlCode: 7,", "curlCode: 28,", "Connection refused")
"""Marks of a store that no try has reached."""
SILENT_S = 60.0
"""How long it is not asked again by whoever cleans up (`impatient`)."""

_patience = threading.local()
_silent: dict[str, float] = {}  # when it may be asked again, by its endpoint and bucket


class Folder:
    """A directory on any filesystem whose files appear whole or not at all."""

    def __init__(self, uri: str):
        self.uri = absolute(uri)
        self._fs, self._path = open_uri(uri)
        self.is_local = self._fs.type_name == "local"

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file so that no reader ever sees half of it.

        Local files are written beside and renamed; an object store shows an object only when its
        upload is complete. UserError for what the user must fix, such as a full disk.
        """
        path = self._at(name)
        with storage_errors(self.uri):
            if not self.is_local:
                # All at once and without `with`: a stream that an exception closes on its way
                # would make an object of what it has got so far.
                stream = self._fs.open_output_stream(path)
                stream.write(data)
                stream.close()
                return
            local.write(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not be there yet; False where it is. Of many one succeeds."""
        path = self._at(name)
        with storage_errors(self.uri):
            if not self.is_local:
                return exclusive.create(self._fs, self._path, name, data)
            return local.create(path, data)

    def read(self, name: str) -> bytes | None:
        """The file's content, or None where there is none."""
        try:
            with storage_errors(self.uri):
                return read_whole(self._fs, self._at(name))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> pa.NativeFile:
        """A random-access file, for Parquet readers."""
        with storage_errors(self.uri):
            return _open_whole(self._fs, self._at(name))

    def move(self, name: str, to: str) -> bool:
        """Move a file below the same directory; returns whether it was there."""
        old, new = self._at(name), self._at(to)
        with storage_errors(self.uri):
            if self._fs.get_file_info(old).type != pafs.FileType.File:
                return False
            if self.is_local:
                self._fs.create_dir(str(Path(new).parent), recursive=True)
            self._fs.move(old, new)
        return True

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        path = self._at(name)
        with storage_errors(self.uri):
            if self.is_local:
                Path(path).unlink(missing_ok=True)
            else:
                exclusive.delete(self._fs, self._path, name)

    def delete_folder(self, below: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        path = self._at(below)
        with storage_errors(self.uri):
            if self._fs.get_file_info(path).type == pafs.FileType.Directory:
                self._fs.delete_dir(path)

    def delete_empty(self, below: str) -> None:
        """Remove a local folder that holds nothing; a bucket has none."""
        if self.is_local:
            with contextlib.suppress(OSError):
                Path(self._at(below)).rmdir()

    def missing(self) -> list[Path]:
        """The local folders that must be made for it, the deepest first."""
        folders = (Path(self._path), *Path(self._path).parents) if self.is_local else ()
        return [folder for folder in folders if not os.path.exists(folder)]  # noqa: PTH110

    def names(self, below: str = "") -> list[str]:
        """Names of the whole files directly in the folder `below`, sorted.

        Without those that file managers leave in every folder that they show.
        """
        names = (Path(info.path).name for info in self._infos(below) if info.is_file)
        return sorted(filter(_is_ours, names))

    def entries(self) -> list[str]:
        """Names of all files and folders directly in it, but for what `names` omits, sorted."""
        return sorted(filter(_is_ours, (Path(info.path).name for info in self._infos(""))))

    def clean(self, below: str) -> None:
        """Remove what a killed process left half-written in the folder `below`."""
        for info in self._infos(below):
            if info.path.endswith(".partial"):
                self._fs.delete_file(info.path)

    def _infos(self, below: str) -> Iterator[pafs.FileInfo]:
        with storage_errors(self.uri):
            return iter(list_folder(self._fs, self._at(below) if below else self._path))

    def _at(self, name: str) -> str:
        """The path of a file or folder inside it. UserError for a name that leads out of it."""
        try:
            check_name(name)
        except ValueError as error:
            raise UserError(f"{error}: {self.uri}") from None
        return f"{self._path.rstrip('/')}/{name}"


def _is_ours(name: str) -> bool:
    """Whether a name is neither of a half-written file nor of what file managers leave."""
    return not name.endswith(".partial") and not name.startswith(".") and name not in STRANGERS


def open_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    """Filesystem and path for a URI or a local path. UserError for what `check_address` refuses.

    Only gs:// reaches pyarrow's own reading of URIs, which takes options of all kinds. An S3 store
    other than Amazon's is named by AWS_ENDPOINT_URL, on every node; credentials and region come
    from where AWS's own tools look for them.
    """
    try:
        check_address(uri)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not is_uri(uri):
        return pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        return pafs.LocalFileSystem(), unquote(rest).rstrip("/") or "/"
    if scheme == "s3":
        return _open_s3(rest)
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        raise UserError(f"{uri} cannot be opened: {error}") from None
    return filesystem, path.rstrip("/")


def read_whole(filesystem: pafs.FileSystem, path: str, most: int | None = None) -> bytes:
    """A file's content, in one request. FileNotFoundError where there is none.

    most: bytes that it may have; UserError for a larger file.
    """
    with _open_whole(filesystem, path) as file:
        if most is not None and file.size() > most:
            raise UserError(f"a file must have at most {most:,} bytes, got {file.size():,}: {path}")
        return file.read()


def list_folder(
    filesystem: pafs.FileSystem, path: str, *, recursive: bool = False
) -> list[pafs.FileInfo]:
    """What is in a folder; nothing where there is none. See `_open_whole` for empty answers."""
    selector = pafs.FileSelector(path, allow_not_found=True, recursive=recursive)
    infos: list[pafs.FileInfo] = []
    for _ in range(EMPTY_ANSWERS):
        try:
            infos = filesystem.get_file_info(selector)
        except FileNotFoundError:  # it was made while pyarrow looked
            continue
        if infos or filesystem.type_name == "local":
            break
    return infos


def walk(root: str, what: str) -> Iterator[tuple[str, str, int]]:
    """(path below the root, URI, bytes) of every file of a folder tree, sorted by path.

    what: the folder in the words of a message. UserError for one that is not there or cannot be
    read.
    """
    filesystem, base = open_uri(root)
    root = absolute(root).rstrip("/")
    try:
        with storage_errors(root):
            infos = list_folder(filesystem, base, recursive=True)
            if not infos and filesystem.get_file_info(base).type == pafs.FileType.NotFound:
                raise UserError(f"{what} not found: {root}")
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {root}: {error}") from None
    for info in sorted(infos, key=lambda info: info.path):
        if info.is_file:
            below = info.path[len(base) :].strip("/")
            yield below, f"{root}/{quote(below) if '://' in root else below}", info.size


def _open_whole(filesystem: pafs.FileSystem, path: str) -> pa.NativeFile:
    """Open a file for reading. OSError for a pipe or a device, which would be waited for.

    An answer that breaks off in its header has no length, and pyarrow takes that for an empty
    file: what is empty is requested again.
    """
    if filesystem.type_name == "local" and not Path(path).is_file() and Path(path).exists():
        raise OSError(errno.EINVAL, "it is not a regular file")
    for left in reversed(range(EMPTY_ANSWERS)):
        file = filesystem.open_input_file(path)
        if file.size() or filesystem.type_name == "local" or not left:
            break
    return file


def read_ahead(items: Iterable[T], read: Callable[[T], U]) -> Iterator[tuple[T, U]]:
    """(item, what `read` makes of it) in order; a few items ahead are read in threads.

    >>> list(read_ahead("ab", str.upper))
    [('a', 'A'), ('b', 'B')]
    """
    waiting = iter(items)
    with ThreadPoolExecutor(READERS) as pool:
        while some := list(islice(waiting, 4 * READERS)):
            yield from zip(some, pool.map(read, some), strict=True)


def absolute(uri: str) -> str:
    """A local path as every process of this machine understands it; a URI as it is."""
    return uri if is_uri(uri) else str(Path(uri).expanduser().absolute())


def read_text(uri: str, what: str) -> str:
    """A UTF-8 text file. UserError, with the reason, where it cannot be read."""
    filesystem, path = open_uri(uri)
    try:
        with storage_errors(uri):
            data = read_whole(filesystem, path, FILE)
    except FileNotFoundError:
        raise UserError(f"{what} not found: {uri}") from None
    except OSError as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} must be UTF-8 text: {uri}: byte {error.start} is not") from None


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Ask no store again, in this thread, that has just not answered: to clean up after that."""
    _patience.is_gone = True
    try:
        yield
    finally:
        _patience.is_gone = False


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn storage errors that the user must fix into UserError; leave other errors."""
    store = f"{exclusive.endpoint_of_s3()} {'/'.join(uri.split('/')[:3])}" if "://" in uri else ""
    no_answer = f"the storage does not answer: {uri}: the same command goes on when it does"
    if getattr(_patience, "is_gone", False) and time.monotonic() < _silent.get(store, 0.0):
        raise UserError(no_answer)
    try:
        yield
    except OSError as error:
        reason = _reason(str(error))
        if store and any(mark in str(error) for mark in SILENT):
            _silent[store] = time.monotonic() + SILENT_S
            raise UserError(no_answer) from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {uri} is full: free some space, and the same command goes on"
            ) from None
        if reason is not None:
            raise UserError(f"{reason}: {uri}") from None
        raise


def _reason(text: str) -> str | None:
    """The reason to show for a storage error that no retry fixes; None for other errors."""
    for marks, reason in REFUSALS.items():
        if any(mark in text for mark in marks):
            return reason
    return None


def _open_s3(where: str) -> tuple[pafs.FileSystem, str]:
    """where: BUCKET/KEY, checked."""
    return _s3(where.partition("/")[0], exclusive.endpoint_of_s3()), unquote(where).rstrip("/")


@lru_cache(maxsize=16)
def _s3(bucket: str, endpoint: str | None) -> pafs.S3FileSystem:
    """A client that rides out broken connections and busy servers for 7 to 15 seconds."""
    region = None
    if not endpoint:
        with contextlib.suppress(OSError):  # no such bucket or no network: first use reports it
            region = pafs.resolve_s3_region(bucket)
    return pafs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS),
        connect_timeout=10,
        request_timeout=60,
        allow_delayed_open=True,  # one request for a small object, which appears whole
    )
