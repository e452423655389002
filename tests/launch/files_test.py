"""Tests for launch/k8s-jobset.yaml and launch/Dockerfile: what they say, not what a cluster or Docker makes of it."""

import json
import re
import shlex

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
    """Models generated from the OpenAPI documents of JobSet and Kubernetes; they drop what they do not know."""
    return pytest.importorskip("kubeflow_trainer_api.models")


@pytest.fixture
def job(objects):
    (replicated,) = objects["JobSet"]["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    return replicated["template"]["spec"]


@pytest.fixture
def container(job):
    (container,) = job["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("JobSet", "JobsetV1alpha2JobSet"),
        ("PersistentVolumeClaim", "IoK8sApiCoreV1PersistentVolumeClaim"),
        ("ServiceAccount", "IoK8sApiCoreV1ServiceAccount"),
    ],
)
def test_the_published_schema_takes_it_and_knows_every_field(models, objects, kind, model):
    assert getattr(models, model).from_dict(objects[kind]).to_dict() == objects[kind]


def test_an_unknown_or_mistyped_field_would_be_found(models, objects):
    wrong = json.loads(json.dumps(objects["JobSet"]))
    wrong["spec"]["failurePolicy"]["maxRestart"] = 3
    assert models.JobsetV1alpha2JobSet.from_dict(wrong).to_dict() != wrong
    wrong["spec"]["failurePolicy"] = {"maxRestarts": "three"}
    with pytest.raises(ValueError, match="maxRestarts"):
        models.JobsetV1alpha2JobSet.from_dict(wrong)


def test_the_objects_name_each_other(objects, job):
    pod = job["template"]["spec"]
    account = objects["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    binding = objects["RoleBinding"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account}]
    assert binding["roleRef"]["name"] == objects["Role"]["metadata"]["name"]
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
    assert claims == [objects["PersistentVolumeClaim"]["metadata"]["name"], None]
    assert objects["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_jax_may_ask_what_it_asks(objects):
    """Its detection of a JobSet lists pods by their address, and reads the pod's job."""
    allowed = {
        (group, resource, verb)
        for rule in objects["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {("", "pods", "get"), ("", "pods", "list"), ("batch", "jobs", "get")}


def test_it_is_a_job_in_which_jax_finds_its_processes(job, container):
    from jax._src.clusters.k8s_cluster import K8sCluster

    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == 2
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"coordinator": int(K8sCluster._coordinator_port)}


def test_stopped_runs_are_started_anew_without_limit_and_failed_ones_not(objects, job, container):
    policy = objects["JobSet"]["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert policy["restartStrategy"] == "BlockingRecreate"
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    evicted, stopped = job["podFailurePolicy"]["rules"]
    assert evicted == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert stopped["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [143]}
    # What Kubernetes demands beside a pod failure policy; all pods start anew together, none by itself.
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["podReplacementPolicy"] == "Failed"
    assert job["backoffLimit"] == 0
    # Longer than the default of 30 s, to save in.
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] >= 120


def test_the_pod_fits_the_image(job, container):
    pod = job["template"]["spec"]
    mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounted) == {*volumes(), "/dev/shm"}
    assert {mount["name"] for mount in mounted.values()} == {volume["name"] for volume in pod["volumes"]}
    assert "command" not in container, "the image's entry point starts the program"
    (user,) = arguments_of("USER")
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert "--workdir=/runs/synthetic" in container["args"]
    for argument in container["args"]:
        if argument.startswith("--config="):
            assert (ROOT / argument.removeprefix("--config=")).is_file()


def instructions():
    """(instruction, its text) in order, with continued lines joined and comments left out."""
    lines = [line for line in (LAUNCH / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def arguments_of(instruction):
    return [text for name, text in instructions() if name == instruction]


def volumes():
    (text,) = arguments_of("VOLUME")
    return json.loads(text)


def test_the_dockerfile_has_the_parts_of_one():
    names = [name for name, _ in instructions()]
    known = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "USER", "ENTRYPOINT", "CMD"}
    assert set(names) == known
    assert names[:2] == ["ARG", "FROM"]
    (base,) = arguments_of("FROM")
    assert base == "${BASE}"
    assert "BASE=python:3.13-slim" in arguments_of("ARG")
    # The user owns the volumes, and runs the program.
    assert names.index("RUN") < names.index("VOLUME") < names.index("USER") < names.index("ENTRYPOINT")
    (user,) = arguments_of("USER")
    assert not user.startswith(("0", "root"))


def test_the_dockerfile_installs_the_chosen_jax():
    assert "JAX=jax" in arguments_of("ARG")
    installs = [shlex.split(text) for text in arguments_of("RUN") if "pip install" in text]
    (words,) = installs
    assert words[-4:] == ["-r", "requirements.txt", "${JAX}", "jax[k8s]"]


def test_everything_copied_is_there_and_is_sent_to_the_builder():
    ignore = (LAUNCH / "Dockerfile.dockerignore").read_text().split()
    assert ignore[0] == "*"
    sources = [source for text in arguments_of("COPY") for source in text.split()[:-1]]
    assert sorted(sources) == ["configs", "requirements.txt", "segnet_jax"]
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_the_entry_point_is_the_program_and_gets_signals():
    (entry,), (command,) = arguments_of("ENTRYPOINT"), arguments_of("CMD")
    # A list, not a shell's line: a shell would not pass SIGTERM on.
    assert json.loads(entry) == ["tini", "--", "python", "-m", "segnet_jax.main"]
    assert json.loads(command) == ["--config=configs/synthetic.py", "--workdir=/runs/synthetic"]
    assert volumes() == ["/cache", "/data", "/runs"]
    (environment,) = arguments_of("ENV")
    assert "XDG_CACHE_HOME=/cache" in environment.split()
