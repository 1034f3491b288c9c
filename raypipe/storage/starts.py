"""The start of a run, which leaves no trace where nothing was made of it.

What a start finds is kept in `previous.json` before the manifest goes. A start that is refused or
fails before the first file of its work is there is taken back by its own process; one that was
killed so early, by the next one. Only a claim's holder does so.
"""

import json
from typing import Any, ClassVar, Protocol

import yaml

from raypipe.config.strict import JobConfig
from raypipe.core.ids import content_hash
from raypipe.storage import claims
from raypipe.storage.damage import parse_json, reading
from raypipe.storage.files import Folder

PREVIOUS = "previous.json"

NOTES = ("encoders.json", "weights.json", "model.json")
"""What jobs keep beside the config."""


class Directory(Protocol):
    """What of a run directory a start needs to know (raypipe.storage.directory.RunDirectory)."""

    folder: Folder
    folders: ClassVar[tuple[str, ...]]
    plan_folders: ClassVar[tuple[str, ...]]

    def parts(self) -> list[str]:
        """Names of the parts of the plan, in order."""
        ...

    def empty_part(self, name: str) -> None:
        """Take a part of the plan back."""
        ...


def keep(run: Directory) -> None:
    """Keep what a start finds; nothing where the run is new."""
    folder = run.folder
    config = folder.read("config.yaml")
    if config is None:
        return
    names = folder.names()
    files = ["config.yaml", *(n for n in (*NOTES, "manifest.json") if n in names)]
    found = {name: (folder.read(name) or b"").decode(errors="surrogateescape") for name in files}
    previous = {
        "files": found,
        "parts": len(run.parts()),
        "made": _made(run, set(folder.entries())),
    }
    folder.write(PREVIOUS, json.dumps(previous, indent=1).encode())


def can_be_taken_back(run: Directory, config: JobConfig) -> bool:
    """Whether a start was made, but nothing of it."""
    folder = run.folder
    entries = set(folder.entries())
    previous = _previous(run) if PREVIOUS in entries else None
    if _was_empty(previous):
        return entries <= _begun(run) and _is_resolved(folder.read("config.yaml"), config)
    assert previous is not None
    return bool(_made(run, entries) == previous["made"])


def take_back(run: Directory, is_own: bool) -> bool:
    """Undo the last start, of which nothing was made; returns whether the run was empty before.

    is_own: whether this process has made it. Else the config of a start that found nothing stays
    where it is, since it may be the file that the command names, but binds nobody.
    """
    claims.confirm(run.folder)
    folder = run.folder
    previous = _previous(run)
    files = previous["files"] if previous else {}
    if _was_empty(previous):
        for below in (*run.plan_folders, "metrics"):
            folder.delete_folder(below)
    else:
        assert previous is not None
        for name in run.parts()[previous["parts"] :]:
            run.empty_part(name)
    for name in ("config.yaml", *NOTES, "manifest.json"):  # the manifest last
        if name in files:
            folder.write(name, files[name].encode(errors="surrogateescape"))
        elif name != "config.yaml" or is_own:
            folder.delete(name)
    folder.delete(PREVIOUS)
    return _was_empty(previous)


def _begun(run: Directory) -> set[str]:
    """What is there of a run that was begun."""
    begun = ("config.yaml", "manifest.json", PREVIOUS, claims.FOLDER, "metrics")
    return {*begun, *NOTES, *run.plan_folders}


def _made(run: Directory, entries: set[str]) -> str:
    """Hash of the names of all that was made."""
    folders = [below for below in run.folders if below in entries - _begun(run)]
    names = [[below, *run.folder.names(below)] for below in folders]
    return content_hash({"entries": sorted(entries - _begun(run)), "names": names})


def _previous(run: Directory) -> dict[str, Any] | None:
    """What the last start found. DamagedError for a file that does not say so."""
    data = run.folder.read(PREVIOUS)
    if data is None:
        return None
    previous = parse_json(data, run.folder.uri, PREVIOUS)
    with reading(run.folder.uri, PREVIOUS, "what a start has found"):
        return {"files": {**previous["files"]}, "parts": int(previous["parts"]),
                "made": str(previous["made"])}  # fmt: skip


def _was_empty(previous: dict[str, Any] | None) -> bool:
    """Whether a start found nothing that was planned or finished."""
    return previous is None or (not previous["parts"] and "manifest.json" not in previous["files"])


def _is_resolved(stored: bytes | None, config: JobConfig) -> bool:
    """Whether a file is a config as a start writes it, with every key; not one written by hand."""
    try:
        tree = yaml.safe_load(stored or b"")
    except (yaml.YAMLError, ValueError):
        return False
    return isinstance(tree, dict) and tree.keys() == type(config).model_fields.keys()
