"""One automatic score against what people chose."""

from dataclasses import asdict
from typing import Any

import numpy as np

from raypipe.core import agreement as core
from raypipe.core import study_size
from raypipe.core.clusters import bootstrap_clusters, cluster_sums
from raypipe.core.ranking import Accuracy, accuracy, accuracy_by_tag, agreement
from raypipe.core.statistics import rank_agreement
from raypipe.studies.agreement.answers import Answered
from raypipe.studies.agreement.scores import Score
from raypipe.studies.agreement.settings import Agreement


def judge(score: Score, answered: Answered, config: Agreement) -> dict[str, Any]:
    """How often a score prefers what people prefer: in all, by subset, and by annotator."""
    confidence = 1 - config.statistics.alpha
    drawn = config.statistics.bootstrap
    known = [
        at
        for at, item in enumerate(answered.items)
        if item["a_id"] in score.of and item["b_id"] in score.of
    ]
    items = [answered.items[at] for at in known]
    votes_AM = answered.votes_AM[:, known]
    a_M = np.array([score.of[item["a_id"]] for item in items]) * score.sign
    b_M = np.array([score.of[item["b_id"]] for item in items]) * score.sign
    majority_M = core.majority(votes_AM) if items else np.empty(0)
    rows = np.flatnonzero(np.abs(majority_M) == 1)
    correct = agreement(a_M[rows], b_M[rows], majority_M[rows])
    clusters = np.array([items[row]["photo_id"] for row in rows], dtype=object)
    tags = [str(items[row]["subset"]) for row in rows]
    side_M = np.sign(a_M - b_M)
    whole = accuracy(correct, clusters, **drawn)
    by_subset = accuracy_by_tag(correct, tags, clusters, **drawn)
    surer = core.surer((a_M - b_M)[rows], correct, confidence)
    return {
        "name": score.name,
        "title": score.title,
        "agreement": asdict(whole),
        "clopper_pearson": asdict(core.share(float(correct.sum()), len(rows), confidence)),
        "bootstrap": _bootstrap(correct, clusters, config),
        "over_people": asdict(core.over_people(votes_AM, side_M, **drawn))
        if items
        else asdict(Accuracy(None, None, None, "no pairs")),
        "by_subset": {tag: asdict(found) for tag, found in by_subset.items()},
        "surer": asdict(surer),
        "by_annotator": {
            name: asdict(_of_one(votes_M, side_M, confidence))
            for name, votes_M in zip(answered.annotators, votes_AM, strict=True)
        },
        "plan": asdict(_plan(votes_AM, side_M, confidence)),
        "without_score": len(answered.items) - len(items),
    }


def rank(score: Score, answered: Answered) -> dict[str, Any]:
    """The rank correlation of a score with the mean ratings."""
    with np.errstate(invalid="ignore"):
        given_M = ~np.isnan(answered.votes_AM).all(axis=0)
    rows = [
        at for at, item in enumerate(answered.items) if item["a_id"] in score.of and given_M[at]
    ]
    means = [float(np.nanmean(answered.votes_AM[:, at])) for at in rows]
    values = [score.sign * score.of[answered.items[at]["a_id"]] for at in rows]
    return {
        "name": score.name,
        "title": score.title,
        "ranks": asdict(rank_agreement(means, values)) if rows else None,
        "without_score": len(answered.items) - len(rows),
    }


def _bootstrap(correct: np.ndarray, clusters: np.ndarray, config: Agreement) -> dict[str, Any]:
    """BCa interval over clusters, whether or not they have several questions."""
    if not len(correct):
        return asdict(Accuracy(None, None, None, "no pairs"))
    sums, counts = cluster_sums(correct, clusters)
    return asdict(bootstrap_clusters(sums, counts, **config.statistics.bootstrap))


def _of_one(votes_M: np.ndarray, side_M: np.ndarray, confidence: float) -> core.Share:
    """One annotator's agreement with a score; the score's ties count half."""
    decided = np.abs(votes_M) == 1
    right = float(((1 + side_M * votes_M) / 2)[decided].sum())
    return core.share(right, int(decided.sum()), confidence)


def _plan(votes_AM: np.ndarray, side_M: np.ndarray, confidence: float) -> study_size.SizePlan:
    """Other sizes of study, from the prompts on which the score is decided."""
    filled_AM = np.nan_to_num(votes_AM)[:, side_M != 0]
    agreeing = (filled_AM * side_M[side_M != 0] == 1).sum(axis=0)
    return study_size.plan(agreeing, np.abs(filled_AM).sum(axis=0), confidence=confidence)
