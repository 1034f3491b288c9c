"""The run directory of every job: when it is finished, which config may continue it, its plan."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from raypipe.config.strict import JobConfig, changes, dump
from raypipe.core.address import ID, LONGEST
from raypipe.core.ids import content_hash
from raypipe.errors import UserError
from raypipe.storage import claims, parquet, plans, starts
from raypipe.storage import manifest as manifests
from raypipe.storage.damage import DamagedError, parse_json, reading
from raypipe.storage.files import Folder, open_uri, read_whole

GROUP = 2_000
"""Rows in a row group of the plan: what one task of the cluster reads at a time."""


PART = re.compile(r"[0-9]{4,}\.parquet")
"""Names of the parts of a plan; what else lies in its folder is not ours."""


@dataclass(frozen=True)
class BatchFile:
    """A file that the plan of a run asks for."""

    name: str
    """Below the run directory."""
    check: Callable[[parquet.ParquetFile], None]
    """Raises DamagedError unless its content is that of its batch."""


class RunDirectory:
    """A run directory at a path or URI, and the rules for continuing one.

    A job with a plan declares its rows: `samples/`, or another folder, holds them, each with its
    `batch_id`.
    """

    plan: ClassVar[pa.Schema]
    plan_folder: ClassVar[str] = "samples"
    plan_folders: ClassVar[tuple[str, ...]] = ("samples",)
    """Folders that hold plans before anything is made."""
    keys: ClassVar[tuple[str, ...]] = ()
    """Columns of the plan that no two rows share."""
    does: ClassVar[str] = "works on a run"
    """What one process does with it at a time."""
    folders: ClassVar[tuple[str, ...]] = ("samples", "metrics")
    """Folders below it in which files are written one by one."""
    made: ClassVar[tuple[str, ...]] = ()
    """Those whose files are made of the plan, and are made again where they are damaged."""
    kept: ClassVar[tuple[str, ...]] = ("", "model")
    """Those whose files the manifest names, with their digests."""

    @classmethod
    def check_output(cls, uri: str) -> None:
        """UserError for an output that this job cannot have."""

    def __init__(self, uri: str):
        self.folder = Folder(uri)
        self.uri = self.folder.uri
        self.is_begun_anew = False
        """Whether its config was left by a start of which nothing was made, and binds nobody."""
        self._checked: tuple[bytes | None, list[str]] | None = None

    def is_finished(self, config: JobConfig) -> bool:
        """Whether the manifest marks exactly this config as complete, and what it lists is there.

        A manifest of a driver that has lost its claim since does not count.
        """
        manifest = self.manifest()
        return (
            manifest is not None
            and manifest["config_hash"] == config_hash(config)
            and set(self.folder.names()).issuperset(manifest.get("files", ()))
            and (
                claims.held(self.folder) is not None
                or claims.last_epoch(self.folder) <= manifest.get("epoch", 0)
            )
        )

    def epoch(self) -> int:
        """The epoch of the claim under which the run was finished; 0 where it is not."""
        return int((self.manifest() or {}).get("epoch", 0))

    def claim(self) -> None:
        """Let no other driver work here from now on (see `raypipe.storage.claims`).

        UserError while another works here, or where one has changed what was checked. The claim is
        released by `raypipe.job.Recipe`.
        """
        if claims.held(self.folder) is not None:
            return
        try:
            claims.take(self.folder, self.epoch, self.does)
            changed = self._checked is not None and self._checked != self._state()
        except OSError as error:
            raise UserError(f"output cannot be written: {self.uri}: {error}") from None
        if changed:
            raise UserError(
                f"another process has worked on {self.uri} meanwhile: start again, and the same "
                "command goes on from what is there"
            )

    def _state(self) -> tuple[bytes | None, list[str]]:
        """What is asked for and planned."""
        return self.folder.read("config.yaml"), self.folder.names(self.plan_folder)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None while the run is not complete."""
        try:
            manifest = manifests.read(self.folder)
        except OSError as error:
            raise UserError(f"output cannot be used: {self.uri}: {error}") from None
        except DamagedError:
            return None  # it is written anew; one that is not ours, `check` reports
        return manifest if manifest is not None and "config_hash" in manifest else None

    def check(self, config: JobConfig) -> None:
        """Refuse a config that changes a setting of what is there, naming the keys."""
        try:
            self._checked = self._state()
            stored, names = self._checked[0], self.folder.entries()
        except OSError as error:
            raise UserError(f"output cannot be used: {self.uri}: {error}") from None
        names = [name for name in names if name != claims.FOLDER]
        if stored is None and not names:
            return
        before = _run_config(stored, config)
        if self.is_begun_anew:
            return
        if before is None:
            raise UserError(
                f"the output directory must be empty or a run's of this job, but {self.uri} holds "
                f"{', '.join(names[:5])}"
            )
        with reading(self.uri, "config.yaml", "the whole config of a run of this job"):
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
        """Write what is asked for, and keep what is there for `raypipe.storage.starts.take_back`.

        notes: what is kept beside the config, each as a JSON file of its name. UserError where the
        directory cannot be written.
        """
        claims.confirm(self.folder)
        try:
            starts.keep(self)
            self.folder.delete("manifest.json")
            self.folder.write("config.yaml", dump(config).encode())
            for name, note in notes.items():
                self.write_json(f"{name}.json", note)
        except OSError as error:
            raise UserError(f"output cannot be written: {self.uri}: {error}") from None

    def check_note(self, name: str, found: Mapping[str, Any], what: str) -> None:
        """Refuse weights that are not those that the run was begun with.

        name: of the note (see `begin`) that holds what each was. found: what each is now. what: in
        the words of the message, with {name}.
        """
        known = self._note(name)
        for key, identity in found.items():
            if known.get(key, identity) != identity:
                raise UserError(
                    f"the weights of {what.format(name=key)} are not those that {self.uri} was "
                    "begun with; choose another output"
                )

    def check_model(self, found: dict[str, Any]) -> None:
        """Refuse a model whose weights are not those that the run was begun with (model.json)."""
        known = self._note("model")
        if known and known != found:
            raise UserError(
                f"the weights of the model are not those that {self.uri} was begun with; choose "
                "another output"
            )

    def _note(self, name: str) -> dict[str, Any]:
        """A note of `begin`; empty where there is none."""
        data = self.folder.read(f"{name}.json")
        return {} if data is None else parse_json(data, self.uri, f"{name}.json")

    def compare(self, wanted: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table]:
        """(planned, new, dropped): the plan so far, and what differs from the wanted rows."""
        planned = self.samples()
        here, there = plans.key(wanted, self.keys), plans.key(planned, self.keys)
        new = wanted.filter(pc.invert(pc.is_in(here, there)))
        return planned, new, planned.filter(pc.invert(pc.is_in(there, here)))

    def plans(self) -> "list[RunDirectory]":
        """The run by each of its plans; a job without one has none."""
        return [self] if hasattr(self, "plan") else []

    def parts(self) -> list[str]:
        """Names of the parts of the plan, in order."""
        names = self.folder.names(self.plan_folder)
        return [f"{self.plan_folder}/{name}" for name in names if PART.fullmatch(name)]

    def part(self, name: str) -> pa.Table:
        """The rows of a part. DamagedError for one that is not of this plan."""
        rows = parquet.read(self.folder, name, self.plan.names, self.plan)
        with reading(self.uri, name, "a part of a plan"):
            rows = rows.cast(self.plan)
        self._check_ids(rows, name)
        return rows

    def samples(self) -> pa.Table:
        """Every row of the plan, in order. UserError where a row is planned twice."""
        parts = [self.part(name) for name in self.parts()]
        samples = pa.concat_tables(parts) if parts else self.plan.empty_table()
        if self.keys:
            twice = plans.doubled(samples, self.keys)
            if twice is not None:
                raise UserError(
                    f"a plan must hold each row once, but {self.uri}/{self.plan_folder} holds "
                    f"{twice} twice: two processes have planned it; choose another output"
                )
        return samples

    def plan_groups(self, columns: list[str]) -> Iterator[tuple[str, int, pa.Table]]:
        """Some columns of the plan, a few thousand rows of whole batches at a time.

        With the file and row group that they stand in, as `plan_batches` takes them.
        """
        for name in self.parts():
            file = parquet.ParquetFile(self.folder, name)
            for group in range(file.metadata.num_row_groups):
                rows = file.read(columns, [group], self.plan)
                self._check_ids(rows, name)
                yield name, group, rows

    def _check_ids(self, rows: pa.Table, file: str) -> None:
        """UserError for ids in a plan that cannot be parts of files' names."""
        for key in {"batch_id", "sample_id", "pair_id"} & set(rows.column_names):
            plain = pc.match_substring_regex(rows[key], rf"\A{ID}\z").fill_null(False)
            if not pc.all(plain, min_count=0).as_py():
                first = rows[key].filter(pc.invert(plain))[0].as_py()
                raise UserError(
                    f"{key} of {file} must be up to {LONGEST} letters, digits, points, hyphens and "
                    f"underscores, got {ascii(first)[:LONGEST]}: {self.uri}"
                )

    def next_part(self) -> int:
        """Number of the next part of the plan: one for the start and one for each extension."""
        numbers = [int(name.rpartition("/")[2].partition(".")[0]) for name in self.parts()]
        return max(numbers, default=-1) + 1

    def batch_files(self, config: Any) -> Iterable[BatchFile]:
        """The files of `made` that the plan asks for, of a run of this config."""
        return ()

    def add_samples(self, samples: pa.Table, part: int) -> None:
        """Write a part of the plan; from here on it is fixed which samples share a batch.

        A part is created once: UserError where another driver has created it meanwhile.
        """
        claims.confirm(self.folder)
        name = f"{self.plan_folder}/{part:04d}.parquet"
        if not self.folder.create(name, plans.content(self.plan, _groups(samples), self._epoch())):
            raise UserError(
                f"another process has planned {self.uri} meanwhile ({name}): start again, and the "
                "same command goes on from what is there"
            )

    def _epoch(self) -> int:
        claim = claims.held(self.folder)
        return 0 if claim is None else claim.epoch

    def empty_part(self, name: str) -> None:
        """Take a part of the plan back, of which nothing was made; its number is not used again."""
        self.folder.write(name, plans.content(self.plan, (), self._epoch()))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as one Parquet file that appears whole or not at all."""
        write_table(self.folder, name, table)

    def write_json(self, name: str, content: Any) -> None:
        """Write strict JSON: there is no NaN in it."""
        self.folder.write(name, _json(content))

    def forget_previous(self) -> None:
        """What was there before this start is about to change, so that it cannot be taken back."""
        claims.confirm(self.folder)
        self.folder.delete(starts.PREVIOUS)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, last of all: its existence means that the run is complete.

        It names the epoch of the claim. UserError where a later driver has finished the run.
        """
        self.forget_previous()
        for below in ("", *self.folders):
            self.folder.clean(below)
        claim = claims.held(self.folder)
        if claim is None:
            self.write_json(manifests.NAME, manifests.with_digests(manifest, self.kept_files()))
            return
        whole = manifests.with_digests({**manifest, "epoch": claim.epoch}, self.kept_files())
        data = _json(whole)
        if not self.folder.create("manifest.json", data):
            if self.epoch() >= claim.epoch:
                raise UserError(f"another process has taken over {self.uri}, and finished it")
            self.folder.write("manifest.json", data)  # of one that had lost its claim

    def kept_files(self) -> Iterator[tuple[str, bytes]]:
        """The files that the manifest names, with their content."""
        for below in self.kept:
            for name in self.folder.names(below):
                path = f"{below}/{name}".lstrip("/")
                data = None if path == manifests.NAME else self.folder.read(path)
                if data is not None:
                    yield path, data


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
    rows = parquet.ParquetFile(Folder(uri), name).read(groups=[group])
    for batch_id, batch in split_batches(rows):
        if batch_id in wanted:
            yield batch


def split_batches(samples: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """(batch_id, its rows), in order; a batch's rows are neighbours."""
    ids = samples["batch_id"].to_pylist()
    edges = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]
    for start, end in pairwise([*edges, len(ids)]):
        yield ids[start], samples.slice(start, end - start)


def _json(content: Any) -> bytes:
    """Strict JSON."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False).encode()


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
