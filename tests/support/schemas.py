"""Checks documents against the reduced schemas in tests/data, and nodes against the configs."""

import json
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from raypipe.config import strict as config
from raypipe.engine.cluster import check_pools
from raypipe.studies.consistency.settings import Consistency
from tests.support import DATA, ROOT

CONFIGS = ROOT / "configs" / "consistency"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in DATA.glob("*.json")}
REGISTRY: Registry = Registry().with_resources(
    (name, DRAFT202012.create_resource(schema)) for name, schema in SCHEMAS.items()
)


def problems(document: Any, reference: str) -> list[str]:
    """What is wrong with a document, by a schema such as `kuberay.json#/$defs/RayJob`."""
    validator = Draft202012Validator({"$ref": reference}, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def put(document: Any, path: str, value: Any) -> None:
    """Set what is at `a.0.b`."""
    *parents, key = path.split(".")
    for parent in parents:
        document = document[int(parent) if parent.isdecimal() else parent]
    document[key] = value


def check_gpu_configs_fit(nodes: list[dict[str, float]]) -> None:
    """Fails unless every shipped config that asks for GPUs runs on these nodes at full size."""
    checked = 0
    for path in sorted(CONFIGS.glob("*.yaml")):
        pools = config.load(path, [], Consistency).pools
        if pools.generate.gpus_per_actor:
            chains = [[("generate", pools.generate), ("embed", pools.embed)]]
            chains += [[("encode", pools.encode)]] if pools.encode else []
            assert check_pools(chains, nodes, is_limit=True) == [], path.name
            checked += 1
    assert checked >= 2
