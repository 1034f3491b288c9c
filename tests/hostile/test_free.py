"""A setting that changes no picture may change: what is kept is used, the rest computed again."""

from importlib import import_module

import pytest

from raypipe.config.strict import validate
from raypipe.errors import UserError
from tests.hostile.conftest import CONFIGS, placed

FREE = {
    "consistency": {"statistics": {"seed": 3}, "report": {"thumbnail": 32}},
    "evaluate": {"statistics": {"resamples": 99}},
    "align": {"statistics": {"alpha": 0.1}, "metrics": ["quality"]},
    "face_score": {"resamples": 99, "alpha": 0.1},
    "face_ablation": {"statistics": {"seed": 9}, "margin": 0.3, "against": "sft"},
    "agreement": {"statistics": {"seed": 9}, "failed_checks": 1.0, "shown": 2},
}
KEPT = {
    "consistency": {"sampler": {"steps": 5, "width": 64, "height": 64}},
    "evaluate": {"pairs": "elsewhere"},
    "align": {"run": "elsewhere"},
    "face_score": {"frozen": 0.1},
    "face_ablation": {"training_seeds": 2},
    "agreement": {"run": "elsewhere"},
}


@pytest.mark.parametrize("job", FREE)
def test_what_changes_no_picture_may_change_on_a_run(world, tmp_path, job):
    recipe = import_module(f"raypipe.jobs.{job}").JOB
    tree = placed(CONFIGS[job], world, tmp_path)
    config = validate(recipe.settings, tree, "config")
    run = recipe.directory(config.output)
    run.begin(config)
    run.check(validate(recipe.settings, tree | FREE[job], "config"))
    with pytest.raises(UserError, match="a run keeps its settings, but this config changes"):
        run.check(validate(recipe.settings, tree | KEPT[job], "config"))
