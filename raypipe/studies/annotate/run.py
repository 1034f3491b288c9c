"""The run directory of jobs/annotate.py."""

from collections.abc import Iterator
from pathlib import Path

from raypipe.errors import UserError
from raypipe.storage.directory import RunDirectory

PACKAGES = ("aiohttp", "pyarrow")

ANSWERS, KEYS = "answers.sqlite", "keys.json"


class AnswerRun(RunDirectory):
    """A local directory that collects answers; each start continues where the last one stopped."""

    does = "collects answers"

    @classmethod
    def check_output(cls, uri: str) -> None:
        """UserError for a bucket, which cannot hold a database."""
        if "://" in uri:
            raise UserError(f"answers are collected on a local disk, got output {uri}")

    def __init__(self, uri: str):
        super().__init__(uri)
        self.path = Path(self.uri)

    def kept_files(self) -> Iterator[tuple[str, bytes]]:
        """Without the database and the keys, which the next start goes on with."""
        for name, data in super().kept_files():
            if name.endswith((".parquet", ".csv", ".yaml")):
                yield name, data
