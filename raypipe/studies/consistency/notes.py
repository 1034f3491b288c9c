"""Notes on the limits of the results, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.report.words import count


def notes(
    results: Mapping[str, Any],
    truncated: Mapping[str, int],
    devices: Mapping[str, Sequence[str]],
) -> list[str]:
    """Sentences on what limits these results; see build_results for the arguments."""
    return [
        *_about_samples(results, truncated),
        *_about_comparisons(results, devices),
        *_about_few_images(results),
    ]


def _about_samples(results: Mapping[str, Any], truncated: Mapping[str, int]) -> list[str]:
    found = []
    bad = sum(results["quarantined"].values())
    if bad:
        reasons = ", ".join(f"{reason}: {n:,}" for reason, n in results["quarantined"].items())
        found.append(f"{count(bad, 'sample')} quarantined and not scored ({reasons}).")
    for model, n in sorted(truncated.items()):
        if n:
            found.append(
                f"{model}: {count(n, 'image')} from prompts longer than a text encoder reads; "
                "the end of those prompts had no influence."
            )
    for model in results["models"]:
        n = model["prompts_without_score"]
        if n:
            few = "fewer than two usable images"
            found.append(f"{model['name']}: {count(n, 'prompt')} without a score ({few}).")
    return found


def _about_comparisons(
    results: Mapping[str, Any], devices: Mapping[str, Sequence[str]]
) -> list[str]:
    found = []
    for comparison in results["comparisons"]:
        a, b, n = comparison["a"], comparison["b"], comparison["left_out_prompts"]
        if n:
            found.append(
                f"{a} against {b}: {count(n, 'prompt')} left out, because fewer than two seeds "
                "gave a usable image in both models."
            )
        kinds = sorted({*devices.get(a, ()), *devices.get(b, ())})
        if len(kinds) > 1:
            found.append(
                f"{a} against {b}: images come from more than one kind of device "
                f"({', '.join(kinds)}); equal seeds give slightly different images on each."
            )
        few = count(comparison["left_out"], "prompt")
        if comparison["left_out"] > n:
            found.append(f"{a} against {b}: the verdict leaves out {few} with two common pictures.")
        if comparison["n_seeds"] in range(1, 8):
            found.append(
                f"{a} against {b}: what a seed does to all prompts is seen through "
                f"{comparison['n_seeds']} shared seeds only, so that the interval is wide."
            )
    n = sum(comparison["p_value"] is not None for comparison in results["comparisons"])
    if n > 1:
        found.append(f"p-values are adjusted for {n} comparisons by Holm's method.")
    return found


def _about_few_images(results: Mapping[str, Any]) -> list[str]:
    found = []
    for model in results["models"]:
        fewest = model["images_per_prompt"]["min"]
        if fewest == 2:
            rule = "a score from two images has no standard error"
            found.append(f"{model['name']}: some prompts have only two images; {rule}.")
        elif fewest is not None and fewest < 6:
            rule = "the jackknife standard error of such a score is biased upward"
            found.append(f"{model['name']}: some prompts have only {fewest} images; {rule}.")
    return found
