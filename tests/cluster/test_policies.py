"""What the machines of a cluster may do to the account that they run in, and what is denied them.

Ray's own node provider works against moto's EC2; each call that it makes is put to the policy.
"""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import ray
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_WORKER,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
)

from tests.support import ROOT
from tests.support.policies import Request, allows, listed

POLICIES = ROOT / "cluster" / "policies"
VALUES = {"ACCOUNT": "123456789012", "REGION": "us-west-2", "BUCKET": "mine", "GROUP": "sg-0a1b"}
HOME = "arn:aws:ec2:us-west-2:123456789012"
OWN = {"aws:ResourceTag/ray-cluster-name": "raypipe"}


def policy(name: str, **values: str) -> dict[str, Any]:
    """A policy as docs/clusters.md has it filled in."""
    text = (POLICIES / f"{name}.json").read_text()
    for word, value in {**VALUES, **values}.items():
        text = text.replace(word, value)
    return json.loads(text)


@pytest.fixture
def calls(monkeypatch):
    """What Ray's node provider asks EC2 for: (call, parameters), after what made it ready."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", VALUES["REGION"])
    made: list[tuple[str, dict[str, Any]]] = []

    def note(params, model, **_):
        made.append((model.name, json.loads(json.dumps(params, default=str))))

    with mock_aws():
        boto3.setup_default_session()
        boto3.DEFAULT_SESSION.events.register("provide-client-params.ec2.*", note)
        utils.resource_cache.cache_clear()
        utils.client_cache.cache_clear()
        try:
            work_as_the_autoscaler_does()
        finally:
            utils.resource_cache.cache_clear()
            utils.client_cache.cache_clear()
            boto3.setup_default_session()
    return made


def work_as_the_autoscaler_does() -> None:
    """Start a worker, watch it, tell its state, and end it."""
    tree = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    ec2 = boto3.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.create_security_group(GroupName="raypipe", Description="raypipe")["GroupId"]
    role = boto3.client("iam")
    role.create_instance_profile(InstanceProfileName="raypipe-worker")
    node = tree["available_node_types"]["gpu"]["node_config"] | {
        "ImageId": image,  # as `ray up` has resolved it
        "SubnetIds": [subnet],
        "SecurityGroupIds": [group],
        "KeyName": "ray-autoscaler_us-west-2",
    }
    ec2.create_key_pair(KeyName=node["KeyName"])
    provider = AWSNodeProvider(tree["provider"], tree["cluster_name"])
    tags = {
        TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
        TAG_RAY_NODE_NAME: "ray-raypipe-worker",
        TAG_RAY_LAUNCH_CONFIG: "x",
        TAG_RAY_NODE_STATUS: "uninitialized",
    }
    provider.create_node(node, tags, 1)
    (worker,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_WORKER})
    provider.set_node_tags(worker, {TAG_RAY_NODE_STATUS: "up-to-date"})
    provider.non_terminated_nodes({})
    provider.internal_ip(worker)
    provider.terminate_nodes([worker])


def questions(call: str, given: dict[str, Any]) -> list[Request]:
    """What IAM asks about a call: one question for each resource that it touches."""
    if call.startswith("Describe"):
        return [Request(f"ec2:{call}", "*")]
    if call == "TerminateInstances":
        names = given["InstanceIds"]
        return [Request(f"ec2:{call}", f"{HOME}:instance/{name}", OWN) for name in names]
    if call == "CreateTags":
        keys = {"aws:TagKeys": [tag["Key"] for tag in given["Tags"]]}
        names = given["Resources"]
        return [Request(f"ec2:{call}", f"{HOME}:instance/{name}", OWN | keys) for name in names]
    assert call == "RunInstances", call
    (tags,) = given["TagSpecifications"]
    assert tags["ResourceType"] == "instance"
    words = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags["Tags"]}
    profile = given["IamInstanceProfile"]["Name"]
    instance = words | {
        "ec2:InstanceType": given["InstanceType"],
        "ec2:InstanceProfile": f"arn:aws:iam::123456789012:instance-profile/{profile}",
    }
    return [
        Request("ec2:RunInstances", f"{HOME}:instance/i-1", instance),
        Request(
            "ec2:RunInstances",
            f"arn:aws:ec2:us-west-2::image/{given['ImageId']}",
            {"ec2:Owner": "amazon"},
        ),
        *(
            Request("ec2:RunInstances", f"{HOME}:security-group/{group}")
            for group in given["SecurityGroupIds"]
        ),
        Request("ec2:RunInstances", f"{HOME}:key-pair/{given['KeyName']}"),
        Request("ec2:RunInstances", f"{HOME}:subnet/{given['SubnetId']}"),
        Request("ec2:RunInstances", f"{HOME}:volume/vol-1"),
        Request("ec2:RunInstances", f"{HOME}:network-interface/eni-1"),
        Request("ec2:RunInstances", f"{HOME}:spot-instances-request/sir-1"),
        Request("ec2:CreateTags", f"{HOME}:instance/i-1", words | {"ec2:CreateAction": call}),
        Request(
            "iam:PassRole",
            f"arn:aws:iam::123456789012:role/{profile}",
            {"iam:PassedToService": "ec2.amazonaws.com"},
        ),
    ]


def test_the_head_may_do_all_that_ray_does(calls):
    start = next(index for index, (call, _) in enumerate(calls) if call == "CreateKeyPair") + 1
    made = calls[start:]
    (group,) = next(given["SecurityGroupIds"] for call, given in made if call == "RunInstances")
    assert {"RunInstances", "CreateTags", "TerminateInstances"} <= {call for call, _ in made}
    head = policy("aws-head", GROUP=group)
    for call, given in made:
        for question in questions(call, given):
            assert allows(head, question), question


@pytest.mark.parametrize(
    "request_",
    [
        Request("ec2:TerminateInstances", f"{HOME}:instance/i-1"),
        Request(
            "ec2:TerminateInstances",
            f"{HOME}:instance/i-1",
            {"aws:ResourceTag/ray-cluster-name": "another"},
        ),
        Request("ec2:StopInstances", f"{HOME}:instance/i-1", OWN),
        Request("ec2:CreateTags", f"{HOME}:instance/i-1", {"aws:TagKeys": ["ray-cluster-name"]}),
        Request(
            "ec2:CreateTags",  # which would make another's machine its own
            f"{HOME}:instance/i-1",
            {"aws:RequestTag/ray-cluster-name": "raypipe", "aws:TagKeys": ["ray-cluster-name"]},
        ),
        Request(
            "ec2:CreateTags", f"{HOME}:instance/i-1", OWN | {"aws:TagKeys": ["ray-cluster-name"]}
        ),
        Request("ec2:RunInstances", f"{HOME}:instance/i-1", {"ec2:InstanceType": "g6e.xlarge"}),
        Request(
            "ec2:RunInstances",
            f"{HOME}:instance/i-1",
            {
                "aws:RequestTag/ray-cluster-name": "raypipe",
                "ec2:InstanceType": "g6e.xlarge",
                "ec2:InstanceProfile": "arn:aws:iam::123456789012:instance-profile/admin",
            },
        ),
        Request(
            "ec2:RunInstances",
            f"{HOME}:instance/i-1",
            {
                "aws:RequestTag/ray-cluster-name": "raypipe",
                "ec2:InstanceType": "p5.48xlarge",
                "ec2:InstanceProfile": "arn:aws:iam::123456789012:instance-profile/raypipe-worker",
            },
        ),
        Request("ec2:RunInstances", f"{HOME}:security-group/sg-another"),
        Request(
            "ec2:RunInstances", "arn:aws:ec2:us-west-2::image/ami-1", {"ec2:Owner": "210987654321"}
        ),
        Request(
            "iam:PassRole",
            "arn:aws:iam::123456789012:role/admin",
            {"iam:PassedToService": "ec2.amazonaws.com"},
        ),
        Request(
            "iam:PassRole",
            "arn:aws:iam::123456789012:role/raypipe-worker",
            {"iam:PassedToService": "lambda.amazonaws.com"},
        ),
        Request("iam:CreateRole", "arn:aws:iam::123456789012:role/new"),
        Request("s3:GetObject", "arn:aws:s3:::mine/x"),  # by the other policy, of the bucket
    ],
    ids=lambda request: f"{request.action}-{request.resource.rpartition(':')[2]}",
)
def test_the_head_may_do_nothing_else(request_):
    assert not allows(policy("aws-head"), request_)


def test_machines_reach_one_bucket_and_its_objects():
    bucket = policy("aws-bucket")
    assert allows(bucket, Request("s3:PutObject", "arn:aws:s3:::mine/run/plan"))
    assert allows(bucket, Request("s3:ListBucket", "arn:aws:s3:::mine"))
    for action, arn in (
        ("s3:PutObject", "arn:aws:s3:::others/x"),
        ("s3:DeleteBucket", "arn:aws:s3:::mine"),
        ("s3:PutBucketPolicy", "arn:aws:s3:::mine"),
    ):
        assert not allows(bucket, Request(action, arn))


@pytest.mark.parametrize("path", sorted(POLICIES.glob("aws-*.json")), ids=lambda path: path.stem)
def test_only_looking_is_allowed_everywhere(path):
    """EC2 cannot limit Describe calls; whatever changes something names its resource."""
    for statement in policy(path.stem)["Statement"]:
        actions = listed(statement["Action"])
        assert not any("*" in action for action in actions)
        if "*" in listed(statement.get("Resource", [])):
            assert all(action.startswith("ec2:Describe") for action in actions)
        if set(actions) & {"ec2:TerminateInstances", "ec2:CreateTags", "iam:PassRole"}:
            assert statement["Condition"]


def test_machines_alone_take_the_roles():
    (statement,) = policy("aws-trust")["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"


def test_the_policies_speak_of_the_cluster_of_the_file():
    tree = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    gpu = tree["available_node_types"]["gpu"]["node_config"]
    text = (POLICIES / "aws-head.json").read_text()
    assert f'"aws:RequestTag/ray-cluster-name": "{tree["cluster_name"]}"' in text
    assert f'"ec2:InstanceType": "{gpu["InstanceType"]}"' in text
    assert f"instance-profile/{gpu['IamInstanceProfile']['Name']}" in text
    own = yaml.safe_load((POLICIES / "gcp-own.yaml").read_text())["expression"]
    google = yaml.safe_load((ROOT / "cluster" / "gcp.yaml").read_text())
    assert own.count(f'startsWith("ray-{google["cluster_name"]}-")') == 2


def test_googles_head_has_a_role_of_named_permissions_and_an_account_of_its_own():
    role = yaml.safe_load((POLICIES / "gcp-head.yaml").read_text())
    allowed = role["includedPermissions"]
    assert allowed == sorted(set(allowed))
    assert not [name for name in allowed if "*" in name or "Iam" in name or "Metadata" in name]
    assert all(name.startswith("compute.") for name in allowed)
    assert {"compute.instances.create", "compute.instances.delete"} <= set(allowed)
    nodes = yaml.safe_load((ROOT / "cluster" / "gcp.yaml").read_text())["available_node_types"]
    emails = {
        name: kind["node_config"]["serviceAccounts"][0]["email"] for name, kind in nodes.items()
    }
    assert emails == {
        "head": "raypipe-head@PROJECT.iam.gserviceaccount.com",
        "gpu": "raypipe-worker@PROJECT.iam.gserviceaccount.com",
    }


def test_what_rays_provider_asks_google_for_is_in_the_role():
    """Its calls of Compute Engine, read off its code, each with the permission it takes."""
    role = yaml.safe_load((POLICIES / "gcp-head.yaml").read_text())["includedPermissions"]
    file = Path(ray.__file__).parent / "autoscaler" / "_private" / "gcp" / "node.py"
    code = file.read_text().partition("class GCPCompute(")[2].partition("\nclass ")[0]
    named = set(re.findall(r"self\.resource\.(\w+)\(\)\s*\.(\w+)\(", code))
    takes = {
        ("zoneOperations", "get"): "compute.zoneOperations.get",
        ("instances", "insert"): "compute.instances.create",
        ("instances", "delete"): "compute.instances.delete",
        ("instances", "get"): "compute.instances.get",
        ("instances", "list"): "compute.instances.list",
        ("instances", "setLabels"): "compute.instances.setLabels",
        (
            "instances",
            "stop",
        ): None,  # of cache_stopped_nodes, which is off
        ("instances", "start"): None,
    }
    assert {("instances", "insert"), ("instances", "delete")} <= named <= takes.keys()
    assert {takes[call] for call in named} - {None} <= set(role)
