"""manifest.json: the last file of a run, with the digests of the files that it names.

A run's tables of batches have digests of their own (raypipe.storage.parquet). All others that are
read again have theirs here: `digests`, by name, and `digest`, of all else that the manifest says.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from raypipe.storage.damage import DamagedError, parse_json
from raypipe.storage.files import Folder

NAME = "manifest.json"

SIZE = 16
"""Bytes of a digest (BLAKE2b)."""


def digest_of(data: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.blake2b(data, digest_size=SIZE).hexdigest()


def with_digests(manifest: Mapping[str, Any], files: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """A manifest with the digests of these files, and its own."""
    whole = {**manifest, "digests": {name: digest_of(data) for name, data in files}}
    return {**whole, "digest": _own(whole)}


def read(folder: Folder) -> dict[str, Any] | None:
    """A run's manifest; None where there is none. DamagedError for one that has changed."""
    data = folder.read(NAME)
    if data is None:
        return None
    manifest = parse_json(data, folder.uri, NAME)
    is_sealed = "digest" in manifest or "digests" in manifest  # else a run of raypipe 0.1
    if is_sealed and _own(manifest) != manifest.get("digest"):
        raise DamagedError(folder.uri, NAME, "has changed since it was written")
    return manifest


def content(folder: Folder, manifest: Mapping[str, Any], name: str) -> bytes:
    """A file that the manifest names, or one of a run of raypipe 0.1, whose manifest names none.

    DamagedError where it is not there, or has changed.
    """
    data = folder.read(name)
    if data is None:
        raise DamagedError(folder.uri, name, "is missing")
    known = manifest.get("digests", {}).get(name)
    if known is not None and known != digest_of(data):
        raise DamagedError(folder.uri, name, "has changed since it was written")
    return data


def _own(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    plain = json.loads(json.dumps(rest))  # tuples as the lists that are read back
    return digest_of(json.dumps(plain, sort_keys=True).encode())
