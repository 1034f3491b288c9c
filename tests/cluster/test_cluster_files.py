"""The cluster files against those who read them: Ray's own checks, EC2's and Compute Engine's
descriptions of their interfaces, shellcheck, hadolint. Nothing is started.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from raypipe.models.reward.upstream import DEFAULT, VARIABLE
from tests.support import ROOT
from tests.support.schemas import check_gpu_configs_fit, problems, put

CLUSTER = ROOT / "cluster"
CLOUDS = ["aws", "gcp"]


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return request.param


@pytest.fixture
def tree(cloud):
    return read(cloud)


def read(cloud):
    return yaml.safe_load((CLUSTER / f"{cloud}.yaml").read_text())


def node_problems(cloud, tree):
    """What the provider would refuse when Ray creates the nodes of each type."""
    found = []
    for node_type in tree["available_node_types"].values():
        node = node_type["node_config"]
        if cloud == "aws":  # Ray adds these two, always one
            found += problems(node | {"MinCount": 1, "MaxCount": 1}, "ec2.json")
        else:
            found += problems(node, "compute.json")
    return found


def test_ray_takes_the_file(tree):
    validate_config(prepare_config(tree))


def test_the_provider_takes_the_nodes(cloud, tree):
    assert node_problems(cloud, tree) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("idle_timeout_minute", 5),
        ("max_workers", "8"),
        ("provider.security_group", {"Name": "x"}),
        ("available_node_types.gpu.min_worker", 0),
        ("available_node_types.gpu.resources", {"GPU": "1"}),
        ("auth.user", "ubuntu"),
    ],
)
def test_ray_refuses_a_mistake(tree, path, value):
    put(tree, path, value)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config(tree))


@pytest.mark.parametrize(
    ("cloud", "key", "value"),
    [
        ("aws", "InstanceMarketOptions", {"MarketType": "spott"}),
        ("aws", "IamInstanceProfil", {"Name": "x"}),
        ("aws", "BlockDeviceMappings", [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": "1"}}]),
        ("gcp", "scheduling", [{"preemptible": True}]),
        ("gcp", "scheduling", {"provisioningModel": "spot"}),
        ("gcp", "machinetype", "g2-standard-8"),
        ("gcp", "status", "RUNNING"),
    ],
)
def test_the_providers_schema_refuses_a_mistake(cloud, key, value):
    tree = read(cloud)
    tree["available_node_types"]["gpu"]["node_config"][key] = value
    assert len(node_problems(cloud, tree)) == 1


def test_workers_are_spot_and_scale_from_zero(cloud, tree):
    head, gpu = (tree["available_node_types"][name] for name in ("head", "gpu"))
    assert tree["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert gpu["min_workers"] == 0
    assert gpu["max_workers"] == tree["max_workers"] > 0
    assert 0 < tree["idle_timeout_minutes"] <= 10
    assert tree["provider"]["cache_stopped_nodes"] is False
    node = gpu["node_config"]
    if cloud == "aws":
        assert node["InstanceMarketOptions"] == {"MarketType": "spot"}
    else:
        assert node["scheduling"]["provisioningModel"] == "SPOT"
        assert node["scheduling"]["instanceTerminationAction"] == "DELETE"


def test_nothing_is_open_and_every_ray_asks_for_the_token(tree):
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in tree[key] if "ray start" in command]
        assert len(starts) == 1
        assert "RAY_AUTH_MODE=token ray start" in starts[0]
    (start,) = (line for line in tree["head_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in start
    assert tree["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in tree["setup_commands"])
    assert "0.0.0.0" not in json.dumps(tree)


def test_disks_go_with_their_machines_and_credentials_are_in_no_file(cloud, tree):
    for node_type in tree["available_node_types"].values():
        node = node_type["node_config"]
        if cloud == "aws":
            assert all(disk["Ebs"]["DeleteOnTermination"] for disk in node["BlockDeviceMappings"])
            assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])
            assert node["MetadataOptions"]["HttpTokens"] == "required"
        else:
            assert all(disk["autoDelete"] for disk in node["disks"])
    gpu = tree["available_node_types"]["gpu"]["node_config"]
    assert gpu["IamInstanceProfile" if cloud == "aws" else "serviceAccounts"]
    assert not re.search(r"AKIA|BEGIN .*KEY|aws_secret", json.dumps(tree))


def test_the_environment_is_the_pinned_one(tree):
    """File mounts are relative to where `ray up` runs, which the files say is the root."""
    assert tree["file_mounts"]["~/raypipe/requirements.txt"] == "requirements.txt"
    commands = " ".join(tree["setup_commands"])
    assert "-r ~/raypipe/requirements.txt" in commands
    assert f"--python {python_of_pins()}" in commands
    lists = re.findall(r"-r ~/raypipe/(\S+?\.txt)", commands + str(tree["head_setup_commands"]))
    for name in lists:
        assert (ROOT / tree["file_mounts"][f"~/raypipe/{name}"]).exists()


INSTALLERS = ["Makefile", "cluster/Dockerfile", "cluster/aws.yaml", "cluster/gcp.yaml"]


@pytest.mark.parametrize("name", INSTALLERS)
def test_only_what_has_a_digest_is_installed(name):
    text = re.sub(r"\\\n|\n +(?=-)", " ", (ROOT / name).read_text())
    text = text.replace("$(PINNED)", "--quiet --require-hashes")
    installs = re.findall(r"pip install\b.*", text)
    assert installs
    for line in installs:
        own = "--no-deps" in line and "--no-build-isolation" in line  # raypipe itself
        own |= "$(LOWEST)" in line  # versions that nobody pins, for tests alone
        assert own or "--require-hashes" in line, line
    assert not re.search(r"(curl|wget)[^|\n]*\|\s*(sudo )?(ba)?sh", text)
    assert "uv:" not in text.replace("astral", "")
    assert not re.search(r"sha256:[0-9a-f]{64}", text)


LISTS = ["requirements.txt", *(f"cluster/{n}.txt" for n in ("imagereward", "gcp", "uv", "audit"))]


@pytest.mark.parametrize("name", LISTS)
def test_every_pin_has_digests_and_no_registry_is_named(name):
    text = (ROOT / name).read_text()
    assert "--generate-hashes" in "".join(line for line in text.splitlines()[:3])
    assert not re.search(r"https?:|index-url|find-links|file:", text)
    body = re.sub(r"(?m)^ *#.*\n", "", text).replace("\\\n", " ")
    for pin in filter(None, body.splitlines()):
        assert re.match(r"[\w.-]+==[\w.]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+$", pin), pin


def test_what_builds_raypipe_is_pinned_once():
    pins = (ROOT / "requirements.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (backend,) = project["build-system"]["requires"]
    assert f"\n{backend} \\\n" in pins
    assert backend in project["project"]["optional-dependencies"]["dev"]


def complaints(name: str, *arguments: object, text: str = "") -> str:
    """What a program of the development environment finds wrong with a file."""
    program = Path(sys.executable).parent / name
    assert program.exists(), f"{name} is missing: make install"
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    return done.stdout


def test_commands_are_sound_shell(tree):
    keys = [key for key in tree if key.endswith("_commands")]
    script = "\n".join(command for key in keys for command in tree[key])
    options = ("--shell=bash", "--exclude=SC2016,SC2086", "-")
    assert complaints("shellcheck", *options, text=script) == ""


def test_the_papers_configs_fit(tree):
    gpu = tree["available_node_types"]["gpu"]
    check_gpu_configs_fit([gpu["resources"]] * gpu["max_workers"])


@pytest.mark.parametrize(
    ("linter", "file"), [("shellcheck", "local.sh"), ("hadolint", "Dockerfile")]
)
def test_scripts_are_sound(linter, file):
    assert complaints(linter, CLUSTER / file) == ""


def test_dockerfile_copies_what_is_there_and_what_is_let_in():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if re.match("COPY (?!--)", line)]
    sources = {source for copy in copies for source in copy}
    assert {"requirements.txt", "pyproject.toml", "raypipe", "jobs", "configs"} <= sources
    assert all((ROOT / source).exists() for source in sources)
    ignore = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == sources


def test_dockerfile_has_the_python_of_the_pins_and_runs_without_root():
    text = (CLUSTER / "Dockerfile").read_text()
    base = rf"^ARG DIGEST\nFROM python:{re.escape(python_of_pins())}\.\d+-slim-\w+@\$\{{DIGEST\}}$"
    assert re.search(base, text, re.MULTILINE)
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    assert "useradd --create-home --uid 1000 --shell /bin/bash ray" in text
    assert "-r requirements.txt" in text


def test_the_image_carries_upstreams_environment():
    text = (CLUSTER / "Dockerfile").read_text()
    assert f"ENV {VARIABLE}=/opt/imagereward/bin/python" in text
    assert "uv venv /opt/imagereward" in text
    assert "--build-constraints imagereward.txt -r imagereward.txt" in text
    pins = (CLUSTER / "imagereward.txt").read_text().splitlines()
    assert f"--python-version {python_of_pins()} " in pins[0]
    named = {line.split()[0] for line in pins if line[0] not in " #"}
    assert {"image-reward==1.5", "transformers==4.47.1", "timm==0.6.13"} <= named
    assert {"setuptools", "wheel"} <= {
        name.partition("==")[0] for name in named
    }  # fairscale's build
    made = (ROOT / "Makefile").read_text()
    assert "env-imagereward: $(UPSTREAM)/.installed" in made
    assert DEFAULT == ROOT / ".venv-imagereward" / "bin" / "python"
    assert f"UPSTREAM := {DEFAULT.parents[1].name}\n" in made
    assert f"{DEFAULT.parents[1].name}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_docs_name_only_files_that_are_there():
    text = (ROOT / "docs" / "clusters.md").read_text()
    named = set(re.findall(r"(?:cluster|configs|jobs)/[\w./-]*\w", text))
    assert {"cluster/aws.yaml", "cluster/gcp.yaml", "cluster/local.sh"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [path.name for path in (CLUSTER / "policies").iterdir() if path.name not in text] == []


def python_of_pins() -> str:
    """The Python that requirements.txt was made for, as its first line says."""
    first = (ROOT / "requirements.txt").read_text().splitlines()[0]
    version = re.search(r"--python-version (\d+\.\d+)", first)
    assert version is not None
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert needed == f">={version[1]}"
    return version[1]
