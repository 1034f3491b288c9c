"""The secrets of a study, which outlive a restart and never leave the server."""

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from raypipe.errors import UserError

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){16,64}$")]


class _Stored(BaseModel):
    secret: Hex
    """Signs pseudonyms."""
    token: str = Field(min_length=16, max_length=64)
    """Of the link that annotators are sent."""
    sides: Hex | None = None
    """Of orders, sides and names; raypipe 0.1 computed them from public values."""


class Keys:
    """Signs pseudonyms, knows the link's token and the secret of the sides."""

    def __init__(self, path: Path):
        """Read the file, or make it, for the owner's eyes alone. UserError for a damaged one."""
        stored = _read(path)
        self.are_new = stored is None or stored.sides is None
        """Whether orders and sides are not those of an earlier start."""
        if stored is None:
            stored = _Stored(secret=secrets.token_hex(32), token=secrets.token_urlsafe(16))
        if stored.sides is None:
            stored.sides = secrets.token_hex(32)
            _write(path, stored.model_dump_json().encode())
        path.chmod(0o600)
        self._secret = bytes.fromhex(stored.secret)
        self.sides = bytes.fromhex(stored.sides)
        self.token = stored.token
        self.study = hmac.digest(self._secret, b"study", "sha256").hex()[:8]
        """A name for this study in cookies: a browser keeps one jar for all ports of a host."""

    def sign(self, name: str) -> str:
        """`NAME.SIGNATURE`, which proves the pseudonym."""
        digest = hmac.new(self._secret, name.encode(), sha256).hexdigest()[:32]
        return f"{name}.{digest}"

    def name_of(self, signed: str) -> str | None:
        """The pseudonym of a signed name, None for anything else."""
        name = signed.partition(".")[0]
        return name if same(signed, self.sign(name)) else None


def same(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _read(path: Path) -> _Stored | None:
    try:
        return _Stored.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise UserError(
            f"{path} must hold the keys of this study, and cannot be read; with a copy of it, or "
            "without it, the study can go on"
        ) from None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and readable by nobody else at any moment."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(path)
