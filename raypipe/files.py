"""Files by path or URI (local, s3://, gs://), through pyarrow's filesystems."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from raypipe.errors import UserError


class Folder:
    """A directory on any filesystem whose files appear whole or not at all."""

    def __init__(self, uri: str):
        self.uri = uri
        self._fs, self._path = open_uri(uri)

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file so that no reader ever sees half of it.

        Local files are written beside and renamed; an object store shows an object only when its
        upload is complete.
        """
        path = f"{self._path}/{name}"
        if self._fs.type_name != "local":
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
            return
        self._fs.create_dir(str(Path(path).parent), recursive=True)
        partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"
        with self._fs.open_output_stream(partial) as stream:
            stream.write(data)
        self._fs.move(partial, path)

    def read(self, name: str) -> bytes | None:
        """The file's content, or None where there is none."""
        try:
            with self._fs.open_input_stream(f"{self._path}/{name}", compression=None) as stream:
                return stream.readall()
        except FileNotFoundError:
            return None

    def open(self, name: str) -> pa.NativeFile:
        """A random-access file, for Parquet readers."""
        return self._fs.open_input_file(f"{self._path}/{name}")

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        if self._fs.get_file_info(f"{self._path}/{name}").type != pafs.FileType.NotFound:
            self._fs.delete_file(f"{self._path}/{name}")

    def delete_folder(self, below: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        path = f"{self._path}/{below}"
        if self._fs.get_file_info(path).type == pafs.FileType.Directory:
            self._fs.delete_dir(path)

    def names(self, below: str = "") -> list[str]:
        """Names of the whole files directly in the folder `below`, sorted."""
        return sorted(
            Path(info.path).name
            for info in self._infos(below)
            if info.is_file and not info.path.endswith(".partial")
        )

    def entries(self) -> list[str]:
        """Names of all files and folders directly in it, but for half-written files, sorted."""
        paths = [Path(info.path) for info in self._infos("")]
        return sorted(path.name for path in paths if path.suffix != ".partial")

    def clean(self, below: str) -> None:
        """Remove what a killed process left half-written in the folder `below`."""
        for info in self._infos(below):
            if info.path.endswith(".partial"):
                self._fs.delete_file(info.path)

    def _infos(self, below: str) -> Iterator[pafs.FileInfo]:
        path = f"{self._path}/{below}".rstrip("/")
        return iter(self._fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)))


def open_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    """Filesystem and path for a URI or a local path. UserError for an unknown scheme."""
    try:
        if "://" in uri:
            filesystem, path = pafs.FileSystem.from_uri(uri)
        else:
            filesystem, path = pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    except (ValueError, OSError) as error:
        raise UserError(
            f"a path or an s3:// or gs:// URI was expected, got {uri}: {error}"
        ) from None
    return filesystem, path.rstrip("/")


def read_text(uri: str, what: str) -> str:
    """A UTF-8 text file, or a UserError that says what was wrong with it."""
    filesystem, path = open_uri(uri)
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            data = stream.readall()
    except FileNotFoundError:
        raise UserError(f"{what} not found: {uri}") from None
    except OSError as error:
        raise UserError(f"{what} cannot be read: {uri}: {error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} must be UTF-8 text: {uri}: byte {error.start} is not") from None
