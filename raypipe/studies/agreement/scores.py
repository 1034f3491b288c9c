"""Automatic scores of the things that people were asked about."""

from collections import defaultdict
from dataclasses import dataclass

from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.inputs.scores import read_scores
from raypipe.storage import schema
from raypipe.studies.agreement.answers import Answered
from raypipe.studies.agreement.settings import Agreement


@dataclass(frozen=True)
class Score:
    """One automatic score."""

    name: str
    title: str
    of: dict[str, float]
    """By the ids of a question's sides; a thing without a score is not in it."""
    sign: int = 1
    """-1 where a lower score is better."""


def read(config: Agreement, answered: Answered) -> list[Score]:
    """Every score of these ids. UserError for a directory that has none."""
    if answered.kind == "grid":
        if config.scores is not None:
            raise UserError(
                "scores of grids are those of the run that they come from; scores must not be "
                f"given, got {config.scores}"
            )
        return _of_prompts(answered.source)
    known_sides = _good_sides(answered)
    if config.scores is None:
        return known_sides
    known = read_scores(config.scores, key="scores")
    ids = set(_ids(answered))
    if not ids & known.cluster_of.keys():
        raise UserError(
            f"scores must be a run of jobs/evaluate.py on the pictures of {answered.source}, got "
            f"{config.scores}, which has none of them"
        )
    return known_sides + [
        Score(
            record["name"],
            record["title"],
            known.scores[record["name"]],
            1 if record["higher_is_better"] else -1,
        )
        for record in known.records
    ]


def _ids(answered: Answered) -> list[str]:
    """Ids of all sides of the questions."""
    sides = [item[side] for item in answered.items for side in ("a_id", "b_id")]
    return [side for side in sides if side is not None]


def _good_sides(answered: Answered) -> list[Score]:
    """Of face pairs: 1 for the picture whose face was not inpainted, 0 for the other."""
    if answered.kind != "pair" or not all("/" in name for name in _ids(answered)):
        return []
    of = {name: float(name.endswith("/good")) for name in _ids(answered)}
    return [Score("good side", "The face that was not inpainted", of)]


def _of_prompts(uri: str) -> list[Score]:
    """Consistency, and CLIPScore, of every model and prompt of a consistency run."""
    run = finished(uri, "consistency", "the run of the questions")
    rows = run.table("scores.parquet", schema.SCORES).to_pylist()
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        for column, name in (("scs", "SCS"), ("clip_score", "CLIPScore")):
            if row[column] is not None:
                thing = f"{row['model']}/{row['prompt_id']}"
                found[name, row["encoder"]][thing] = row[column]
    titles = {"SCS": "Semantic consistency", "CLIPScore": "CLIPScore"}
    return [
        Score(
            name if len(encoders) == 1 else f"{name} ({encoder})",
            f"{titles[name]} by {encoder}",
            values,
        )
        for (name, encoder), values in sorted(found.items(), key=lambda item: item[0][0] != "SCS")
    ]
