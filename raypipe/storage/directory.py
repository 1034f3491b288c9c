"""The run directory of every job: when it is finished, which config may continue it, its plan."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from raypipe.config.strict import JobConfig, changes, dump
from raypipe.core.ids import content_hash
from raypipe.errors import UserError
from raypipe.storage.files import Folder, open_uri, read_whole

GROUP = 2_000
"""Rows in a row group of the plan: what one task of the cluster reads at a time."""


class RunDirectory:
    """A run directory at a path or URI, and the rules for continuing one.

    A job with a plan declares its rows: `samples/`, or another folder, holds them, each with its
    `batch_id`.
    """

    plan: ClassVar[pa.Schema]
    plan_folder: ClassVar[str] = "samples"
    folders: ClassVar[tuple[str, ...]] = ("samples", "metrics")
    """Folders below it in which files are written one by one."""

    def __init__(self, uri: str):
        self.folder = Folder(uri)
        self.uri = self.folder.uri

    def is_finished(self, config: JobConfig) -> bool:
        """Whether the manifest marks exactly this config as complete."""
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
            return None  # not ours: `check` reports it
        return manifest if isinstance(manifest, dict) and "config_hash" in manifest else None

    def check(self, config: JobConfig) -> None:
        """Refuse a config that changes a setting of what is there, naming the keys."""
        try:
            stored, names = self.folder.read("config.yaml"), self.folder.entries()
        except OSError as error:
            raise UserError(f"output cannot be used: {self.uri}: {error}") from None
        if stored is None and not names:
            return
        before = _run_config(stored, config)
        if before is None:
            raise UserError(
                f"the output directory must be empty or a run's of this job, but {self.uri} holds "
                f"{', '.join(names[:5])}"
            )
        keys = self.changed_keys(before, config.model_dump(mode="json"), config)
        if keys:
            raise UserError(
                f"a run keeps its settings, but this config changes {', '.join(keys)} "
                f"of {self.uri}; choose another output"
            )

    def changed_keys(
        self, before: dict[str, Any], after: dict[str, Any], config: JobConfig
    ) -> list[str]:
        """Keys that may not change and do."""
        kept = config.extendable | config.free
        return changes(
            {key: value for key, value in before.items() if key not in kept},
            {key: value for key, value in after.items() if key not in kept},
        )

    def begin(self, config: JobConfig, **notes: Any) -> None:
        """Write what was asked for. UserError where the directory cannot be written.

        notes: what is kept beside the config, each as a JSON file of its name.
        """
        try:
            self.folder.delete("manifest.json")
            self.folder.write("config.yaml", dump(config).encode())
            for name, note in notes.items():
                self.folder.write(f"{name}.json", json.dumps(note, indent=1).encode())
        except OSError as error:
            raise UserError(f"output cannot be written: {self.uri}: {error}") from None

    def check_note(self, name: str, found: Mapping[str, Any], what: str) -> None:
        """Refuse weights that are not those that the run was begun with.

        name: of the note (see `begin`) that holds what each was. found: what each is now. what: in
        the words of the message, with {name}.
        """
        known = json.loads(self.folder.read(f"{name}.json") or b"{}")
        for key, identity in found.items():
            if known.get(key, identity) != identity:
                raise UserError(
                    f"the weights of {what.format(name=key)} are not those that {self.uri} was "
                    "begun with; choose another output"
                )

    def check_model(self, found: dict[str, Any]) -> None:
        """Refuse a model whose weights are not those that the run was begun with (model.json)."""
        known = self.folder.read("model.json")
        if known is not None and json.loads(known) != found:
            raise UserError(
                f"the weights of the model are not those that {self.uri} was begun with; choose "
                "another output"
            )

    def compare(self, wanted: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, pa.Table, pa.Table]:
        """(planned, new, dropped): the plan so far, and what differs from the wanted rows.

        keys: columns that identify a row of the plan.
        """
        planned = self.samples()
        here, there = _keys(wanted, keys), _keys(planned, keys)
        new = wanted.filter(pc.invert(pc.is_in(here, there)))
        return planned, new, planned.filter(pc.invert(pc.is_in(there, here)))

    def samples(self) -> pa.Table:
        """Every row of the plan, in order."""
        parts = [
            pq.read_table(self.folder.open(f"{self.plan_folder}/{name}"), schema=self.plan)
            for name in self.folder.names(self.plan_folder)
        ]
        return pa.concat_tables(parts) if parts else self.plan.empty_table()

    def plan_groups(self, columns: list[str]) -> Iterator[tuple[str, int, pa.Table]]:
        """Some columns of the plan, a few thousand rows of whole batches at a time.

        With the file and row group that they stand in, as `plan_batches` takes them.
        """
        for part in self.folder.names(self.plan_folder):
            name = f"{self.plan_folder}/{part}"
            file = pq.ParquetFile(self.folder.open(name))
            for group in range(file.num_row_groups):
                yield name, group, file.read_row_group(group, columns=columns)

    def next_part(self) -> int:
        """Number of the next part of the plan: one for the start and one for each extension."""
        return len(self.folder.names(self.plan_folder))

    def add_samples(self, samples: pa.Table, part: int) -> None:
        """Write a part of the plan; from here on it is fixed which samples share a batch."""
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, self.plan, compression="zstd") as writer:
            for group in _groups(samples):
                writer.write_table(group, row_group_size=len(group))
        self.folder.write(f"{self.plan_folder}/{part:04d}.parquet", sink.getvalue())

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as one Parquet file that appears whole or not at all."""
        write_table(self.folder, name, table)

    def write_json(self, name: str, content: Any) -> None:
        """Write strict JSON: there is no NaN in it."""
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
        self.folder.write(name, text.encode())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, last of all: its existence means that the run is complete."""
        for below in ("", *self.folders):
            self.folder.clean(below)
        self.write_json("manifest.json", manifest)


def batch_numbers(groups: np.ndarray, size: int | np.ndarray) -> np.ndarray:
    """Number of each row's batch: neighbours of one group, at most `size` of them.

    groups: (N,) what must not differ inside a batch. size: rows of a batch, or (N,) of each row's.

    >>> batch_numbers(np.array(["a", "a", "a", "b"]), 2).tolist()
    [0, 0, 1, 2]
    """
    rows = np.arange(len(groups))
    is_first = np.r_[True, groups[1:] != groups[:-1]][: len(groups)]
    first_of_group = np.maximum.accumulate(np.where(is_first, rows, 0))
    return np.cumsum((rows - first_of_group) % size == 0) - 1


def plan_batches(uri: str, name: str, group: int, wanted: frozenset[str]) -> Iterator[pa.Table]:
    """The wanted batches of one row group of a run's plan, one table each, in order."""
    file = pq.ParquetFile(Folder(uri).open(name))
    for batch_id, batch in split_batches(file.read_row_group(group)):
        if batch_id in wanted:
            yield batch


def split_batches(samples: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """(batch_id, its rows), in order; a batch's rows are neighbours."""
    ids = samples["batch_id"].to_pylist()
    edges = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
    for start, end in pairwise([*edges, len(ids)]):
        yield ids[start], samples.slice(start, end - start)


def _keys(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in names), "\n")


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


def _run_config(stored: bytes | None, config: JobConfig) -> dict[str, Any] | None:
    """The config of a run of this job from its file; None where the file is not one."""
    try:
        tree = yaml.safe_load(stored or b"")
    except (yaml.YAMLError, ValueError):
        return None
    if not isinstance(tree, dict) or "output" not in tree:
        return None
    return tree if tree.keys() <= type(config).model_fields.keys() else None


def write_table(folder: Folder, name: str, table: pa.Table) -> None:
    """Write a table as one Parquet file of `folder`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    folder.write(name, sink.getvalue())


def config_hash(config: JobConfig) -> str:
    """Hash of what a config asks for, and of the lists in files that it names."""
    tree = config.model_dump(mode="json", exclude={"pools", "output", "rates"})
    for key in config.lists:
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
