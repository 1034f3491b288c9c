"""Public data sets of human choices, turned into answers about pairs of pictures.

Each takes the rows of a file as published and yields rows of `raypipe.storage.schema.CHOICES`;
image ids are the paths that the file gives. All pictures of one row were judged together: the row
is the cluster (`photo_id`), so that its pairs are resampled as one.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from raypipe.errors import UserError

Rows = list[dict[str, Any]]


def image_reward(rows: Rows, uri: str) -> Iterator[dict[str, Any]]:
    """ImageReward's test set: `id, prompt, generations, ranking`, 1 for the best, ties allowed.

    Upstream counts the pairs of different rank, as here, and a metric's tie as wrong, which here
    is half. Source: THUDM/ImageReward `data/test.json`, `test.py`.
    """
    for number, row in enumerate(rows, 1):
        paths, ranks = _lists(row, "generations", "ranking", number, uri)
        yield from _pairs(paths, [-rank for rank in ranks], row, str(row.get("id", number)))


def hpd(rows: Rows, uri: str) -> Iterator[dict[str, Any]]:
    """Human Preference Dataset v2: its test file (`rank`) or its training file.

    test.json has `prompt, image_path, rank`: the rank, averaged over annotators, of the image at
    the same place, small for the best. train.json has `human_preference` (1 for the chosen image)
    in its place, `user_hash`, and image_path or file_path. Source: tgxs002/HPSv2, README and
    `evaluation.py`.
    """
    for number, row in enumerate(rows, 1):
        place = "image_path" if "image_path" in row else "file_path"
        if "rank" in row:
            paths, values = _lists(row, place, "rank", number, uri)
            values = [-value for value in values]
        else:
            paths, values = _lists(row, place, "human_preference", number, uri)
        yield from _pairs(paths, values, row, str(number), row.get("user_hash"))


LAYOUTS: dict[str, Callable[[Rows, str], Iterator[dict[str, Any]]]] = {
    "imagereward": image_reward,
    "hpd": hpd,
}


def layout_of(row: dict[str, Any]) -> str:
    """Which layout a file has, by the keys of its first row."""
    if "generations" in row and "ranking" in row:
        return "imagereward"
    if "rank" in row or "human_preference" in row:
        return "hpd"
    return "raypipe"


def _lists(
    row: dict[str, Any], paths: str, values: str, number: int, uri: str
) -> tuple[list[str], list[float]]:
    """Two lists of one length, of names and of numbers. UserError, with the row, for others."""
    found = row.get(paths), row.get(values)
    absent = [key for key, value in zip((paths, values), found, strict=True) if value is None]
    if absent:
        raise UserError(f"row {number} has no {', '.join(absent)}: {uri}: it has {', '.join(row)}")
    names, numbers = (list(value) if isinstance(value, list) else [] for value in found)
    numeric = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if len(names) != len(numbers) or not names or not numeric:
        raise UserError(
            f"{paths} and {values} must be lists of one length, of paths and of numbers, got "
            f"{len(names)} and {len(numbers)} in row {number}: {uri}"
        )
    return [str(name) for name in names], numbers


def _pairs(
    paths: list[str],
    values: list[float],
    row: dict[str, Any],
    cluster: str,
    annotator: str | None = None,
) -> Iterator[dict[str, Any]]:
    """All pairs of a row's pictures; the larger value is preferred."""
    for (left, a), (right, b) in combinations(zip(paths, values, strict=True), 2):
        yield {
            "left_id": left,
            "right_id": right,
            "choice": "left" if a > b else "right" if b > a else "tie",
            "annotator": annotator,
            "prompt": row.get("prompt"),
            "photo_id": cluster,
            "subset": None,
        }
