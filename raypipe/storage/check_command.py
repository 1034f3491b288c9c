"""Is a run whole? Reads all of it, and names each file that is missing or has changed.

    raypipe check RUN [--mend]

One line on stdout for each finding. Exit status 0 where there is none, 1 where there are some, 2
where RUN is not a run directory. `--mend` moves what the run's own command can make again below
`damaged/` of it, and removes the mark of a finished run, so that the command makes it again.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from raypipe.config.strict import JobConfig
from raypipe.console import message
from raypipe.errors import UserError
from raypipe.storage import claims
from raypipe.storage import manifest as manifests
from raypipe.storage.check import findings
from raypipe.storage.damage import DamagedError, reading
from raypipe.storage.directory import RunDirectory
from raypipe.storage.files import Folder
from raypipe.storage.mend import set_aside

Jobs = Mapping[str, Callable[[], tuple[type[JobConfig], type[RunDirectory]]]]
"""By name, how to get a job's config and run directory."""


def main(arguments: Sequence[str], jobs: Jobs) -> None:
    """The command; exits with the status. UserError where RUN is no run."""
    uris = [argument for argument in arguments if argument != "--mend"]
    if len(uris) != 1 or uris[0].startswith("-"):
        raise UserError(f"usage: raypipe check RUN [--mend], got {' '.join(arguments)}")
    sys.exit(1 if check(uris[0], jobs, mends="--mend" in arguments) else 0)


def check(uri: str, jobs: Jobs, mends: bool = False) -> int:
    """Print what is wrong with a run; returns how many lines that were."""
    run, config, is_finished = open_run(uri, jobs)
    found = []
    for finding in findings(run, config):
        found.append(finding)
        print(" ".join(str(finding).split()), flush=True)
    if not found:
        message(f"{uri} is whole" if is_finished else f"{uri} is whole as far as it is made")
    elif mends:
        _mend(run, found)
    return len(found)


def open_run(uri: str, jobs: Jobs) -> tuple[RunDirectory, JobConfig, bool]:
    """A run as its job's, its config, and whether it is finished.

    UserError for a directory that is no run.
    """
    folder = Folder(uri)
    try:
        manifest = _manifest(folder)
        stored, is_finished = folder.read("config.yaml"), folder.read(manifests.NAME) is not None
    except OSError as error:
        raise UserError(f"a run cannot be read: {uri}: {error}") from None
    tree = manifest.get("config")
    if tree is None:
        with reading(folder.uri, "config.yaml", "YAML"):
            tree = yaml.safe_load(stored or b"")
    if not isinstance(tree, dict) or "output" not in tree:
        raise UserError(f"a run must have the config that it was made by, config.yaml: {uri}")
    job = manifest["job"] if manifest.get("job") in jobs else _job_by_keys(tree, jobs)
    if job is None:
        raise UserError(f"config.yaml must be the config of a job of raypipe: {uri}")
    settings, directory = jobs[job]()
    with reading(folder.uri, "config.yaml", f"a config of jobs/{job}.py"):
        config = settings.model_validate(tree)
    return directory(uri), config, is_finished


def _manifest(folder: Folder) -> dict[str, Any]:
    """A run's manifest; empty where there is none that is whole."""
    try:
        return manifests.read(folder) or {}
    except DamagedError:
        return {}


def _job_by_keys(tree: dict[str, Any], jobs: Jobs) -> str | None:
    """The job whose config has these keys, and needs no others."""
    for job, types in jobs.items():
        fields = types()[0].model_fields
        needed = {name for name, field in fields.items() if field.is_required()}
        if needed <= tree.keys() <= fields.keys():
            return job
    return None


def _mend(run: RunDirectory, found: list[DamagedError]) -> None:
    """Set aside what can be made again; the next start of the run's command makes it.

    UserError while another process works on the run.
    """
    run.claim()
    try:
        _set_aside(run, found)
    finally:
        claim = claims.held(run.folder)
        if claim is not None:
            claim.release(keep=run.folder.read(manifests.NAME) is None)


def _set_aside(run: RunDirectory, found: list[DamagedError]) -> None:
    results = {manifests.NAME, *_manifest(run.folder).get("files", ())}
    are_gone = False
    for finding in found:
        folder, below, _ = finding.name.partition("/")
        if (below and folder in run.made) or finding.name in results:
            set_aside(run, finding)
            are_gone = True
        else:
            message(f"{finding.name} cannot be made again; restore it, or choose another output")
    if are_gone:
        run.folder.delete(manifests.NAME)
