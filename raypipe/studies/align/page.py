"""The page and the last lines of jobs/align.py."""

from typing import Any

from raypipe.report import figures
from raypipe.report.sheet import Section, Sheet, Table
from raypipe.report.words import confidence, count, ends, number, p_phrase, p_value, share, signed


def sheet(results: dict[str, Any]) -> Sheet:
    """The report: the metrics by falling accuracy, as a plot and a table, and comparisons."""
    level = confidence(results["alpha"])
    shares = [
        (m["name"], m["accuracy"]["value"], m["accuracy"]["low"], m["accuracy"]["high"])
        for m in results["metrics"]
        if m["accuracy"]["value"] is not None
    ]
    drawn = figures.intervals("accuracy", shares, "share of pairs chosen as people chose", 0.5)
    sections = [
        Section(
            "Accuracy",
            "How often a metric prefers what people preferred; its own ties count half. The line "
            "is chance.",
            tables=[_accuracies(results, level)],
            figures=[(drawn, f"Accuracy with its {level} interval.")] if shares else [],
        )
    ]
    if any(metric["by_subset"] for metric in results["metrics"]):
        sections.append(Section("Subsets", tables=[_subsets(results)]))
    if results["comparisons"]:
        sections.append(
            Section(
                "Comparisons",
                "Metrics on the same pairs; p-values are corrected for all rows (Holm).",
                tables=[_comparisons(results, level)],
            )
        )
    return Sheet(
        eyebrow="Metrics against people",
        title="Which metric chooses what people choose?",
        sentences=_sentences(results),
        facts=[
            ("answers", f"{results['answers']:,}"),
            ("pairs", f"{results['pairs']:,}"),
            ("undecided", f"{results['undecided']:,}"),
            ("photos", f"{results['photos']:,}"),
        ],
        notes=results["notes"],
        sections=sections,
    )


def summary(results: dict[str, Any]) -> str:
    width = max(len(metric["name"]) for metric in results["metrics"])
    lines = [
        f"{metric['name']:<{width}}  {share(metric['accuracy']):<24} "
        f"{count(metric['accuracy']['n'], 'pair')}, {count(metric['ties'], 'tie')}"
        for metric in results["metrics"]
    ]
    return "\n".join([*lines, *results["notes"]])


def _sentences(results: dict[str, Any]) -> list[str]:
    first, *others = results["metrics"]
    sentences = [
        f"{first['title']} ({first['name']}) agrees most often with people, on "
        f"{share(first['accuracy'])} of {count(first['accuracy']['n'], 'pair')}."
    ]
    if others:
        second = others[0]
        against = next(
            c
            for c in results["comparisons"]
            if c["a"] == first["name"] and c["b"] == second["name"]
        )
        sentences.append(
            f"Next is {second['title']} ({second['name']}) with {share(second['accuracy'])} "
            f"({p_phrase(against['p_adjusted'])})."
        )
    return sentences


def _accuracies(results: dict[str, Any], level: str) -> Table:
    rows = [
        [
            metric["name"],
            number(metric["accuracy"]["value"], 3),
            ends(metric["accuracy"]),
            f"{metric['accuracy']['n']:,}",
            f"{metric['ties']:,}",
            f"{sum(metric['without_score'].values()):,}",
            number(metric["accuracy_common"]["value"], 3),
        ]
        for metric in results["metrics"]
    ]
    head = ["metric", "accuracy", f"{level} interval", "pairs", "ties", "no score", "common pairs"]
    return Table(head, rows, "The last column is the accuracy on pairs that every metric scores")


def _subsets(results: dict[str, Any]) -> Table:
    names = sorted({name for metric in results["metrics"] for name in metric["by_subset"]})
    rows = [
        [metric["name"], *(share(metric["by_subset"].get(name)) for name in names)]
        for metric in results["metrics"]
    ]
    return Table(["metric", *names], rows)


def _comparisons(results: dict[str, Any], level: str) -> Table:
    rows = [
        [
            f"{c['a']} minus {c['b']}",
            signed(c["difference"], 3),
            ends(c),
            p_value(c["p_adjusted"]),
            f"{c['n']:,}",
            c["method"] or c["reason"],
        ]
        for c in results["comparisons"]
    ]
    return Table(["metrics", "difference", f"{level} interval", "p", "pairs", "test"], rows)
