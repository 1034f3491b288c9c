"""Weights reach a node once: one process fetches them, and all others wait and load the same files.

The cache (RAYPIPE_CACHE, by default ~/.cache/raypipe) holds, for each thing fetched, a lock, a
marker, and for a bucket the files themselves; what comes from a hub lies in the hub's own cache.
The marker is written last: without it nothing counts as fetched, with it no hub is
asked. A bucket is listed every time, so that replaced weights are fetched again.
"""

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from raypipe.core.limits import parse_json
from raypipe.errors import UserError
from raypipe.storage.files import read_text
from raypipe.weights import bucket, hub
from raypipe.weights.locate import is_local, locate
from raypipe.weights.pipeline_files import pipeline_files
from raypipe.weights.retry import TransientError, UnreachableError, retry
from raypipe.weights.trust import INDEX, check_index


def fetch(
    identifier: str, revision: str | None = None, *, what: str, files: Sequence[str] | None = None
) -> str:
    """The local path of weights: a local path itself, or what is fetched from a bucket or a hub.

    `identifier` is a path, `miniature/NAME`, a URI of a directory or a file, or a hub id, which
    `revision` goes with. `files` are globs of what is needed (None: everything). `what` names the
    weights in messages. Raises UserError, in one line, for what cannot be fetched.
    """
    where = locate(identifier)
    if "://" in where:
        return retry(lambda: _from_bucket(where, files, what), f"{what} cannot be copied: {where}")
    if is_local(where):
        return where

    def download() -> tuple[Path, list[Path]]:
        snapshot = hub.download(where, revision, files, what)
        return snapshot, hub.matching(snapshot, files)

    return _once(_key(where, revision, files), download)


def fetch_pipeline(identifier: str, revision: str | None, variant: str | None, what: str) -> str:
    """The local directory of a diffusers pipeline, with the files that will be loaded.

    Takes and raises what `fetch` does; a local directory is returned as it is.
    """
    where = locate(identifier)
    if "://" in where:
        failure = f"{what} cannot be listed: {where}"
        names = [f.name for f in retry(lambda: bucket.listing(where, None, what), failure)]
        index = _index(read_text(f"{where.rstrip('/')}/{INDEX}", f"{INDEX} of {what}"), what)
        return fetch(where, what=what, files=_chosen(index, names, variant, where, what))
    if is_local(where):
        return where

    def download() -> tuple[Path, list[Path]]:
        snapshot = hub.download(where, revision, [INDEX], what)
        commit = snapshot.name
        try:
            names = hub.list_files(where, commit, what)
        except UnreachableError:  # the cached files may be enough
            names = [p.relative_to(snapshot).as_posix() for p in hub.matching(snapshot, None)]
        index = _index((snapshot / INDEX).read_text(), what)
        files = _chosen(index, names, variant, where, what)
        snapshot = hub.download(where, commit, files, what)
        return snapshot, hub.matching(snapshot, files)

    return _once(_key(where, revision, "pipeline", variant), download)


def _index(text: str, what: str) -> dict:
    """The content of model_index.json. UserError for what is none, or names other classes."""
    try:
        index = dict(parse_json(text))
    except (ValueError, TypeError) as error:
        raise UserError(f"{what} has no readable {INDEX}: {error}") from None
    check_index(index, what, INDEX)
    return index


def _chosen(index: dict, names: list[str], variant: str | None, where: str, what: str) -> list[str]:
    """Globs of the pipeline's files, each of which matches one name."""
    try:
        return [glob.escape(name) for name in pipeline_files(index, names, variant)]
    except ValueError as error:
        raise UserError(f"{what} cannot be loaded: {error}: {where}") from None


def _from_bucket(uri: str, files: Sequence[str] | None, what: str) -> str:
    """A directory with a bucket's files as they are now. Raises UserError or TransientError."""
    listed = bucket.listing(uri, files, what)
    key = _key(uri, files, [(file.name, file.size, file.modified_ns) for file in listed])

    def download() -> tuple[Path, list[Path]]:
        copies = bucket.copy(uri, listed, _root() / key, what)
        if bucket.listing(uri, files, what) != listed:
            raise TransientError("the files were replaced while they were copied")
        return (_root() / key if listed[0].name else copies[0]), copies

    return _once(key, download)


def _once(key: str, download: Callable[[], tuple[Path, list[Path]]]) -> str:
    """The path that `download` has returned on this node, which it runs where it has not yet.

    `download` returns the path and all its files. Other processes wait for the one that runs it;
    if that one dies, the next takes over.
    """
    marker = _root() / f"{key}.json"
    path = _marked(marker)
    if path is not None:
        return path
    with FileLock(_writable(marker.parent) / f"{key}.lock"):
        path = _marked(marker)
        if path is None:
            whole, files = download()
            path = str(whole)
            partial = marker.with_name(f"{marker.name}.partial")  # only the lock's holder writes it
            partial.write_text(json.dumps({"path": path, "files": [str(file) for file in files]}))
            partial.replace(marker)
        return path


def _marked(marker: Path) -> str | None:
    """The path that a marker names, unless it or its files have been removed since."""
    try:
        entry = json.loads(marker.read_text())
    except (OSError, ValueError):
        return None
    return str(entry["path"]) if all(map(os.path.exists, entry["files"])) else None


def _key(where: str, *parts: object) -> str:
    """A file name for what was asked: the readable end of its id, and a hash."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", where)[-48:].strip("-")
    digest = hashlib.sha256(json.dumps([where, *parts]).encode()).hexdigest()
    return f"{readable}-{digest[:16]}"


def _root() -> Path:
    return Path(os.environ.get("RAYPIPE_CACHE") or "~/.cache/raypipe").expanduser().absolute()


def _writable(folder: Path) -> Path:
    """The folder, made if need be. UserError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    raise UserError(f"the cache for weights must be writable (RAYPIPE_CACHE): {folder}")
