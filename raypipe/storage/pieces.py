"""A large file of which only some pieces are fetched, as one file for a reader of Parquet."""

import io


class Pieces(io.RawIOBase):
    """A file of which some pieces are in memory: those that will be read."""

    def __init__(self, pieces: list[tuple[int, memoryview]], size: int):
        super().__init__()
        self._pieces, self._size, self._at = pieces, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Bytes from here; ValueError outside of the pieces."""
        size = self._size - self._at if size < 0 else min(size, self._size - self._at)
        data = bytes(bytes_of(self._pieces, self._at, size))
        if len(data) != size:
            raise ValueError(f"bytes {self._at} to {self._at + size} were not asked for")
        self._at += size
        return data


def bytes_of(pieces: list[tuple[int, memoryview]], start: int, size: int) -> memoryview:
    """The bytes of the piece that holds this range; fewer where none does."""
    for first, data in pieces:
        if first <= start and start + size <= first + len(data):
            return data[start - first : start - first + size]
    return memoryview(b"")
