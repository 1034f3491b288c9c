"""The package is laid out as docs/architecture.md says, and the checks of it see all of it."""

import ast
import importlib.util
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import grimp
import pytest

from raypipe.__main__ import JOBS
from raypipe.job import Command, Recipe
from raypipe.metrics.registry import METRICS
from tests.support import ROOT

PACKAGE = ROOT / "raypipe"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "log.md"),
]
"""The log is left out: its entries keep the names of their day."""

WITHOUT_STUDY = {"train_miniature"}

LARGEST, SMALLEST = 300, 30
SIZES = {
    "core/ranking_loss.py": "a formula with its derivation",
    "engine/log.py": "workers log through it, with Ray or without",
    "engine/session.py": "job.py takes it without loading the rest of the engine",
    "jobs/questions.py": "a recipe",
    "metrics/faces.py": "the arithmetic of several faces, apart from the stage that finds them",
    "miniature/metric.py": "the metrics load it by its name, and nothing else of the room",
    "models/diffusion/compiled.py": "loads diffusers; generator and guidance_interval share it",
    "models/faces/detector.py": "chooses a backend, so that only that one is loaded",
    "report/thumbnail.py": "four studies show pictures; loads Pillow only when asked",
    "engine/cluster.py": "all that is asked of a cluster before and after a run",
    "storage/directory.py": "every rule of a run directory side by side",
    "storage/files.py": "every way in and out of a disk or bucket, with its errors in words",
    "storage/schema.py": "every table's columns on one page, which other people's scripts rely on",
    "studies/agreement/run.py": "a run directory",
    "studies/agreement/settings.py": "a study's config",
    "studies/align/settings.py": "a study's config",
    "studies/questions/run.py": "a run directory",
}
"""Modules of more than LARGEST or fewer than SMALLEST lines, and why they are."""


def by_path(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = by_path(ROOT / "docs" / "house.py")


def dotted(path: Path, root: Path) -> str:
    """A file's name as a module."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def hidden(root: Path, package: str) -> set[str]:
    """Modules on disk that import-linter does not see; `root` must be importable."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {dotted(path, root) for path in (root / package).rglob("*.py")} - graph.modules


def resolves(name: str) -> bool:
    """Whether `raypipe.a.b`, `raypipe.a.b.C` or `raypipe.a.b:C` is a module or stands in one."""
    parts = name.replace(":", ".").split(".")
    for n in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:n])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.exists():
                return parts[n:] == [] or (parts[n] in _defined(file) and len(parts) == n + 1)
    return False


def _defined(path: Path) -> set[str]:
    """The names that a module defines or imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found


def test_the_picture_shows_the_rooms_and_arrows_that_the_imports_make():
    shown = list(ElementTree.parse(house.SVG).iter())
    lines, pairs = house.read()
    assert {e.get("data-room") for e in shown if e.get("data-room")} == set(lines), "make house"
    drawn = {(e.get("data-from"), e.get("data-to")) for e in shown if e.get("data-from")}
    assert drawn == house.arrows(pairs), "make house"


def test_the_picture_reads_the_imports_that_import_linter_reads():
    graph = grimp.build_graph("raypipe", cache_dir=None)
    seen = {
        (house.room(module), house.room(other))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    }
    assert house.read()[1] == {(a, b) for a, b in seen if a and b and a != b}


def test_every_arrow_leads_down():
    lines, pairs = house.read()
    floor = {room: house.floor_of(room) for room in lines}
    assert not [(a, b) for a, b in pairs if floor[a] >= floor[b]]


def test_an_arrow_that_others_imply_is_left_out():
    assert house.arrows({("a", "b"), ("b", "c"), ("a", "c")}) == {("a", "b"), ("b", "c")}


def test_import_linter_sees_every_module():
    assert hidden(ROOT, "raypipe") == set()


def test_a_folder_without_init_would_be_noticed(tmp_path, monkeypatch):
    for file in ("__init__.py", "seen/__init__.py", "seen/a.py", "unseen/b.py"):
        path = tmp_path / "shack" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert hidden(tmp_path, "shack") == {"shack.unseen.b"}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_its_recipe_its_configs_and_its_study(job):
    assert isinstance(import_module(f"raypipe.jobs.{job}").JOB, Recipe | Command)
    assert list((ROOT / "configs" / job).glob("*.yaml"))
    assert (PACKAGE / "studies" / job).is_dir() != (job in WITHOUT_STUDY)


def test_no_recipe_shim_study_or_folder_of_configs_is_without_a_job():
    def names(paths):
        return {path.stem for path in paths if not path.stem.startswith("_")}

    assert names((PACKAGE / "jobs").glob("*.py")) == set(JOBS)
    assert names((ROOT / "jobs").glob("*.py")) == set(JOBS)
    assert names((PACKAGE / "studies").glob("*/")) == set(JOBS) - WITHOUT_STUDY
    assert names((ROOT / "configs").glob("*/")) == set(JOBS) | {"prompts"}


def test_the_scorers_of_metrics_and_other_names_in_code_resolve():
    named = {kind.scorer for kind in METRICS.values()}
    for path in SOURCES:
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        strings = {n.value for n in nodes if isinstance(n.value, str)}
        named |= {s for s in strings if re.fullmatch(r"raypipe(\.[a-z_]+)+(:[A-Za-z_]+)?", s)}
        named |= set(re.findall(r"`(raypipe(?:\.\w+)+)(?:\(\))?`", path.read_text()))
    assert {name for name in named if not resolves(name)} == set()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("raypipe.core", True),
        ("raypipe.engine.chain", True),
        ("raypipe.engine.chain.run_chain", True),
        ("raypipe.storage.schema.PAIRS", True),
        ("raypipe.metrics.clip:ClipScore", True),
        ("raypipe.stages.chain", False),
        ("raypipe.engine.chain.run_chains", False),
        ("raypipe.metrics.clip:ClipScores", False),
        ("raypipe.job.Job.finish", False),
    ],
)
def test_a_name_resolves_to_a_module_or_to_what_stands_at_the_top_of_one(name, known):
    assert resolves(name) is known


def absent_paths(text: str) -> set[str]:
    """Paths of the checkout in a text that are not there, without those to be filled in."""
    tops = "raypipe|tests|docs|jobs|configs|cluster"
    paths = set(re.findall(rf"(?<![\w./:-])(?:{tops})/[\w/.-]*\w", text))
    return {path for path in paths if not (ROOT / path).exists() and not is_to_fill_in(path)}


def is_to_fill_in(name: str) -> bool:
    """Whether a path or dotted name has a place for the reader's own."""
    return bool({"NAME", "JOB", "KEY", "X"} & set(re.split("[/._:]", name)))


def test_paths_in_code_exist():
    assert {path for source in SOURCES for path in absent_paths(source.read_text())} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_names_on_a_page_exist(page):
    text = page.read_text()
    names = set(re.findall(r"\braypipe(?:\.[A-Za-z_]\w*)+(?::\w+)?", text))
    assert absent_paths(text) == set()
    assert {name for name in names if not resolves(name) and not is_to_fill_in(name)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_installs_another_projects_package(page):
    assert not re.search(r"pip install ['\"]?raypipe\b", page.read_text())


def test_a_file_that_is_large_or_small_has_a_reason():
    lines = {str(p.relative_to(PACKAGE)): len(p.read_text().splitlines()) for p in SOURCES}
    odd = {
        name
        for name, n in lines.items()
        if not SMALLEST <= n <= LARGEST and not name.endswith(("__init__.py", "__main__.py"))
    }
    assert odd - SIZES.keys() == set(), "split or merge, or say why"
    assert SIZES.keys() - odd == set(), "no reason needed any more"
