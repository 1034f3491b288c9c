"""cluster/kuberay against the fields of KubeRay's and Kubernetes' own kinds. Nothing is started."""

import json

import pytest
import yaml

from tests.support import ROOT
from tests.support.schemas import check_gpu_configs_fit, problems, put

FOLDER = ROOT / "cluster" / "kuberay"
RAY = next(
    line.strip().removeprefix("ray==")
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line.startswith("ray==")
)
DOCUMENTS = [
    (path.name, document)
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
GROUPS = {"Deployment": "apps"}


def manifest_problems(document):
    kind = document["kind"]
    if document["apiVersion"] == "ray.io/v1":
        return problems(document, f"kuberay.json#/$defs/{kind}")
    group = GROUPS.get(kind, "core")
    assert document["apiVersion"] == ("v1" if group == "core" else f"{group}/v1")
    return problems(document, f"kubernetes.json#/$defs/api.{group}.v1.{kind}")


def of_kind(kind):
    document = next(item for _, item in DOCUMENTS if item["kind"] == kind)
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
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
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
    assert container["env"][0]["valueFrom"] == options["redisPassword"]["valueFrom"]
    selector = service["spec"]["selector"]
    assert of_kind("Deployment")["spec"]["template"]["metadata"]["labels"] == selector
