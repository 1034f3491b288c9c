"""The page: its numbers are those of results.json, it needs nothing, and no prompt harms it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from raypipe.core.differences import compare_scores
from raypipe.storage import schema
from raypipe.studies.consistency.evidence import Pair
from raypipe.studies.consistency.page import MAX_LISTED, render
from raypipe.studies.consistency.pictures import Thumbnail
from raypipe.studies.consistency.results import build_results

MANIFEST = {
    "status": "complete",
    "git_commit": "0123abc",
    "wall_seconds": 12.5,
    "packages": {"torch": "2.9.0"},
    "models": [{"name": "wild", "id": "<b>some</b>/model", "weights": "c0ffee"}],
    "config": {
        "models": [{"name": "wild", "id": "some/model", "lora": {"id": "some/lora", "scale": 0.6}}],
        "sampler": {"steps": 20, "guidance": 7.5, "width": 64, "height": 64},
        "prompts": ["</pre><script>alert(2)</script>"],
    },
}
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, numbers, ids, and text by tag."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.values, self.text, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "data":
            self.values.append(dict(attributes)["value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def results(small):
    return build_results(small.scores, quarantined={"blank": 1}, **small.evidence)


@pytest.fixture(scope="module")
def html(small, results):
    return render(results, small.scores, MANIFEST, small.thumbnails)


def test_numbers_equal_results_json(html, results):
    values = Page(html).values
    item = results["comparisons"][0]
    expected = [model[key] for model in results["models"] for key in ("mean", "sd", "clip_score")]
    for key in ("mean_difference", "mean_over_prompts", "hodges_lehmann"):
        expected += [item[key][part] for part in ("value", "low", "high")]
    expected += [item["wilcoxon"][key] for key in ("statistic", "p_value")]
    expected += [item["p_value"], item["p_adjusted"]]
    expected += [item["ks_2samp"]["p_value"], item["rank_biserial"]]
    expected += [test["p_value"] for test in item["normality"].values()]
    expected += [power for row in item["power"]["power"] for power in row]
    expected += [check["rate"] for check in results["a_a"]]
    expected += [row["difference"] for row in item["prompts"]]
    assert {repr(value) for value in expected} <= set(values)


def test_the_verdict_stands_on_the_page(html):
    text = "".join(Page(html).text).replace("\u00a0", " ")
    assert "calm is more consistent than wild: its score is higher by" in text
    assert "14 prompts, p < 0.001" in text


def test_nothing_is_fetched(html):
    page = Page(html)
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), attributes
    assert not page.all("link")
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_content_security_policy_admits_only_our_script(html):
    page = Page(html)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(page.all("script")) == 1


def test_hostile_prompts_are_text(html, hostile):
    page = Page(html)
    text = "".join(page.text)
    for prompt in hostile:
        assert prompt in text
    assert "alert(2)" in text
    assert not [t for t, attributes in page.tags if any(a.startswith("on") for a in attributes)]
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.all("img"))
    assert "<b>some</b>/model" in text


def test_ids_are_unique_and_links_lead_somewhere(html):
    ids = [attributes["id"] for _, attributes in Page(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in Page(html).tags if a.get("href", "").startswith("#")}
    assert targets <= set(ids)


def test_medoid_and_outlier_are_marked_in_every_grid(html):
    marks = [item.get("class") for item in Page(html).all("li") if "title" in item]
    assert len(marks) == 14 * 2 * 6
    assert marks.count("medoid") == marks.count("outlier") == 14 * 2


def test_the_page_repeats(small, results, html):
    assert render(results, small.scores, MANIFEST, small.thumbnails) == html


def test_quarantined_samples_are_counted_listed_and_capped(small, results):
    n = MAX_LISTED + 50
    rows = {"model": ["wild"] * n, "prompt": ["<i>p</i>"] * n, "seed": list(range(n))}
    table = pa.table(rows | {"reason": ["blank image"] * n})
    bad = [Thumbnail("s", 7, b"", schema.QUARANTINED, "blank image")]
    page = render(results, small.scores, {}, lambda *_: bad, quarantined=table, max_prompts=1)
    text = " ".join("".join(Page(page).text).split())
    assert f"The first {MAX_LISTED} of {n} quarantined samples" in text
    assert text.count("<i>p</i>") == MAX_LISTED
    assert "not scored" in text


def test_other_encoders_have_a_table(small):
    rows = [row | {"encoder": "other <one>"} for row in small.scores.to_pylist()]
    rows += [row | {"encoder": "empty", "scs": None} for row in rows]
    scores = pa.concat_tables([small.scores, pa.Table.from_pylist(rows, schema=schema.SCORES)])
    results = build_results(scores, **small.evidence)
    text = "".join(Page(render(results, scores, {}, small.thumbnails, max_prompts=1)).text)
    assert "other <one>" in text
    assert "1 of 14 prompts" in text


@pytest.mark.parametrize(
    ("models", "n_prompts", "n_images"),
    [
        ({"only": 0.5}, 1, 2),
        ({"a": 0.5, "b": 0.5}, 1, 2),
        ({"a": 0.5, "b": 0.2}, 3, 2),
        ({"a": 0, "b": 0}, 8, 5),
        ({"a": 0, "b": 0, "c": 0.5}, 7, 3),
    ],
)
def test_small_runs_have_strict_json_and_a_page(world, models, n_prompts, n_images):
    run = world(models, [f"p{i}" for i in range(n_prompts)], n_images)
    results = build_results(run.scores, **run.evidence)
    json.dumps(results, allow_nan=False)
    assert len(results["comparisons"]) == len(models) * (len(models) - 1) // 2
    for item in results["comparisons"]:
        for key in ("mean_difference", "mean_over_prompts", "hodges_lehmann"):
            assert item[key]["low"] is not None or item[key]["reason"]
    text = "".join(Page(render(results, run.scores, {}, run.thumbnails)).text)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert ("Nothing was compared" in text) == (len(models) == 1)


def test_a_hundred_thousand_prompts_fit_a_page():
    n = 100_000
    rng = np.random.default_rng(0)
    ids = [f"{i:06d}" for i in range(n)]
    scs = {"a": rng.normal(80, 5, n), "b": rng.normal(79, 5, n)}
    columns = {field.name: pa.nulls(2 * n, field.type) for field in schema.SCORES}
    columns |= {
        "model": np.repeat(["a", "b"], n),
        "prompt_id": ids * 2,
        "prompt": ["x" * 200] * (2 * n),
        "encoder": ["e"] * (2 * n),
        "scs": np.concatenate([scs["a"], scs["b"]]),
        "n_images": np.full(2 * n, 20, np.int32),
    }
    scores = pa.table([columns[name] for name in schema.SCORES.names], schema=schema.SCORES)
    found = compare_scores(np.c_[scs["a"]], np.c_[scs["b"]], design="nested")
    pair = Pair("a", "b", ids, scs["a"], scs["b"], np.full(n, 20), found)
    results = build_results(scores, encoder="e", models=["a", "b"], pairs=[pair], resamples=99)
    page = render(results, scores, {}, lambda *_: [])
    assert len(page) < 2**20
