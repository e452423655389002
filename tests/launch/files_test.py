"""Tests for launch/k8s-jobset.yaml and launch/Dockerfile: that they fit the schemas, the image, JAX and the program."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.helpers.paths import ROOT

LAUNCH = ROOT / "launch"


@pytest.fixture(scope="module")
def objects():
    """The objects of the YAML file by kind."""
    documents = list(yaml.safe_load_all((LAUNCH / "k8s-jobset.yaml").read_text()))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


@pytest.fixture(scope="module")
def models():
    """Models generated from the OpenAPI documents of JobSet and Kubernetes; they drop unknown fields."""
    return pytest.importorskip("kubeflow_trainer_api.models")


@pytest.fixture
def job(objects):
    (replicated,) = objects["JobSet"]["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


@pytest.fixture
def container(job):
    (container,) = job["template"]["spec"]["containers"]
    return container


@pytest.fixture(scope="module")
def instructions():
    """The instructions of the Dockerfile with their texts, in order, without comments and continued lines."""
    lines = [line for line in (LAUNCH / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.fixture
def image(instructions):
    """The last text of each instruction of the Dockerfile."""
    return dict(instructions)


# Parses the flags as the program does, and prints what it would work with.
PARSE = """
import sys
from segnet_jax import main
from segnet_jax.flags import parse_flags
assert parse_flags(sys.argv) == sys.argv[:1]
print(main._MODE.value, main._WORKDIR.value, main._CONFIG.value.data.name)
"""


def parsed(arguments):
    """Returns the mode, the work directory and the data set that the program takes from `arguments`."""
    command = [sys.executable, "-c", PARSE, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("JobSet", "JobsetV1alpha2JobSet"),
        ("PersistentVolumeClaim", "IoK8sApiCoreV1PersistentVolumeClaim"),
        ("ServiceAccount", "IoK8sApiCoreV1ServiceAccount"),
    ],
)
def test_jobset_file_fits_the_published_schema_in_every_field(models, objects, kind, model):
    assert getattr(models, model).from_dict(objects[kind]).to_dict() == objects[kind]


def test_jobset_file_refers_to_objects_that_it_defines(objects, job, container):
    pod = job["template"]["spec"]
    account = objects["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    binding = objects["RoleBinding"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account}]
    assert binding["roleRef"]["name"] == objects["Role"]["metadata"]["name"]
    claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [{"claimName": objects["PersistentVolumeClaim"]["metadata"]["name"]}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    (rule,) = [rule for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert rule["onExitCodes"]["containerName"] == container["name"]


def test_jobset_file_is_a_job_in_which_jax_finds_its_processes(job, container):
    from jax._src.clusters.k8s_cluster import K8sCluster

    assert job["completions"] == job["parallelism"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"coordinator": int(K8sCluster._coordinator_port)}


def test_jobset_file_fits_the_image(job, container, image):
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {*json.loads(image["VOLUME"]), "/dev/shm"}
    security = job["template"]["spec"]["securityContext"]
    assert image["USER"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    # They end at the flags of the program, which the image's entry point starts.
    assert "command" not in container
    assert json.loads(image["ENTRYPOINT"])[-2:] == ["-m", "segnet_jax.main"]


@pytest.mark.parametrize("source", ["k8s-jobset.yaml", "Dockerfile"])
def test_launch_file_gives_arguments_that_the_program_accepts(container, image, source):
    arguments = json.loads(image["CMD"]) if source == "Dockerfile" else container["args"]
    assert parsed(arguments) == ["train", "/runs/synthetic", "synthetic"]


def test_dockerfile_copies_files_that_exist_and_are_sent_to_the_builder(instructions):
    ignore = (LAUNCH / "Dockerfile.dockerignore").read_text().split()
    sources = {source for name, text in instructions if name == "COPY" for source in text.split()[:-1]}
    assert {source for source in sources if (ROOT / source).exists()} == sources
    assert {line[1:] for line in ignore if line.startswith("!")} == sources


def test_dockerfile_installs_only_requirements_that_it_has_copied(instructions):
    copied, installed = set(), []
    for name, text in instructions:
        if name == "COPY":
            copied |= set(text.split()[:-1])
        installed += [(file, file in copied) for file in re.findall(r"-r (\S+)", text)]
    assert installed == [("requirements.txt", True)]
