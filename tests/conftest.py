"""Fixtures that many tests share: small real models, pictures on disk, and configs over them."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from raypipe.studies.consistency.plan import batches, make_plan
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency
from tests.support import HOSTILE
from tests.support.pictures import encoded, noise

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported, later than this

# a busy machine is no reason to fail
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker ends alone: those on Ray, then those with a slow test."""
    marked = {
        mark: {item.path for item in items if item.get_closest_marker(mark)}
        for mark in ("ray", "slow")
    }
    items.sort(key=lambda item: [item.path not in marked[mark] for mark in ("ray", "slow")])


class OneRay(LoadFileScheduling):
    """A file to a worker; all files on Ray to one worker, which starts one cluster for them."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/ray" if nodeid.startswith("tests/ray/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRay:
    return OneRay(config, log)


class TinyModels:
    """Directories of tiny models, each made when a test first asks for it, for all test workers."""

    def __init__(self, root: Path):
        self._root = root

    def __getattr__(self, name: str) -> Path:
        """sdxl, sd15, pixart, an open_clip encoder, or a lora on the SDXL-shaped one."""
        from tests.support import tiny  # loads torch and diffusers: only for those who need them

        path = self._root / name
        more = (self.sdxl,) if name == "lora" else ()
        with FileLock(self._root / f"{name}.lock"):
            done = self._root / f"{name}.done"
            if not done.exists():
                made = getattr(tiny, name)(path, *more)
                done.write_text(str(made))
        made = Path(done.read_text())
        setattr(self, name, made)
        return made


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id) -> Path:
    """A folder that all test workers share."""
    root = tmp_path_factory.getbasetemp()
    return root if worker_id == "master" else root.parent


@pytest.fixture(scope="session")
def tiny_models(shared) -> TinyModels:
    """Tiny models of every family, made lazily."""
    root = shared / "models"
    root.mkdir(exist_ok=True)
    return TinyModels(root)


@pytest.fixture(scope="session")
def hostile() -> list[str]:
    """Prompts that do harm to careless code."""
    return list(HOSTILE)


def draw(path: Path, value: int = 0) -> Path:
    """A small PNG that differs with `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(value, 8, 8)))
    return path


@pytest.fixture
def tree(tmp_path) -> Callable[[Mapping[str, Mapping[str, Iterable[int]]]], Path]:
    """Makes a folder of pictures from {model: {prompt: seeds}}; returns its root."""

    def make(models: Mapping[str, Mapping[str, Iterable[int]]]) -> Path:
        root = tmp_path / "pictures"
        root.mkdir(exist_ok=True)
        for model, prompts in models.items():
            for prompt, seeds in prompts.items():
                for seed in seeds:
                    draw(root / model / prompt / f"{seed}.png", seed)
        return root

    return make


@pytest.fixture
def study(tiny_models, tmp_path) -> Callable[..., Consistency]:
    """Makes a config of two tiny models, three prompts and three seeds, with changes."""
    base: dict[str, Any] = {
        "models": [
            {"name": "sdxl", "id": str(tiny_models.sdxl)},
            {"name": "pixart", "id": str(tiny_models.pixart)},
        ],
        "prompts": ["a red ball", "a blue box", "a green cone"],
        "seeds": [7, 1, 4],
        "sampler": {"steps": 2, "width": 32, "height": 32},
        "encoder": {"id": str(tiny_models.encoder)},
        "pools": {"generate": {"batch_size": 2}},
        "output": str(tmp_path / "run"),
    }

    def make(**changes: Any) -> Consistency:
        return Consistency.model_validate({**base, **changes})

    return make


@pytest.fixture
def begun() -> Callable[[Consistency], Run]:
    """Makes a run directory as far as the plan of its samples, as the job does."""

    def begin(config: Consistency) -> Run:
        run = Run(config.output)
        run.check(config)
        plan = make_plan(config)
        new = run.new_samples(plan.samples())
        run.check_note("encoders", plan.encoders, "encoder {name}")
        run.begin(config, encoders=plan.encoders)
        if len(new):
            part = run.next_part()
            run.add_samples(batches(new, config, part), part)
        return run

    return begin


@pytest.fixture(scope="session")
def undisturbed_stand_in(shared):
    """The directory of a finished run that nothing happened to, made without Ray."""
    from tests.support import stand_in_runs

    run = shared / "undisturbed_stand_in"
    with FileLock(f"{run}.lock"):
        if not run.exists():
            tree = stand_in_runs.config(run)
            process = stand_in_runs.start(tree, shared, "--local", STAND_IN_SECONDS="0")
            stand_in_runs.finish(process)
    return run


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system with room for half a megabyte."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(where)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted without the right to (root)")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)
