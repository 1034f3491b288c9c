"""A run directory: what was asked, what is there, what is missing, and when it is finished."""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from raypipe import schema
from raypipe.config import changes, dump
from raypipe.core.ids import content_hash
from raypipe.errors import UserError
from raypipe.files import Folder, open_uri, read_whole
from raypipe.settings import Consistency

EXTENDABLE = {"models", "prompts", "seeds", "comparisons", "encoder"}
"""Keys under which a later config may ask for more; a further encoder comes behind the first."""

GROUP = 2_000
"""Samples in a row group of the plan: what one task of the cluster reads at a time."""

FREE = {"pools", "output", "report", "prompt_column"}
"""Keys that change no picture and no number."""


class Run:
    """A run directory at a path or URI, and the rules for going on with one."""

    def __init__(self, uri: str):
        self.folder = Folder(uri)
        self.uri = self.folder.uri

    def is_finished(self, config: Consistency) -> bool:
        """Whether the manifest says that exactly this config is complete."""
        manifest = self.manifest()
        return manifest is not None and manifest["config_hash"] == config_hash(config)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None while the run is not complete."""
        try:
            data = self.folder.read("manifest.json")
            manifest = None if data is None else json.loads(data)
        except OSError as error:
            raise UserError(f"output cannot be used: {self.uri}: {error}") from None
        except ValueError:
            return None  # not ours: `check` tells
        return manifest if isinstance(manifest, dict) and "config_hash" in manifest else None

    def check(self, config: Consistency) -> None:
        """Refuse a config that changes a setting of what is there, naming the keys."""
        try:
            stored, names = self.folder.read("config.yaml"), self.folder.entries()
        except OSError as error:
            raise UserError(f"output cannot be used: {self.uri}: {error}") from None
        if stored is None and not names:
            return
        before, after = _run_config(stored), config.model_dump(mode="json")
        if before is None:
            raise UserError(
                f"the output directory must be empty or a run's, but {self.uri} holds "
                f"{', '.join(names[:5])}"
            )
        kept = EXTENDABLE | FREE
        keys = changes(
            {key: value for key, value in before.items() if key not in kept},
            {key: value for key, value in after.items() if key not in kept},
        )
        if after["encoder"][: len(before["encoder"])] != before["encoder"]:
            keys.append("encoder")
        models = {model["name"]: model for model in after["models"]}
        for model in before["models"]:
            if model["name"] in models:
                keys += changes(model, models[model["name"]], f"models.{model['name']}.")
        if keys:
            raise UserError(
                f"a run keeps its settings, but this config changes {', '.join(keys)} "
                f"of {self.uri}; choose another output"
            )

    def check_encoders(self, encoders: dict[str, Any]) -> None:
        """Refuse an encoder whose weights are not those that its stored vectors came from."""
        known = json.loads(self.folder.read("encoders.json") or b"{}")
        for name, identity in encoders.items():
            if known.get(name, identity) != identity:
                raise UserError(
                    f"the weights of encoder {name} are not those that {self.uri} was begun with; "
                    "choose another output"
                )

    def begin(self, config: Consistency, encoders: dict[str, Any]) -> None:
        """Write what was asked for. UserError where the directory cannot be written.

        encoders: per name, which weights it has.
        """
        try:
            self.folder.delete("manifest.json")
            self.folder.write("config.yaml", dump(config).encode())
            self.folder.write("encoders.json", json.dumps(encoders, indent=1).encode())
        except OSError as error:
            raise UserError(f"output cannot be written: {self.uri}: {error}") from None

    def samples(self) -> pa.Table:
        """Every sample that was planned (schema.SAMPLES), in order."""
        parts = [
            pq.read_table(self.folder.open(f"samples/{name}"), schema=schema.SAMPLES)
            for name in self.folder.names("samples")
        ]
        return pa.concat_tables(parts) if parts else schema.SAMPLES.empty_table()

    def plan_groups(self, columns: list[str]) -> Iterator[tuple[str, int, pa.Table]]:
        """Some columns of the plan, a few thousand samples of whole batches at a time.

        With the file and row group that they stand in, as `plan_batches` takes them.
        """
        for name in self.folder.names("samples"):
            file = pq.ParquetFile(self.folder.open(f"samples/{name}"))
            for group in range(file.num_row_groups):
                yield name, group, file.read_row_group(group, columns=columns)

    def new_samples(self, wanted: pa.Table) -> pa.Table:
        """Those of the wanted samples (schema.PLANNED) that were not planned before.

        UserError if the run holds a sample that is no longer wanted: the config asks for less than
        there is, or the weights behind a name have changed.
        """
        planned = self.samples()
        dropped = planned.filter(pc.invert(pc.is_in(_keys(planned), _keys(wanted))))
        if len(dropped):
            raise UserError(self._why_dropped(planned, wanted, dropped))
        return wanted.filter(pc.invert(pc.is_in(_keys(wanted), _keys(planned))))

    def next_part(self) -> int:
        """Number of the next part of the plan: one for the start and one for each extension."""
        return len(self.folder.names("samples"))

    def add_samples(self, samples: pa.Table, part: int) -> None:
        """Write a part of the plan; from here on it is fixed which samples share a batch."""
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, schema.SAMPLES, compression="zstd") as writer:
            for group in _groups(samples):
                writer.write_table(group, row_group_size=len(group))
        self.folder.write(f"samples/{part:04d}.parquet", sink.getvalue())

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as one Parquet file that appears whole or not at all."""
        write_table(self.folder, name, table)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, last of all: its existence means that the run is complete.

        Encoded texts have served their purpose: one of PixArt's is as large as its picture.
        """
        self.folder.delete_folder("texts")
        for below in ("", "samples", "images", "embeddings", "metrics"):
            self.folder.clean(below)
        text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False)
        self.folder.write("manifest.json", text.encode())

    def _why_dropped(self, planned: pa.Table, wanted: pa.Table, dropped: pa.Table) -> str:
        """One clear reason why planned samples are wanted no more."""
        for column, what in (("model", "models"), ("prompt", "prompts"), ("seed", "seeds")):
            gone = set(planned[column].unique().to_pylist())
            gone -= set(wanted[column].unique().to_pylist())
            if gone:
                named = ", ".join(str(item)[:60] for item in sorted(gone)[:3])
                return (
                    f"a run can be extended, not cut: {self.uri} holds {what} that this config "
                    f"does not ask for: {named}{' ...' if len(gone) > 3 else ''}"
                )
        names = sorted(dropped["model"].unique().to_pylist())
        return (
            f"the weights or images of {', '.join(names)} are not those that {self.uri} was begun "
            "with; choose another output"
        )


def plan_batches(uri: str, name: str, group: int, wanted: frozenset[str]) -> Iterator[pa.Table]:
    """The wanted batches of one row group of a run's plan, one table each, in order."""
    file = pq.ParquetFile(Folder(uri).open(f"samples/{name}"))
    for batch_id, batch in split_batches(file.read_row_group(group)):
        if batch_id in wanted:
            yield batch


def split_batches(samples: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """(batch_id, its rows), in order; a batch's rows are neighbours."""
    ids = samples["batch_id"].to_pylist()
    edges = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
    for start, end in pairwise([*edges, len(ids)]):
        yield ids[start], samples.slice(start, end - start)


def _groups(samples: pa.Table) -> Iterator[pa.Table]:
    """Slices of whole batches, of GROUP samples or a little more."""
    start = 0
    while start < len(samples):
        end = min(start + GROUP, len(samples))
        ids = samples["batch_id"]
        while end < len(samples) and ids[end] == ids[end - 1]:
            end += 1
        yield samples.slice(start, end - start)
        start = end


def _keys(samples: pa.Table) -> pa.ChunkedArray:
    """What tells samples of a run apart: two models may send the same text to the same weights."""
    return pc.binary_join_element_wise(samples["model"], samples["sample_id"], "/")


def _run_config(stored: bytes | None) -> dict[str, Any] | None:
    """The config of a run from its file; None where the file is not a run's."""
    try:
        config = yaml.safe_load(stored or b"")
    except (yaml.YAMLError, ValueError):
        return None
    ours = isinstance(config, dict) and isinstance(config.get("models"), list)
    return config if ours and "encoder" in config else None


def write_table(folder: Folder, name: str, table: pa.Table) -> None:
    """Write a table as one Parquet file of `folder`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    folder.write(name, sink.getvalue())


def config_hash(config: Consistency) -> str:
    """Hash of a config and of the prompt and seed files that it names."""
    tree = config.model_dump(mode="json", exclude={"pools", "output"})
    for key in ("prompts", "seeds"):
        if isinstance(tree[key], str):
            tree[key] = _file_hash(tree[key], key)
    return content_hash(tree)


def _file_hash(uri: str, key: str) -> str:
    filesystem, path = open_uri(uri)
    try:
        return hashlib.sha256(read_whole(filesystem, path)).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{key} file not found: {uri}") from None
    except OSError as error:
        raise UserError(f"{key} file cannot be read: {uri}: {error}") from None
