"""cluster/kuberay against the fields of KubeRay's and Kubernetes' own kinds. Nothing is started."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.kuberay.node_provider import (
    IN_CLUSTER_CA_CERT_PATH,
    IN_CLUSTER_TOKEN_PATH,
)
from ray.scripts.scripts import start

from tests.support import ROOT
from tests.support.schemas import check_gpu_configs_fit, problems, put

FOLDER = ROOT / "cluster" / "kuberay"
RAY = next(
    line.split()[0].removeprefix("ray==")
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line.startswith("ray==")
)
DOCUMENTS = [
    (path.name, document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
GROUPS = {"Deployment": "apps", "NetworkPolicy": "networking"}


def manifest_problems(document):
    kind = document["kind"]
    if document["apiVersion"] == "ray.io/v1":
        return problems(document, f"kuberay.json#/$defs/{kind}")
    group = GROUPS.get(kind, "core")
    named = {"core": "v1", "apps": "apps/v1", "networking": "networking.k8s.io/v1"}
    assert document["apiVersion"] == named[group]
    return problems(document, f"kubernetes.json#/$defs/api.{group}.v1.{kind}")


def of_kind(kind, name=""):
    document = next(
        item
        for _, item in DOCUMENTS
        if item["kind"] == kind and name in ("", item["metadata"].get("name"))
    )
    return json.loads(json.dumps(document))  # a copy in which no two places are one (anchors)


def cluster_spec(kind):
    spec = of_kind(kind)["spec"]
    return spec["rayClusterSpec"] if kind == "RayJob" else spec


def pods(kind):
    spec = cluster_spec(kind)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


@pytest.mark.parametrize(
    "document", [document for _, document in DOCUMENTS], ids=[d["kind"] for _, d in DOCUMENTS]
)
def test_kubernetes_takes_the_manifest(document):
    assert manifest_problems(document) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.backoffLimits", 3),
        ("spec.backoffLimit", "3"),
        ("spec.rayClusterSpec.authOptions.mode", "tokens"),
        ("spec.rayClusterSpec.autoscalerOptions.version", "V2"),
        ("spec.rayClusterSpec.workerGroupSpecs.0.minReplica", 0),
        ("spec.rayClusterSpec.workerGroupSpecs.0.minReplicas", -1),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.container", []),
        ("spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.env.0.value", 1),
        ("metadata.label", {}),
    ],
)
def test_a_mistake_is_found(path, value):
    document = of_kind("RayJob")
    put(document, path, value)
    assert len(manifest_problems(document)) == 1


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_gpu_workers_are_spot_and_scale_from_zero(kind):
    spec = cluster_spec(kind)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    (gpu,) = spec["workerGroupSpecs"]
    assert gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    (container,) = gpu["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    tolerated = {item["key"] for item in gpu["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= tolerated
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(spec["headGroupSpec"])


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_token_is_asked_for_and_nothing_runs_as_root(kind):
    spec = cluster_spec(kind)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert "enableIngress" not in spec["headGroupSpec"]
    for group in pods(kind):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_versions_agree_and_every_mount_has_its_volume(kind):
    assert cluster_spec(kind)["rayVersion"] == RAY
    claims = {d["metadata"]["name"] for _, d in DOCUMENTS if d["kind"] == "PersistentVolumeClaim"}
    accounts = {d["metadata"]["name"] for _, d in DOCUMENTS if d["kind"] == "ServiceAccount"}
    images = set()
    for group in pods(kind):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] in accounts
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim")
            assert claim is None or claim["claimName"] in claims
        for container in pod["containers"]:
            images.add(container["image"])
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {n for n, volume in volumes.items() if "projected" not in volume}
    assert len(images) == 1


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_papers_configs_fit(kind):
    (gpu,) = cluster_spec(kind)["workerGroupSpecs"]
    limits = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    check_gpu_configs_fit([node] * gpu["maxReplicas"])


def test_a_job_ends_and_a_lost_attempt_goes_on():
    spec = of_kind("RayJob")["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["activeDeadlineSeconds"] > 0
    assert "output=gs://" in spec["entrypoint"]
    named = [word for word in spec["entrypoint"].split() if word.endswith((".py", ".yaml"))]
    assert len(named) == 2
    assert all((ROOT / name).exists() for name in named)


def test_the_head_finds_redis_by_its_service_and_password():
    options = cluster_spec("RayCluster")["gcsFaultToleranceOptions"]
    service = of_kind("Service")
    (port,) = service["spec"]["ports"]
    address = f"redis://{service['metadata']['name']}:{port['port']}"
    assert options["redisAddress"] == address
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    secret = options["redisPassword"]["valueFrom"]["secretKeyRef"]
    pod = of_kind("Deployment")["spec"]["template"]
    (volume,) = (v for v in pod["spec"]["volumes"] if "secret" in v)
    assert volume["secret"]["secretName"] == secret["name"]
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == volume["name"])
    script = container["command"][-1]
    assert f"{mount['mountPath']}/{secret['key']}" in script
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_redis_has_its_password_from_a_file(tmp_path):
    """Its own command runs here with a program in Redis's place: what is on the command line?"""
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert "env" not in container
    for folder in ("secret", "conf"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secret" / "password").write_text("0123abcd")
    server = tmp_path / "redis-server"
    server.write_text('#!/bin/sh\necho "$@"\n')
    server.chmod(0o755)
    *shell, script = container["command"]
    for folder in ("secret", "conf"):
        script = script.replace(f"/{folder}/", f"{tmp_path}/{folder}/")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [*shell, script], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    conf = tmp_path / "conf" / "redis.conf"
    assert done.stdout == f"{conf}\n"
    assert conf.read_text() == "requirepass 0123abcd\ndir /data\nappendonly yes\n"
    assert conf.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_what_runs_in_the_pods_cannot_speak_to_kubernetes(kind):
    head, *workers = pods(kind)
    accounts = {d["metadata"]["name"]: d for _, d in DOCUMENTS if d["kind"] == "ServiceAccount"}
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    for group in (head, *workers):
        assert group["template"]["spec"]["automountServiceAccountToken"] is False
    names = {group["template"]["spec"]["serviceAccountName"] for group in workers}
    assert head["template"]["spec"]["serviceAccountName"] not in names
    for worker in workers:
        assert not [v for v in worker["template"]["spec"]["volumes"] if "projected" in v]
    # the autoscaler alone has the head's token, where Ray looks for it
    (token,) = (v for v in head["template"]["spec"]["volumes"] if "projected" in v)
    (mount,) = cluster_spec(kind)["autoscalerOptions"]["volumeMounts"]
    assert mount["name"] == token["name"]
    assert mount["mountPath"] == str(Path(IN_CLUSTER_TOKEN_PATH).parent)
    paths = {
        item["path"]
        for source in token["projected"]["sources"]
        for kind_ in source.values()
        for item in kind_.get("items", [kind_])
    }
    assert {Path(p).name for p in (IN_CLUSTER_TOKEN_PATH, IN_CLUSTER_CA_CERT_PATH)} <= paths
    for container in head["template"]["spec"]["containers"]:
        assert token["name"] not in {m["name"] for m in container["volumeMounts"]}


def test_secrets_are_in_no_file_and_on_no_command_line():
    for path in [*FOLDER.glob("*.yaml"), FOLDER.parent / "aws.yaml", FOLDER.parent / "gcp.yaml"]:
        text = path.read_text()
        assert "--from-literal" not in text, path.name
        assert not re.search(r"HF_TOKEN\s*[=:]\s*\S", text), path.name
    for kind in ("RayCluster", "RayJob"):
        for group in pods(kind):
            (container,) = group["template"]["spec"]["containers"]
            (token,) = (v for v in container["env"] if v["name"] == "HF_TOKEN")
            assert token["valueFrom"]["secretKeyRef"]["optional"] is True
    page = (ROOT / "docs" / "clusters.md").read_text()
    assert "--from-literal" not in page
    assert not re.search(r"HF_TOKEN\b", page)  # HF_TOKEN_PATH, which names a file, may be there


def images(tree):
    """Every image that a document names."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "image":
                yield value
            yield from images(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from images(value)


def test_images_are_named_by_a_digest_that_is_to_be_looked_up():
    """A digest that stood here would have been looked up by nobody."""
    named = {image for _, document in DOCUMENTS for image in images(document)}
    assert named == {"IMAGE", "redis:7.4-bookworm@DIGEST"}
    page = (ROOT / "docs" / "clusters.md").read_text()
    assert page.count("imagetools inspect") >= 2


def selects(selector, labels):
    """Whether a label selector matches, by the rules of Kubernetes."""
    tests = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        tests[rule["operator"]](rule["key"], rule.get("values"))
        for rule in selector.get("matchExpressions", [])
    )


def reaches(source, target, port):
    """Whether pods with the labels `source` may open a connection to a port of others."""
    policies = [d["spec"] for _, d in DOCUMENTS if d["kind"] == "NetworkPolicy"]
    of_target = [p for p in policies if selects(p["podSelector"], target)]
    assert all("Ingress" in policy["policyTypes"] for policy in policies)
    return not of_target or any(
        any(
            p["protocol"] == "TCP" and p["port"] <= port <= p.get("endPort", p["port"])
            for p in rule["ports"]
        )
        and any(
            peer.keys() == {"podSelector"} and selects(peer["podSelector"], source)
            for peer in rule["from"]
        )
        for policy in of_target
        for rule in policy.get("ingress", [])
    )


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_pods_reach_what_ray_needs_and_nothing_else(kind):
    head, worker = (group["template"]["metadata"]["labels"] for group in pods(kind))
    submitter = of_kind("RayJob")["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    operator = {"app.kubernetes.io/name": "kuberay-operator"}
    redis = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    stranger = {"app": "notebook"}
    everybody = [head, worker, submitter, operator, redis, stranger]
    may = {
        (0, 6379): [worker],
        (0, 8265): [submitter, operator],
        (4, 6379): [head],
    }
    for name, value in cluster_spec(kind)["headGroupSpec"]["rayStartParams"].items():
        if name.endswith("-port"):
            may |= {(0, int(value)): [head, worker], (1, int(value)): [head, worker]}
    ports = {22, 80, 443, 6379, 8080, 8265, 10001, 10500, 11000, 30000} | {port for _, port in may}
    may |= {(0, 10500): [head, worker], (1, 10500): [head, worker]}
    for index, target in enumerate([head, worker, submitter, None, redis]):
        for port in ports if target else ():
            for source in everybody:
                wanted = source in may.get((index, port), [])
                assert reaches(source, target, port) is wanted, (source, target, port)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_rays_ports_are_fixed_on_every_pod(kind):
    head, *workers = pods(kind)
    ports = {k: v for k, v in head["rayStartParams"].items() if k.endswith("-port")}
    options = {option for command in start.params for option in command.opts}
    assert {f"--{name}" for name in ports} <= options
    assert len(ports) == 6
    assert all(worker["rayStartParams"] == ports for worker in workers)
