"""Where the paths of a config point, and which configs and lists come with the package.

A relative path in a config file is relative to that file; on the command line, and in the configs
that come with the package, to the working directory. Lists of prompts and seeds that come with the
package are found by name from anywhere.
"""

import difflib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from raypipe.config.values import check_text
from raypipe.core.address import check_address
from raypipe.errors import UserError

PACKAGE = Path(__file__).parents[1]


def shipped() -> Path:
    """The configs that come with raypipe: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parent / "configs"


class Typed(str):
    """Text from the command line: a path in it is relative to the working directory."""

    __slots__ = ()


def typed(value: Any) -> Any:
    """A parsed override with all its text marked as typed."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return Typed(value) if isinstance(value, str) else value


def find_config(job: str, name: str) -> Path:
    """A config by path, or else by the name of one that comes with raypipe (`miniature`).

    UserError, listing the known names, where there is none.
    """
    try:
        check_text(name, allowed="")
        path = _expanded(name)
    except ValueError as error:
        raise UserError(f"config file not found: {name[:200]!r}: {error}") from None
    if _exists(str(path)):
        return path
    folder = shipped() / job
    known = sorted(config.stem for config in folder.glob("*.yaml"))
    if name.removesuffix(".yaml") in known:
        return folder / f"{name.removesuffix('.yaml')}.yaml"
    inside = shipped() / name.removeprefix("configs/")
    if inside.suffix == ".yaml" and inside.is_file():
        return inside
    near = difflib.get_close_matches(name.removesuffix(".yaml"), known, n=1)
    if near:
        raise UserError(f"config file not found: {name}; did you mean {near[0]}?")
    ours = f"; those that come with raypipe are {', '.join(known)}" if known else ""
    raise UserError(f"config file not found: {name}{ours}")


def working_directory() -> Path:
    """Where relative paths begin.

    That of a submitted job may be gone before the job has ended, when no path is relative any more:
    then a place where nothing is.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/nonexistent")


def base_of(config: Path) -> Path:
    """What the relative paths of a config file are relative to."""
    path = config.absolute().resolve()
    is_shipped = path.is_relative_to(shipped().resolve()) or (
        path.parent.parent.name == "configs" and (path.parent.parent.parent / "raypipe").is_dir()
    )  # of the installed raypipe, or of a checkout, such as the copy that a submitted job gets
    return Path() if is_shipped else config.parent


def _place(value: Any, info: ValidationInfo) -> Any:
    """The path as this process understands it; URIs and absolute paths stay what they are.

    ValueError for a URI that is not taken, or a path with control characters.
    """
    if not isinstance(value, str) or not value:
        return value
    check_text(value, allowed="")
    if max(len(part.encode()) for part in value.split("/")) > 255 or len(value.encode()) > 4000:
        raise ValueError("a path has at most 4,000 bytes, and 255 between two slashes")
    if value.startswith("~"):
        _expanded(value)
    if info.context is None:
        return value
    check_address(value)
    if "://" in value or value.startswith(("/", "~")) or isinstance(value, Typed):
        return value
    return str(info.context["base"] / value)


def _place_id(value: Any, info: ValidationInfo) -> Any:
    """An id is a path where it begins with a point or such a path exists."""
    placed = _place(value, info)
    is_path = isinstance(value, str) and (value.startswith(".") or _exists(placed))
    return placed if is_path else value


def _place_list(value: Any, info: ValidationInfo) -> Any:
    """A file of prompts or seeds, which may be one that comes with raypipe."""
    placed = _place(value, info)
    if not isinstance(value, str) or not info.context or "://" in value or _exists(placed):
        return placed
    name = value.removeprefix("configs/")
    for found in (
        shipped() / name,
        shipped() / "prompts" / name,
        shipped() / f"prompts/{name}.txt",
    ):
        if _exists(str(found)) and found.is_file():
            return str(found)
    return placed


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, with a NUL byte, of no user
        return False


def _expanded(path: str) -> Path:
    """A path with its `~` replaced. ValueError for the home of a user who is not there."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError("there is no such user's home directory") from None


def _is_own(value: str) -> str:
    """ValueError for an output that cannot be a run's own directory: what lies there is others'."""
    if not value.strip():
        raise ValueError("must name a directory of the run's own")
    scheme, is_uri, rest = value.partition("://")
    if is_uri and scheme != "file":
        if len([part for part in rest.split("/") if part]) < 2:
            raise ValueError("must be a directory inside a bucket, as s3://BUCKET/RUN")
        return value
    place = Path(os.path.realpath(_expanded(rest if is_uri else value)))
    shared = [Path.home(), *map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"))]
    if any(Path(os.path.realpath(other)).is_relative_to(place) for other in shared):
        raise ValueError("must be a directory of the run's own, neither /, a home nor /tmp itself")
    return value


FilePath = Annotated[str, BeforeValidator(_place)]
"""A path or URI of a file, folder or run."""

OutputPath = Annotated[str, BeforeValidator(_place), AfterValidator(_is_own)]
"""A path or URI of a directory that the job writes, and that holds nothing else."""

WeightsId = Annotated[str, BeforeValidator(_place_id)]
"""An id of weights: a path, a URI, or a name on a hub or in a library."""

ListPath = Annotated[str, BeforeValidator(_place_list)]
"""A file that holds a list of prompts or seeds."""
