"""What a run holds and cannot be read: one error for it, which names the file and the rule."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pydantic
import yaml
from safetensors import SafetensorError

from raypipe.core import limits
from raypipe.errors import UserError

UNREADABLE: tuple[type[Exception], ...] = (
    pa.ArrowException,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    SafetensorError,
    StopIteration,
    TypeError,
    ValueError,
    yaml.YAMLError,
)
"""What code that expects a whole file raises over another one."""


class DamagedError(UserError):
    """A file of a run that is not what it should be.

    A file that the run itself can make again is made again (raypipe.storage.mend); of any other
    the message is shown.
    """

    def __init__(self, uri: str, name: str, rule: str):
        super().__init__(uri, name, rule)
        self.uri, self.name, self.rule = uri, name, rule

    def __str__(self) -> str:
        return f"{self.uri}/{self.name} {self.rule}"


@contextlib.contextmanager
def reading(uri: str, name: str, what: str) -> Iterator[None]:
    """Turn whatever a damaged or foreign file makes the block raise into one DamagedError.

    what: it must be, in the words of the message. For what is in memory already: errors of the
    network and the disk are not to be taken for damage.
    """
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        raise DamagedError(uri, name, f"must be {what}: {reason_of(error)}") from None


def reason_of(error: BaseException) -> str:
    """What an exception says, on one line and not too long."""
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    text = " ".join(str(error).split())[:200]
    if isinstance(error, KeyError):
        return f"it has no {text}"
    return text or f"it is not ({type(error).__name__})"


def parse_json(data: bytes, uri: str, name: str) -> dict[str, Any]:
    """The content of a JSON file of a run: an object. DamagedError for anything else."""
    with reading(uri, name, "JSON"):
        content = limits.parse_json(data)
    if not isinstance(content, dict):
        raise DamagedError(uri, name, f"must be a JSON object, got {json.dumps(content)[:80]}")
    return content
