"""A finished run as a job's input: what its manifest says, and the files that it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.errors import UserError
from raypipe.storage import manifest as manifests
from raypipe.storage.damage import parse_json, reading
from raypipe.storage.files import Folder


@dataclass(frozen=True)
class Finished:
    """A finished run of a job that is known."""

    folder: Folder
    manifest: Mapping[str, Any]

    @property
    def job(self) -> str:
        """Which job's run it is."""
        return str(self.manifest["job"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config that made it. UserError where the manifest has none."""
        config = self.manifest.get("config")
        if not isinstance(config, dict):
            raise UserError(f"manifest.json must hold the run's config: {self.folder.uri}")
        return config

    def setting(self, key: str) -> Any:
        """A key of its config. UserError where the config has none."""
        if key not in self.config:
            raise UserError(f"manifest.json must hold the run's {key}: {self.folder.uri}")
        return self.config[key]

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file that the manifest names. DamagedError for one that has changed."""
        data = manifests.content(self.folder, self.manifest, name)
        return parse_json(data, self.folder.uri, name)

    def table(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        """A table that the manifest names. DamagedError for one that has changed, or is another.

        schema: columns that it must have, among others.
        """
        data = manifests.content(self.folder, self.manifest, name)
        with reading(self.folder.uri, name, "a table of its run"):
            table = pq.read_table(pa.BufferReader(data))
            for field in schema or ():
                assert table.schema.field(field.name).type == field.type, f"{field} is another type"
        return table


def finished(uri: str, job: str | Sequence[str], key: str = "run") -> Finished:
    """A finished run of this job, or of one of these. UserError, naming the key, for anything else.

    Another job's run is refused even where it has folders of the same names.
    """
    jobs = [job] if isinstance(job, str) else list(job)
    folder = Folder(uri)
    try:
        manifest = manifests.read(folder)
    except OSError:
        manifest = None
    if manifest is None or manifest.get("job") not in jobs:
        known = " or ".join(f"jobs/{name}.py" for name in jobs)
        raise UserError(f"{key} must be a finished run of {known}, got {uri}")
    return Finished(folder, manifest)
