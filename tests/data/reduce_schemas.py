"""Reduce the providers' own descriptions of their interfaces to small JSON schemas for the tests.

    uv run --no-project --with botocore==1.44.5 --with google-api-python-client==2.202.0 \
        --with kubernetes-validate==1.37.0 python tests/data/reduce_schemas.py

Names, types, allowed values and required fields only; a name that is not there is an error, and
what only the provider sets (an instance's status) is not there. Together those packages are 250 MB,
and these files 75 kB, so the tests need none of them. All three are published under
Apache-2.0. kuberay.json is no output of this: see the note in it.
"""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Schema = dict[str, Any]

KUBERNETES = "1.34"
"""A version that every provider offers."""

GROUPS = {"Deployment": "apps", "NetworkPolicy": "networking"}
KINDS = (
    *("Secret", "PersistentVolumeClaim", "Service", "Deployment", "ServiceAccount", "Namespace"),
    "NetworkPolicy",
)


def ec2() -> Schema:
    """What RunInstances takes."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("ec2")
    definitions: dict[str, Schema] = {}
    simple = {"timestamp": "string", "blob": "string", "long": "integer", "double": "number"}

    def reduce(shape: Any) -> Schema:
        if shape.type_name == "list":
            return {"type": "array", "items": reduce(shape.member)}
        if shape.type_name != "structure":
            values = list(getattr(shape, "enum", None) or [])
            kind = simple.get(shape.type_name, shape.type_name)
            return {"type": kind, **({"enum": values} if values else {})}
        if shape.name not in definitions:
            definitions[shape.name] = {}
            definitions[shape.name] = closed(
                {name: reduce(member) for name, member in shape.members.items()},
                shape.required_members,
            )
        return {"$ref": f"#/$defs/{shape.name}"}

    root = reduce(model.operation_model("RunInstances").input_shape)
    # Hundreds of instance types come every year; the tests name those that the files may use.
    for definition in definitions.values():
        for schema in definition["properties"].values():
            if len(schema.get("enum", ())) > 50:
                del schema["enum"]
    return {"$comment": f"EC2 RunInstances, API version {model.api_version}", **root} | {
        "$defs": definitions
    }


def compute() -> Schema:
    """What instances.insert takes."""
    documents = resources.files("googleapiclient") / "discovery_cache" / "documents"
    document = json.loads((documents / "compute.v1.json").read_text())
    definitions: dict[str, Schema] = {}

    def reduce(schema: Schema) -> Schema:
        if "$ref" in schema:
            return define(schema["$ref"])
        if schema.get("type") == "array":
            return {"type": "array", "items": reduce(schema["items"])}
        if schema.get("type") == "object" and "additionalProperties" in schema:
            value = reduce(schema["additionalProperties"])
            return {"type": "object", "additionalProperties": value}
        if schema.get("type") == "object" and "properties" in schema:
            return fields(schema)
        if schema.get("format") in ("int64", "uint64"):
            return {"type": ["string", "integer"]}
        kept = {key: schema[key] for key in ("type", "enum") if key in schema}
        return kept if kept.get("type") != "any" else {}

    def fields(schema: Schema) -> Schema:
        return closed(
            {
                name: reduce(member)
                for name, member in schema.get("properties", {}).items()
                if not re.match(r"\[?output.only", member.get("description", ""), re.IGNORECASE)
            }
        )

    def define(name: str) -> Schema:
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = fields(document["schemas"][name])
        return {"$ref": f"#/$defs/{name}"}

    root = define("Instance")
    told = f"Compute Engine v1 Instance, revision {document['revision']}"
    return {"$comment": told, **root, "$defs": definitions}


def kubernetes() -> Schema:
    """The kinds that the manifests use, and a pod's template."""
    files = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    folder = next(item for item in files.iterdir() if item.name.startswith(f"v{KUBERNETES}."))
    document = json.loads((folder / "_definitions.json").read_text())["$defs"]
    definitions: dict[str, Schema] = {}

    def reduce(schema: Schema) -> Schema:
        if "$ref" in schema:
            return define(schema["$ref"].rpartition("/")[2])
        if "oneOf" in schema:
            return {"oneOf": [reduce(item) for item in schema["oneOf"]]}
        kept = {key: schema[key] for key in ("type", "enum") if key in schema}
        if "items" in schema:
            kept["items"] = reduce(schema["items"])
        if isinstance(schema.get("additionalProperties"), dict):
            kept["additionalProperties"] = reduce(schema["additionalProperties"])
        if "properties" in schema:
            members = {name: reduce(item) for name, item in schema["properties"].items()}
            kept |= closed(members, schema.get("required", []))
        return kept

    def define(name: str) -> Schema:
        short = name.removeprefix("io.k8s.")
        if short not in definitions:
            definitions[short] = {}
            definitions[short] = reduce(document[name])
        return {"$ref": f"#/$defs/{short}"}

    for kind in KINDS:
        define(f"io.k8s.api.{GROUPS.get(kind, 'core')}.v1.{kind}")
    define("io.k8s.api.core.v1.PodTemplateSpec")
    return {"$comment": f"Kubernetes {folder.name}", "$defs": definitions}


def closed(properties: dict[str, Schema], required: Any = ()) -> Schema:
    """An object with these fields and no others."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": sorted(required)} if required else {})


if __name__ == "__main__":
    for make in (ec2, compute, kubernetes):
        text = json.dumps(make(), separators=(",", ":"), sort_keys=True)
        lines = re.sub(r'(?<=[,{])(?="[\w.]+":\{"additionalProperties":false)', "\n", text)
        (HERE / f"{make.__name__}.json").write_text(lines + "\n")
