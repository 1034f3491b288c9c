"""results.json: its numbers, its nulls, and that it repeats to the byte."""

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from raypipe.core.differences import compare_scores
from raypipe.storage import schema
from raypipe.studies.consistency.evidence import Pair
from raypipe.studies.consistency.results import EXTREMES, MAX_SORTED, build_results
from tests.support import ROOT


def as_json(results):
    return json.dumps(results, allow_nan=False)


def test_numbers_are_those_of_numpy_and_scipy(small):
    results = build_results(small.scores, **small.evidence)
    pair, item = small.evidence["pairs"][0], results["comparisons"][0]
    difference = pair.scs_a - pair.scs_b
    model = results["models"][0]
    assert model["mean"] == pytest.approx(pair.scs_a.mean())
    assert model["sd"] == pytest.approx(pair.scs_a.std(ddof=1))
    assert (model["n_prompts"], model["n_images"]) == (14, 14 * 6)
    assert item["mean_difference"]["value"] == pytest.approx(difference.mean())
    assert item["design"] == "crossed"
    assert (item["n_prompts"], item["n_seeds"]) == (14, 6)
    assert item["wilcoxon"]["p_value"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
    assert item["sorted_differences"] == pytest.approx(np.sort(difference))
    assert [row["difference"] for row in item["prompts"]] == pytest.approx(-np.sort(-difference))
    assert item["verdict"] == "b_more_consistent"


def test_the_contract_of_results_json(small):
    results = build_results(small.scores, quarantined={"blank": 2}, **small.evidence)
    assert results["schema_version"] == schema.SCHEMA_VERSION
    assert results["quarantined"] == {"blank": 2}
    for key in ("name", "n_prompts", "n_images", "mean", "median", "sd", "clip_score"):
        assert key in results["models"][0]
    item = results["comparisons"][0]
    for key in ("mean_difference", "mean_over_prompts", "hodges_lehmann"):
        assert item[key].keys() >= {"value", "low", "high"}
    assert item["wilcoxon"].keys() >= {"statistic", "p_value"}
    assert item["ks_2samp"].keys() >= {"statistic", "p_value"}
    assert item.keys() >= {"a", "b", "n", "rank_biserial", "verdict", "verdict_reason"}
    assert item.keys() >= {"p_value", "p_adjusted", "design", "df", "variance", "n_prompts"}


def test_order_of_rows_does_not_change_a_byte(small):
    shuffled = np.random.default_rng(1).permutation(small.scores.num_rows)
    pair = small.evidence["pairs"][0]
    back = np.arange(len(pair.prompt_ids))[::-1]
    turned = replace(
        pair,
        prompt_ids=[pair.prompt_ids[i] for i in back],
        scs_a=pair.scs_a[back],
        scs_b=pair.scs_b[back],
        n_images=pair.n_images[back],
    )
    first = build_results(small.scores, **small.evidence)
    second = build_results(small.scores.take(shuffled), **small.evidence | {"pairs": [turned]})
    assert as_json(first) == as_json(second)


def test_nulls_carry_a_reason():
    row = dict.fromkeys(schema.SCORES.names)
    row |= {"prompt_id": "p", "prompt": "p", "encoder": "e", "n_images": 1, "reason": "one image"}
    scores = pa.Table.from_pylist([row | {"model": m} for m in "ab"], schema=schema.SCORES)
    none = np.array([])
    nothing = compare_scores(np.full((1, 3), np.nan), np.full((1, 3), np.nan))
    pair = Pair("a", "b", [], none, none, none.astype(np.int64), nothing, left_out_prompts=1)
    results = build_results(scores, encoder="e", models=["a", "b"], pairs=[pair])
    as_json(results)
    model, item = results["models"][0], results["comparisons"][0]
    assert model["mean"] is None
    assert model["reasons"]["mean"]
    assert model["prompts_without_score"] == 1
    assert item["n"] == 0
    assert item["verdict"] == "too_few_prompts"
    assert item["mean_difference"]["reason"]
    assert item["power"]["reason"] == "not computed"
    assert results["convergence"][0]["reason"] == results["a_a"][0]["reason"] == "not computed"


def test_p_values_are_adjusted_over_all_pairs(world):
    run = world({"a": 0.9, "b": 0.5, "c": 0.1}, [f"p{i}" for i in range(12)], 4)
    tests = build_results(run.scores, **run.evidence)["comparisons"]
    smallest = min(tests, key=lambda test: test["p_value"])
    assert smallest["p_adjusted"] == pytest.approx(min(1, 3 * smallest["p_value"]))


def test_many_prompts_are_thinned():
    n = 5000
    rng = np.random.default_rng(0)
    ids = [f"{i:05d}" for i in range(n)]
    a, b = rng.normal(80, 5, n), rng.normal(79, 5, n)
    found = compare_scores(np.c_[a], np.c_[b], design="nested")
    pair = Pair("a", "b", ids, a, b, np.full(n, 20), found)
    rows = [
        dict.fromkeys(schema.SCORES.names)
        | {"model": m, "prompt_id": i, "prompt": i, "encoder": "e", "scs": s, "n_images": 20}
        for m, scs in (("a", pair.scs_a), ("b", pair.scs_b))
        for i, s in zip(ids, scs.tolist(), strict=True)
    ]
    scores = pa.Table.from_pylist(rows, schema=schema.SCORES)
    results = build_results(scores, encoder="e", models=["a", "b"], pairs=[pair], resamples=99)
    item = results["comparisons"][0]
    difference = np.sort(pair.scs_a - pair.scs_b)
    assert len(item["sorted_differences"]) == MAX_SORTED
    assert item["sorted_differences"][0] == difference[0]
    assert item["sorted_differences"][-1] == difference[-1]
    assert [row["difference"] for row in item["prompts"]] == pytest.approx(
        [*difference[::-1][:EXTREMES], *difference[:EXTREMES][::-1]]
    )
    assert len(as_json(results)) < 60_000


def test_other_encoders_are_set_beside_the_first(small):
    turned = small.scores.to_pylist()
    for row in turned:
        row |= {"encoder": "upside down", "scs": 100 - row["scs"]}
    scores = pa.concat_tables([small.scores, pa.Table.from_pylist(turned, schema=schema.SCORES)])
    results = build_results(scores, **small.evidence)
    for row in results["encoder_agreement"]:
        assert row["encoder"] == "upside down"
        assert row["spearman"]["statistic"] == pytest.approx(-1)
    alone = build_results(small.scores, **small.evidence)
    assert results["models"] == alone["models"]


def test_an_encoder_without_scores_has_a_reason(small):
    rows = [row | {"encoder": "other", "scs": None} for row in small.scores.to_pylist()]
    scores = pa.concat_tables([small.scores, pa.Table.from_pylist(rows, schema=schema.SCORES)])
    row = build_results(scores, **small.evidence)["encoder_agreement"][0]
    assert (row["n"], row["mean"]) == (0, None)
    assert row["spearman"]["reason"]


def test_every_key_is_documented(small):
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))

    def keys(value):
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    assert keys(build_results(small.scores, **small.evidence)) <= words


def test_notes_say_what_limits_the_results(world):
    run = world({"a": 0.5, "b": 0.4}, ["p", "q"], 3)
    pairs = [replace(run.evidence["pairs"][0], left_out_prompts=1)]
    notes = build_results(
        run.scores,
        **run.evidence | {"pairs": pairs},
        quarantined={"blank": 2},
        truncated={"a": 3},
        devices={"a": ["cpu"], "b": ["cuda"]},
    )["notes"]
    for said in ("2 samples quarantined", "3 images from prompts longer", "cpu, cuda", "1 prompt "):
        assert any(said in note for note in notes), said
    assert sum("biased upward" in note for note in notes) == 2
