"""Downloads from Hugging Face's hub: retried where its client gives up, its errors in one line.

The client itself resumes a transfer that breaks, and repeats listings and HEAD requests that meet
429 or 5xx. It gives up at once where it asks for a revision, where the download of a file meets
5xx or a reset connection, and where a file ends too short; a file that meets these starts again,
those that are whole are kept. Its pause after a 429 in a download is the server's, uncapped.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from raypipe.errors import UserError
from raypipe.weights.retry import TransientError, UnreachableError, one_line, retry

COMMIT = re.compile(r"[0-9a-f]{40}")
CODE = ["*.py", "*.pyc", "*.so", "*.ipynb"]
"""Files that are never fetched, whatever is asked for."""

ANSWER_SECONDS = 15
"""How long the hub may take to resolve a revision."""


def download(where: str, revision: str | None, files: Sequence[str] | None, what: str) -> Path:
    """The snapshot directory of a hub id, with the files that match the globs (None: all).

    Where the hub cannot be reached, a complete snapshot in the local cache is used. Raises
    UserError.
    """
    try:
        commit = _commit(where, revision, what)
        failure = f"{what} cannot be downloaded: {where}"
        snapshot = retry(lambda: _snapshot(where, revision, commit, files, what), failure)
    except UnreachableError:
        cached = _cached(where, revision, files)
        if cached is None:
            raise
        snapshot = cached
    if not matching(snapshot, files):
        wanted = "files" if files is None else "file like " + " or ".join(files[:3])
        raise UserError(f"{what} has no {wanted} on the hub: {where}")
    return snapshot


def list_files(where: str, commit: str, what: str) -> list[str]:
    """Names of all files of a hub id at a commit. UserError, also UnreachableError."""
    from huggingface_hub import HfApi

    def attempt() -> list[str]:
        with _plain_errors(where, commit, what):
            return list(HfApi().list_repo_files(where, revision=commit))

    return retry(attempt, f"{what} cannot be listed: {where}")


def matching(folder: Path, files: Sequence[str] | None) -> list[Path]:
    """The folder's files at any depth that match one of the globs (None: all), sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if matches(path.relative_to(folder).as_posix(), files))


def matches(name: str, files: Sequence[str] | None) -> bool:
    """Whether a file's name matches one of the globs (None: any does), and it holds no code."""
    if any(fnmatch(name, pattern) for pattern in CODE):
        return False
    return files is None or any(fnmatch(name, pattern) for pattern in files)


def _commit(where: str, revision: str | None, what: str) -> str:
    """The commit that a revision names now; a full commit is returned without a request."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    def attempt() -> str:
        with _plain_errors(where, revision, what):
            info = HfApi().model_info(where, revision=revision, timeout=ANSWER_SECONDS)
            return str(info.sha)

    return retry(attempt, f"{what} cannot be fetched from the hub: {where}")


def _snapshot(
    where: str, revision: str | None, commit: str, files: Sequence[str] | None, what: str
) -> Path:
    """Download one commit, by its revision, so that the cache knows that name too."""
    from huggingface_hub import snapshot_download

    with _plain_errors(where, revision, what):
        patterns = None if files is None else list(files)
        path = Path(
            snapshot_download(
                where, revision=revision, allow_patterns=patterns, ignore_patterns=CODE
            )
        )
    if path.name != commit:
        # the client takes an older snapshot where the hub does not answer it
        raise TransientError(f"got commit {path.name[:8]}, not {commit[:8]}")
    return path


def _cached(where: str, revision: str | None, files: Sequence[str] | None) -> Path | None:
    """The snapshot in the local cache, if it has all the files."""
    from huggingface_hub import snapshot_download

    patterns = None if files is None else list(files)
    try:
        found = snapshot_download(
            where,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=CODE,
            local_files_only=True,
        )
    except OSError:
        return None
    return Path(found) if matching(Path(found), files) else None


@contextmanager
def _plain_errors(where: str, revision: str | None, what: str) -> Iterator[None]:
    """Raise the hub client's errors as UserError, or as TransientError where they may pass."""
    # the client's errors derive from its transport's, which differs between its versions
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, ValueError, RuntimeError, HTTPError) as error:  # RuntimeError: of hf_xet
        raise _verdict(error, where, revision, what) from error


def _verdict(error: Exception, where: str, revision: str | None, what: str) -> Exception:
    """UserError, UnreachableError or TransientError for an error of the hub's client."""
    from huggingface_hub import constants, errors

    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # reports only that no cache helped
    if isinstance(error, errors.HfHubHTTPError):
        return _http_verdict(error, where, revision, what, constants.ENDPOINT)
    if isinstance(error, errors.HFValidationError):
        return UserError(f"{what} is neither a path, a URI nor a hub id: {where}")
    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return UnreachableError(f"{what} is not in the local cache, and the hub is off: {where}")
    passes = isinstance(error, ConnectionError | TimeoutError | RuntimeError | errors.HTTPError)
    if passes or (isinstance(error, OSError) and error.errno is None):  # such as a short file
        return TransientError(one_line(error))
    return UserError(f"{what} cannot be downloaded: {where}: {one_line(error)}")


def _http_verdict(error: Any, where: str, revision: str | None, what: str, hub: str) -> Exception:
    """UserError or TransientError for an HTTP error (HfHubHTTPError)."""
    from huggingface_hub import errors

    status = error.response.status_code
    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{what} is gated: accept its terms at {hub}/{where} and set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{what} has no revision {revision or 'main'} on the hub: {where}")
    if isinstance(error, errors.RepositoryNotFoundError):
        # without a token the hub answers 401 for what is private and for what does not exist
        private = ", or needs a token (set HF_TOKEN)" if status == 401 else ""
        return UserError(f"{what} is not on the hub{private}: {where}")
    if isinstance(error, errors.DisabledRepoError):
        return UserError(f"{what} is disabled on the hub: {where}")
    if status in (401, 403):
        return UserError(f"{what} needs a token: set HF_TOKEN to one that may read {where}")
    if status in (408, 429) or status >= 500:
        asked = error.response.headers.get("Retry-After", "")
        return TransientError(one_line(error), float(asked) if asked.isdigit() else 0.0)
    if status == 404:
        return UserError(f"{what} is not on the hub: {where}")
    return UserError(f"{what} cannot be downloaded: {where}: {one_line(error)}")
