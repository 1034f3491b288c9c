"""Whether the buckets of a config answer at all, which is asked once, before anything else is.

The clients of a run ride out minutes without an answer, and some of them cannot be interrupted.
So the first request is made by a process of its own, which ends after ANSWER_S whatever it does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow.fs as pafs

from raypipe.errors import UserError
from raypipe.storage.exclusive import endpoint_of_s3

ANSWER_S = 8.0
"""How long a bucket may take to answer, whatever the answer is."""

MOST = 16
"""Buckets that are asked."""

NO_ANSWER = ("NETWORK_CONNECTION", "curlCode", "resolve host", "onnection refused", "timed out")
"""In the message of an error that is no answer; all others a store has given."""


def check_answers(tree: Any) -> None:
    """UserError for a bucket in a config's plain tree from which no answer comes."""
    buckets = list(dict.fromkeys(_buckets(tree)))[:MOST]
    if not buckets:
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    asked = [
        subprocess.Popen(
            [sys.executable, "-m", "raypipe.storage.reach", bucket],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for bucket in buckets
    ]  # fmt: skip
    deadline = time.monotonic() + ANSWER_S
    try:
        for bucket, process in zip(buckets, asked, strict=True):
            try:
                _, told = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise UserError(f"no answer from {bucket} within {ANSWER_S:g} seconds") from None
            if process.returncode == 3:
                raise UserError(f"no answer from {bucket}: {told.strip()[-300:]}")
    finally:
        for process in asked:
            process.kill()
            process.wait()


def _buckets(tree: Any) -> Iterator[str]:
    """Buckets, as s3://BUCKET, of all URIs among a tree's texts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for item in tree:
            yield from _buckets(item)
    elif isinstance(tree, str) and tree.startswith(("s3://", "gs://")):
        scheme, _, rest = tree.partition("://")
        bucket = rest.partition("/")[0]
        if bucket and "@" not in bucket and "?" not in rest:  # others are refused as they are
            yield f"{scheme}://{bucket}"


def _ask(uri: str) -> None:
    """One request. OSError where it fails, which may be an answer too."""
    scheme, _, bucket = uri.partition("://")
    if scheme == "gs":
        pafs.GcsFileSystem(retry_time_limit=timedelta(seconds=ANSWER_S)).get_file_info(bucket)
        return
    endpoint = endpoint_of_s3()
    pafs.S3FileSystem(
        endpoint_override=endpoint,
        region=None if endpoint else "us-east-1",  # another region's answer is one
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=2),
        connect_timeout=3,
        request_timeout=ANSWER_S,
    ).get_file_info(bucket)


if __name__ == "__main__":
    try:
        _ask(sys.argv[1])
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        if any(mark in text for mark in NO_ANSWER):
            print(text[-300:], file=sys.stderr)
            os._exit(3)
    os._exit(0)  # the libraries' own farewell may wait for requests
