"""Standard output and error that no reader and no terminal can break."""

import codecs
import errno
import io
import os
import sys
from typing import IO, Any

PLAIN = {
    "×": "x",
    "→": "->",
    "←": "<-",
    "…": "...",
    "·": "*",
    "−": "-",
    "–": "-",
    "—": "-",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "█": "#",
    "░": ".",
    "“": '"',
    "”": '"',
    "’": "'",
    "‘": "'",
}
"""What a terminal without these characters shows in their place; others as an escape."""

REFUSED = frozenset({errno.EPIPE, errno.EIO})
"""What a pipe without a reader and a terminal that is gone answer. A full disk loses results."""

ERRORS = "raypipe-plain"
"""Name of the error handler that does so."""


def mend() -> None:
    """Make standard output and error of this process unbreakable.

    A character that the terminal cannot show is shown plainly. Where nobody reads any more
    (`raypipe ... | head -1`), what is written is dropped, and the work goes on. Streams that
    somebody has put in the place of Python's own are left as they are.
    """
    codecs.register_error(ERRORS, _plain)
    sys.stdout = _mended(sys.stdout, sys.__stdout__, REFUSED)
    sys.stderr = _mended(sys.stderr, sys.__stderr__, None)


def _mended(stream: Any, own: IO[str] | None, unread: frozenset[int] | None) -> Any:
    """The stream, whose errors in `unread` (None: all of them) mean that nobody reads it."""
    if stream is None or stream is not own or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(stream.fileno(), unread)),
        encoding=stream.encoding,
        errors=ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Raw(io.FileIO):
    """Bytes that are dropped from the first error on, which is raised where it matters."""

    def __init__(self, fd: int, unread: frozenset[int] | None):
        super().__init__(fd, "wb", closefd=False)
        self._unread = unread

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            if self._unread is None or error.errno in self._unread:
                return len(data)
            raise


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first = error.object[error.start]
    if first in PLAIN:
        return PLAIN[first], error.start + 1
    one = UnicodeEncodeError(
        error.encoding, error.object, error.start, error.start + 1, error.reason
    )
    return codecs.backslashreplace_errors(one)
