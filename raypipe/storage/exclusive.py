"""Objects that only one of several writers can create: a conditional write, which pyarrow lacks.

S3 and Google Cloud Storage answer the second creation of an object with an error, where they are
asked to. A store that is not Amazon's may ignore the question, so it is tried first.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from raypipe.console import message

_known: dict[tuple[str, str, str | None], bool] = {}
"""Whether a storage decides between two writers, by kind, bucket and endpoint."""

PROBE = "claims/probe-"
"""Where a run's storage is tried; the object is deleted at once."""


def create(filesystem: pafs.FileSystem, root: str, name: str, data: bytes) -> bool:
    """Write an object of the folder `root` that must not be there yet; False where it is.

    root: bucket and key of a run directory. Where the storage cannot decide between two writers,
    which is told once, an object that is there is left alone all the same.
    """
    path = f"{root}/{name}"
    if _honours(filesystem, root):
        return _put(filesystem, path, data)
    if filesystem.get_file_info(path).type != pafs.FileType.NotFound:
        return False
    stream = filesystem.open_output_stream(path)
    stream.write(data)
    stream.close()
    return True


def delete(filesystem: pafs.FileSystem, root: str, name: str) -> None:
    """Remove an object of the folder `root` if it is there.

    pyarrow would leave an empty object in the name of a folder behind the last one.
    """
    path = f"{root}/{name}"
    if _honours(filesystem, root):
        _delete(filesystem, path)
    elif filesystem.get_file_info(path).type != pafs.FileType.NotFound:
        filesystem.delete_file(path)


def _honours(filesystem: pafs.FileSystem, root: str) -> bool:
    """Whether of two creations of one object the second fails; tried once a process."""
    storage = (filesystem.type_name, root.partition("/")[0], endpoint_of_s3())
    if storage in _known:
        return _known[storage]
    path, reason = f"{root}/{PROBE}{uuid.uuid4().hex}", None
    try:
        if _put(filesystem, path, b"first") and _put(filesystem, path, b"second"):
            reason = "it lets a second writer replace what a first one has created"
        _delete(filesystem, path)
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
    if reason is not None:
        message(
            f"warning: this storage cannot tell two drivers apart, so never start a second one on "
            f"{root}: {reason}"
        )
    _known[storage] = reason is None
    return _known[storage]


def _put(filesystem: pafs.FileSystem, path: str, data: bytes) -> bool:
    """One conditional write. A write whose answer was lost finds its own bytes there."""
    import obstore

    store, key = _store_of(filesystem, path)
    with _as_os_error():
        try:
            obstore.put(store, key, data, mode="create")
        except obstore.exceptions.AlreadyExistsError:
            return bool(obstore.get(store, key).bytes() == data)
    return True


def _delete(filesystem: pafs.FileSystem, path: str) -> None:
    import obstore

    store, key = _store_of(filesystem, path)
    with _as_os_error(), contextlib.suppress(FileNotFoundError):  # Google's store says so
        obstore.delete(store, key)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """obstore's errors as pyarrow words its own (see `raypipe.storage.files.REFUSALS`)."""
    import obstore

    try:
        yield
    except (obstore.exceptions.BaseError, FileNotFoundError) as error:
        code = re.search(r"<Code>(\w+)</Code>", str(error))
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code[1]).upper() if code else ""
        raise OSError(f"{name} {str(error).splitlines()[0]}".strip()) from None


def _store_of(filesystem: pafs.FileSystem, path: str) -> tuple[Any, str]:
    bucket, _, key = path.partition("/")
    region = getattr(filesystem, "region", None)
    return _store(filesystem.type_name, bucket, region, endpoint_of_s3()), key


@lru_cache(maxsize=16)
def _store(kind: str, bucket: str, region: str | None, endpoint: str | None) -> Any:
    """obstore's client for the bucket that pyarrow reads, by the same variables."""
    from obstore.store import GCSStore, S3Store

    patient: dict[str, Any] = {
        "retry_config": {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
    }
    waits = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(seconds=60)}
    if kind == "gcs":
        return GCSStore(bucket, client_options=waits, **patient)
    if endpoint:
        patient |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    if "AWS_ACCESS_KEY_ID" not in os.environ and _has_profile():
        from obstore.auth.boto3 import Boto3CredentialProvider  # reads profiles; obstore does not

        patient["credential_provider"] = Boto3CredentialProvider()
    return S3Store(
        bucket,
        region=region,
        client_options={"allow_http": True, **waits},
        **patient,
    )


def endpoint_of_s3() -> str | None:
    """The S3 store to use, where it is not Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _has_profile() -> bool:
    """Whether credentials come from a file of profiles, as AWS's own tools look for them."""
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    return "AWS_PROFILE" in os.environ or Path(file).expanduser().exists()
