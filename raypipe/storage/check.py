"""Whether a run is whole: all files of its plan and manifest are there, as they were made."""

from collections.abc import Iterator

import pyarrow as pa

from raypipe.config.strict import JobConfig
from raypipe.storage import manifest as manifests
from raypipe.storage.damage import DamagedError
from raypipe.storage.directory import BatchFile, RunDirectory
from raypipe.storage.files import read_ahead
from raypipe.storage.parquet import ParquetFile
from raypipe.storage.plans import doubled


def findings(run: RunDirectory, config: JobConfig) -> Iterator[DamagedError]:
    """Everything that is wrong with a run, in reading all of it.

    Of an unfinished run, files that are not there yet are no finding.
    """
    manifest = None
    try:
        manifest = manifests.read(run.folder)
    except DamagedError as damaged:
        yield damaged
    for name in (manifest or {}).get("digests", {}):
        try:
            manifests.content(run.folder, manifest or {}, name)
        except DamagedError as damaged:
            yield damaged
    plan_is_whole = True
    for found in _plan(run):
        plan_is_whole = False
        yield found
    if plan_is_whole:
        for folder in run.made:
            yield from damaged_batches(run, config, folder, is_finished=manifest is not None)


def damaged_batches(
    run: RunDirectory, config: JobConfig, folder: str, is_finished: bool = False
) -> Iterator[DamagedError]:
    """The planned files of a folder that are damaged, or, of a finished run, missing."""
    there = frozenset(run.folder.names(folder))
    planned = (
        file
        for file in run.batch_files(config)
        if file.name.startswith(f"{folder}/")
        and (is_finished or file.name.rpartition("/")[2] in there)
    )

    def damage(file: BatchFile) -> DamagedError | None:
        try:
            parquet = ParquetFile(run.folder, file.name)
            parquet.check()
            file.check(parquet)
        except DamagedError as damaged:
            return damaged
        return None

    for _, damaged in read_ahead(planned, damage):
        if damaged is not None:
            yield damaged


def _plan(run: RunDirectory) -> Iterator[DamagedError]:
    """What is wrong with the parts of a run's plans."""
    for plan in run.plans():
        is_whole = True
        for name in plan.parts():
            try:
                ParquetFile(run.folder, name).check()
                plan.part(name)
            except DamagedError as damaged:
                is_whole = False
                yield damaged
        if is_whole and plan.keys and plan.parts():
            twice = doubled(pa.concat_tables(map(plan.part, plan.parts())), plan.keys)
            if twice is not None:
                rule = f"must hold each row once, but holds {twice} twice"
                yield DamagedError(run.uri, plan.plan_folder, rule)
