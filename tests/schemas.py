"""Checks documents against the reduced schemas in tests/data."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DATA = Path(__file__).parent / "data"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in DATA.glob("*.json")}
REGISTRY: Registry = Registry().with_resources(
    (name, DRAFT202012.create_resource(schema)) for name, schema in SCHEMAS.items()
)


def problems(document: Any, reference: str) -> list[str]:
    """What is wrong with a document, by a schema such as `kuberay.json#/$defs/RayJob`."""
    validator = Draft202012Validator({"$ref": reference}, registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
