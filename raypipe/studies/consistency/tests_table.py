"""The rows of the table of tests: name, result, and one line of explanation."""

from collections.abc import Mapping
from typing import Any

from raypipe.report import words


def rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows in the order of the page; `paper` marks what only the paper's protocol asks for.

    `cells` are (label, value, text): the page carries the exact value beside its rounded text.
    """
    a, b, normality = comparison["a"], comparison["b"], comparison["normality"]
    effect = comparison["rank_biserial"]
    return [
        _estimate(
            "Mean difference",
            comparison["mean_difference"],
            "What the verdict is about: the mean over prompts of a − b, with its interval for "
            "other prompts (BCa bootstrap).",
        ),
        _estimate(
            "… for other seeds too",
            comparison["mean_difference_crossed"],
            "The same mean, with an interval for other prompts and other seeds.",
        ),
        _test(
            "Wilcoxon signed-rank",
            comparison["wilcoxon"],
            "Do the differences lie on one side of zero? The verdict uses the adjusted p "
            "(Holm, over all comparisons of this run).",
        ),
        _estimate(
            "Hodges–Lehmann shift",
            comparison["hodges_lehmann"],
            "The typical difference, robust against a few extreme prompts.",
        ),
        {
            "name": "Rank-biserial correlation",
            "cells": [("r", effect, words.signed(effect))],
            "reason": comparison["reasons"].get("rank_biserial"),
            "meaning": "Effect size from −1 (b always higher) to +1 (a always higher).",
            "paper": False,
        },
        _test(
            "Normality of the differences",
            normality["differences"],
            "Background only: neither the interval nor the Wilcoxon test needs normal differences.",
        ),
        _test(
            "Two-sample Kolmogorov–Smirnov",
            comparison["ks_2samp"],
            "As the paper reports it. It ignores that both models saw the same prompts.",
            paper=True,
        ),
        *(
            _test(
                f"Normality of {name}",
                normality[key],
                "As in the paper's code: raw scores against N(0, 1), which rejects every model.",
                paper=True,
            )
            for name, key in ((a, "paper_a"), (b, "paper_b"))
        ),
    ]


def _estimate(name: str, estimate: Mapping[str, Any], meaning: str) -> dict[str, Any]:
    cells = [("", estimate["value"], words.signed(estimate["value"]))]
    if estimate["low"] is not None:
        ends = ((label, estimate[label]) for label in ("low", "high"))
        cells += [(label, end, words.signed(end)) for label, end in ends]
    return {
        "name": name,
        "cells": cells,
        "reason": estimate["reason"],
        "meaning": meaning,
        "paper": False,
    }


def _test(
    name: str, test: Mapping[str, Any], meaning: str, *, paper: bool = False
) -> dict[str, Any]:
    cells = [
        ("statistic", test["statistic"], words.number(test["statistic"])),
        ("p", test["p_value"], words.p_value(test["p_value"])),
    ]
    if "p_adjusted" in test:
        cells.append(("p adjusted", test["p_adjusted"], words.p_value(test["p_adjusted"])))
    return {
        "name": name,
        "cells": cells if test["p_value"] is not None else [("", None, words.UNDEFINED)],
        "reason": test["reason"],
        "meaning": meaning,
        "paper": paper,
    }
