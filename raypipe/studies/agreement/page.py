"""The page and the last lines of jobs/agreement.py."""

from typing import Any

from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.words import UNDEFINED, confidence, count, ends, number, p_value, share


def sheet(results: dict[str, Any], shown: list[Strip]) -> Sheet:
    level = confidence(results["alpha"])
    rated = results["kind"] == "rate"
    sections = []
    if results["scores"]:
        sections += [_ranks(results)] if rated else _agreement(results, level)
    sections += [_people(results, level), Section("Annotators", tables=[_annotators(results)])]
    if not rated:
        sections += [
            Section(
                "How large a study",
                "Decided prompts that make the interval of the agreement as narrow as asked, for "
                "annotators who differ as these do. The majority of more people agrees more often.",
                tables=[_plan(score) for score in results["scores"] if score["plan"]["rows"]],
            )
        ]
    if shown:
        sections.append(
            Section(
                "Answers and scores side by side",
                "The most disputed questions first." if not rated else "By falling mean rating.",
                strips=shown,
            )
        )
    return Sheet(
        eyebrow="People and scores",
        title="Do the scores agree with people?",
        sentences=_sentences(results, level),
        facts=_facts(results),
        notes=results["notes"],
        sections=sections,
    )


def summary(results: dict[str, Any]) -> str:
    return "\n".join([*_sentences(results, confidence(results["alpha"])), *results["notes"]])


def _facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("annotators", f"{len(results['annotators']):,}"),
        ("left out", f"{len(results['excluded']):,}"),
        ("questions", f"{results['questions']:,}"),
        ("answers, checks and repeats included", f"{results['answers']:,}"),
    ]
    if results["majority"]:
        facts += [(f"{key} by the majority", f"{n:,}") for key, n in results["majority"].items()]
    return facts


def _sentences(results: dict[str, Any], level: str) -> list[str]:
    found = []
    for score in results["scores"]:
        if results["kind"] == "rate":
            ranks = score["ranks"]
            rho = number(ranks["spearman"]["statistic"]) if ranks else UNDEFINED
            found.append(f"{score['name']} and the mean ratings have a rank correlation of {rho}.")
            continue
        agreement = score["agreement"]
        found.append(
            f"{score['name']} agrees with the majority on {share(agreement)} of "
            f"{count(agreement['n'], 'decided question')} ({level} interval)."
        )
    alpha = results["reliability"]["krippendorff_alpha"]
    found.append(
        f"{count(len(results['annotators']), 'annotator')} agree with each other to "
        f"Krippendorff's alpha {_interval(alpha)}."
    )
    return found


def _agreement(results: dict[str, Any], level: str) -> list[Section]:
    """Scores against the majority, and by the size of the score's difference."""
    shares = [
        (s["name"], *(s["agreement"][key] for key in ("value", "low", "high")))
        for s in results["scores"]
        if s["agreement"]["value"] is not None
    ]
    head = [
        "score", "agreement", "questions", "Clopper-Pearson", "bootstrap, prompts",
        "bootstrap, prompts and people", "score's ties", "no score",
    ]  # fmt: skip
    rows = [
        [
            s["name"],
            number(s["agreement"]["value"], 3),
            f"{s['agreement']['n']:,}",
            *(ends(s[key]) for key in ("clopper_pearson", "bootstrap", "over_people")),
            f"{s['agreement']['ties']:,}",
            f"{s['without_score']:,}",
        ]
        for s in results["scores"]
    ]
    tables = [Table(head, rows, f"Intervals have {level}; a tie of the score counts half")]
    subsets = sorted({tag for s in results["scores"] for tag in s["by_subset"]})
    if len(subsets) > 1:
        lines = [
            [tag, *(share(s["by_subset"].get(tag)) for s in results["scores"])] for tag in subsets
        ]
        tables.append(Table(["questions", *(s["name"] for s in results["scores"])], lines))
    drawn = (
        figures.intervals("agreement", shares, "share of decided questions", 0.5) if shares else ""
    )
    return [
        Section(
            "Scores and the majority",
            "How often a score prefers what most people preferred. The line is chance.",
            tables=tables,
            figures=[(drawn, f"Agreement with its {level} interval.")] if shares else [],
        ),
        Section(
            "Where the score is surer",
            "Questions in three parts of equal size, by how far the scores of both sides differ.",
            tables=[_surer(s) for s in results["scores"]],
        ),
    ]


def _surer(score: dict[str, Any]) -> Table:
    rows = [
        [
            f"{number(part['smallest'])} to {number(part['largest'])}",
            share(part["agreement"]),
            f"{part['agreement']['n']:,}",
        ]
        for part in score["surer"]["bins"]
    ]
    test = score["surer"]["test"]
    outcome = (
        f"a larger difference where it agrees: probability {number(score['surer']['probability'])},"
        f" p = {p_value(test['p_value'])} ({test['method']})"
        if test["reason"] is None
        else test["reason"]
    )
    return Table(["difference", "agreement", "questions"], rows, f"{score['name']}: {outcome}")


def _ranks(results: dict[str, Any]) -> Section:
    rows = [
        [
            s["name"],
            *(
                f"{number(s['ranks'][kind]['statistic'], 3)} (p = "
                f"{p_value(s['ranks'][kind]['p_value'])})"
                if s["ranks"]
                else UNDEFINED
                for kind in ("spearman", "kendall")
            ),
            f"{s['ranks']['n']:,}" if s["ranks"] else "0",
        ]
        for s in results["scores"]
    ]
    head = ["score", "Spearman's rho", "Kendall's tau-b", "pictures"]
    return Section("Scores and mean ratings", tables=[Table(head, rows)])


def _people(results: dict[str, Any], level: str) -> Section:
    """How reliable the answers are."""
    kappa = results["reliability"]["fleiss_kappa"]
    alpha = results["reliability"]["krippendorff_alpha"]
    rows = [
        [
            f"Krippendorff's alpha, {alpha['level']}",
            number(alpha["value"], 3),
            ends(alpha),
            alpha["reason"] or "",
        ],
        [
            "Fleiss' kappa",
            number(kappa["value"], 3),
            UNDEFINED,
            kappa["reason"] or f"on the {count(kappa['items'], 'question')} with most answers",
        ],
        [
            "the same answer when asked again",
            number(results["self_consistency"]["value"], 3),
            ends(results["self_consistency"]),
            results["self_consistency"]["reason"]
            or f"{count(results['self_consistency']['n'], 'repeat')}",
        ],
    ]
    return Section(
        "How far people agree",
        "For alpha and kappa 1 is full agreement and 0 what chance would give; the last row is a "
        "share of answers.",
        tables=[Table(["measure", "value", f"{level} interval", ""], rows)],
    )


def _annotators(results: dict[str, Any]) -> Table:
    names = [s["name"] for s in results["scores"] if "by_annotator" in s]
    rows = [
        [
            person["name"],
            f"{person['answers']:,}",
            f"{person['cannot_tell']:,}",
            share(person["with_others"]),
            *(
                share(s["by_annotator"][person["name"]])
                for s in results["scores"]
                if "by_annotator" in s
            ),
            share(person["self_consistency"]),
            f"{person['checks']['right']} of {person['checks']['n']}",
            share(person["first_side"]),
            number(person["median_seconds"], 1),
        ]
        for person in results["annotators"]
    ]
    head = ["annotator", "answers", "cannot tell", "with the others' majority"]
    head += [f"with {name}" for name in names]
    head += ["with self", "checks", "first side", "median seconds"]
    return Table(head, rows)


def _plan(score: dict[str, Any]) -> Table:
    rows = score["plan"]["rows"]
    widths = sorted({row["width"] for row in rows})
    by_number: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_number.setdefault(row["annotators"], []).append(row)
    lines = [
        [
            f"{k:,}",
            f"{100 * own[0]['agreement']:.1f} %",
            *(f"{row['prompts']:,}" for row in sorted(own, key=lambda row: row["width"])),
        ]
        for k, own in by_number.items()
    ]
    head = ["annotators", "expected agreement"]
    head += [f"prompts, {100 * width:g} points wide" for width in widths]
    return Table(head, lines, score["name"])


def _interval(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return f"{UNDEFINED} ({found['reason']})"
    interval = f" ({ends(found)})" if found["low"] is not None else ""
    return f"{number(found['value'])}{interval}"
