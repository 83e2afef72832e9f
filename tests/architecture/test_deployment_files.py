"""Dockerfiles, docker-compose.yml and the Kubernetes manifests, held against Kubernetes' schemas and against what the code reads."""

import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from visionyard.kit.config import ServiceSettings, load_settings

ROOT = Path(__file__).parents[2]
SERVICES = {"dataset": (50051, 9101), "training": (50052, 9102), "export": (50053, 9103), "inference": (50054, 9104)}
OVERLAYS = ("cpu", "gpu", "gpu-ray")
NOT_IN_IMAGES = {"VISIONYARD_DATUMARO_PYTHON"}
"""Settings of what no image holds: Datumaro has an environment of its own."""
CUSTOM = {"RayCluster"}
"""Kinds of which Kubernetes itself has no schema."""


def settings_of(service: str) -> type[ServiceSettings]:
    """The room's settings, found by their module: ``visionyard.<service>.config``."""
    module = __import__(f"visionyard.{service}.config", fromlist=["config"])
    (found,) = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == module.__name__
    }
    return found


def variables_of(service: str) -> set[str]:
    return {f"VISIONYARD_{name.upper()}" for name in settings_of(service).model_fields}


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request):
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", ROOT / "k8s/overlays" / request.param], capture_output=True, text=True, check=True)
    return request.param, list(yaml.safe_load_all(done.stdout))


def containers(manifests):
    for document in manifests:
        if document["kind"] in {"Deployment", "StatefulSet"}:
            for container in document["spec"]["template"]["spec"]["containers"]:
                yield document, container


def ray_pods(manifests):
    """The pods of Ray clusters, the head's first."""
    for document in manifests:
        if document["kind"] == "RayCluster":
            spec = document["spec"]
            yield from (group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))


def test_manifests_are_what_kubernetes_takes(manifests):
    _, documents = manifests
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.34", strict=True)
        for pod in ray_pods([document]):
            metadata = {"name": "ray", **pod["metadata"]}
            kubernetes_validate.validate(
                {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}, "1.34", strict=True
            )


def test_every_container_is_restricted(manifests):
    _, documents = manifests
    found = [(document["spec"]["template"]["spec"], container) for document, container in containers(documents)]
    found += [(pod["spec"], container) for pod in ray_pods(documents) for container in pod["spec"]["containers"]]
    for pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        context = container["securityContext"]
        assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert "hostPath" not in json.dumps(pod)
        assert "memory" in container["resources"]["limits"]


def test_what_killed_workers_leave_is_reaped(manifests):
    _, documents = manifests
    pods = {d["metadata"]["name"]: d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment"}
    assert {name for name, pod in pods.items() if pod.get("shareProcessNamespace")} == {"dataset", "training", "export"}


def test_services_have_native_grpc_probes_on_their_port(manifests):
    _, documents = manifests
    for _, container in containers(documents):
        if container["name"] not in SERVICES:
            continue
        port, metrics = SERVICES[container["name"]]
        assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"grpc": port, "metrics": metrics}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] == port


def test_kubernetes_services_reach_the_containers(manifests):
    _, documents = manifests
    found = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Service"}
    for name, (port, metrics) in SERVICES.items():
        assert {p["name"]: p["port"] for p in found[name]["spec"]["ports"]} == {"grpc": port, "metrics": metrics}
        assert found[name]["spec"]["selector"] == {"app.kubernetes.io/name": name}


def test_triton_and_inference_share_a_pod_and_its_models(manifests):
    overlay, documents = manifests
    (pod,) = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "inference"]
    by_name = {c["name"]: c for c in pod["containers"]}
    assert set(by_name) == {"inference", "triton"}
    mounts = {name: {m["mountPath"] for m in container["volumeMounts"]} for name, container in by_name.items()}
    assert all("/models" in paths for paths in mounts.values())
    # Tensors go to Triton over gRPC; only its own backends need memory that processes share.
    assert {name for name, paths in mounts.items() if "/dev/shm" in paths} == {"triton"}
    shm = next(v for v in pod["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"]["medium"] == "Memory"
    repository = {e["name"]: e.get("value") for e in by_name["inference"]["env"]}["VISIONYARD_MODEL_REPOSITORY"]
    assert f"--model-repository={repository}" in by_name["triton"]["args"]
    gpu = by_name["triton"]["resources"]["limits"].get("nvidia.com/gpu")
    assert gpu == ("1" if overlay != "cpu" else None)


def test_a_roll_out_needs_no_second_gpu(manifests):
    _, documents = manifests
    for document, container in containers(documents):
        if "nvidia.com/gpu" in container["resources"]["limits"] or document["metadata"]["name"] == "inference":
            strategy = document["spec"]["strategy"]
            surge = strategy.get("rollingUpdate", {}).get("maxSurge")
            assert strategy["type"] == "Recreate" or (strategy["type"] == "RollingUpdate" and surge == 0), document["metadata"]["name"]


def test_gpus_go_to_training_and_triton_only(manifests):
    overlay, documents = manifests
    with_gpu = {c["name"] for _, c in containers(documents) if "nvidia.com/gpu" in c["resources"]["limits"]}
    assert with_gpu == ({"training", "triton"} if overlay != "cpu" else set())
    (training,) = [d["spec"]["template"]["spec"] for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "training"]
    assert any(v.get("emptyDir", {}).get("medium") == "Memory" for v in training["volumes"])


def test_every_variable_in_the_manifests_is_one_that_the_code_reads(manifests):
    _, documents = manifests
    maps = {d["metadata"]["name"]: set(d["data"]) for d in documents if d["kind"] == "ConfigMap"}
    for _, container in containers(documents):
        if container["name"] not in SERVICES:
            continue
        given = {e["name"] for e in container.get("env", [])}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                given |= maps[source["configMapRef"]["name"]]
        own = {name for name in given if not name.startswith("RAY_")}
        assert own <= variables_of(container["name"]), f"{container['name']} does not read {own - variables_of(container['name'])}"


def test_the_ray_cluster_is_what_the_training_service_looks_for(manifests):
    overlay, documents = manifests
    (training,) = [container for _, container in containers(documents) if container["name"] == "training"]
    pods = list(ray_pods(documents))
    if overlay != "gpu-ray":
        assert pods == []
        return
    (cluster,) = [d for d in documents if d["kind"] == "RayCluster"]
    environment = {e["name"]: e for e in training["env"]}
    # KubeRay calls the head's service so.
    assert environment["VISIONYARD_RAY_ADDRESS"]["value"] == f"ray://{cluster['metadata']['name']}-head-svc:10001"
    assert f"ray=={cluster['spec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    (store,) = [d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"]
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["image"] == training["image"]
        assert {"configMapRef": {"name": store}} in container["envFrom"]
        given = {e["name"]: e for e in container["env"]}
        assert given["RAY_AUTH_TOKEN"] == environment["RAY_AUTH_TOKEN"]
        assert given["RAY_AUTH_MODE"]["value"] == environment["RAY_AUTH_MODE"]["value"] == "token"
        assert given["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
    gpus = [pod["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for pod in pods]
    assert gpus == [None, "1"]
    (policy,) = [d for d in documents if d["kind"] == "NetworkPolicy"]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}


def compose(*extra: str) -> dict:
    documents = [yaml.safe_load((ROOT / name).read_text()) for name in ("docker-compose.yml", *extra)]
    return documents[0] if len(documents) == 1 else documents[1]


def test_compose_reaps_what_killed_workers_leave():
    services = compose()["services"]
    assert {name for name, service in services.items() if service.get("init")} == {"dataset", "training", "export"}


def test_compose_publishes_on_loopback_only():
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_compose_gives_only_variables_that_the_code_reads():
    for document in (compose(), compose("deploy/compose/gpu.yml"), compose("deploy/compose/ray.yml")):
        for name in SERVICES:
            given = {variable for variable in document["services"].get(name, {}).get("environment", {}) if not variable.startswith("RAY_")}
            assert given <= variables_of(name), f"{name} does not read {given - variables_of(name)}"


@pytest.mark.parametrize("name", SERVICES)
def test_compose_passes_on_every_setting_that_the_documents_tell_operators_of(name):
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    told = {variable for path in documents for variable in re.findall(r"VISIONYARD_[A-Z0-9_]+", path.read_text())}
    given = {"VISIONYARD_WORK_DIR"}  # set in the image: the volume lies there
    for document in (compose(), compose("deploy/compose/ray.yml")):
        given |= set(document["services"].get(name, {}).get("environment", {}))
    missing = told & variables_of(name) - given - NOT_IN_IMAGES
    assert missing == set(), f"{name} does not get {missing} from .env"


@pytest.mark.parametrize("name", ["dataset", "training"])
def test_what_env_leaves_out_of_compose_means_the_default(name, monkeypatch):
    for variable in variables_of(name):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VISIONYARD_S3_ACCESS_KEY", "access")
    monkeypatch.setenv("VISIONYARD_S3_SECRET_KEY", "secret")
    monkeypatch.setenv("VISIONYARD_S3_ENDPOINT", "minio:9000")
    monkeypatch.setenv("VISIONYARD_S3_BUCKET", "visionyard")
    default = load_settings(settings_of(name))
    passed = {variable: value for variable, value in compose()["services"][name]["environment"].items() if value == f"${{{variable}:-}}"}
    assert passed
    for variable in passed:
        monkeypatch.setenv(variable, "")
    assert load_settings(settings_of(name)) == default


def test_compose_builds_each_service_from_its_own_dockerfile():
    for name, (port, metrics) in SERVICES.items():
        service = compose()["services"][name]
        assert service["build"]["dockerfile"] == f"deploy/docker/{name}.Dockerfile"
        assert service["ports"] == [f"127.0.0.1:{port}:{port}", f"127.0.0.1:{metrics}:{metrics}"]
        assert service["healthcheck"]["test"][-1] == f"127.0.0.1:{port}"
        assert (ROOT / "services/visionyard/kit/server/probe.py").exists()


def test_compose_has_a_ray_cluster_for_the_training_service():
    services = compose("deploy/compose/ray.yml")["services"]
    assert services["training"]["environment"]["VISIONYARD_RAY_ADDRESS"] == "ray://ray-head:10001"
    assert len({service["image"] for service in services.values()}) == 1
    assert "ARG EXTRAS=training\n" in (ROOT / "deploy/docker/training.Dockerfile").read_text()
    for service in services.values():
        assert service["build"]["args"] == {"EXTRAS": "training,ray"}
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_USAGE_STATS_ENABLED"] == "0"
        assert "ports" not in service
    for name in ("ray-head", "ray-node"):
        assert services[name]["init"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert services["ray-node"]["deploy"]["replicas"] == 2


def test_compose_pins_its_images():
    services = compose()["services"]
    assert services["minio"]["image"] == "minio/minio:RELEASE.2025-09-07T16-13-09Z"
    release = re.search(r"tritonserver:(\d\d)\.(\d\d)-py3", services["triton"]["image"])
    assert (int(release[1]), int(release[2])) >= (26, 7)


def test_prometheus_scrapes_what_compose_runs():
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {t for job in config["scrape_configs"] for static in job["static_configs"] for t in static["targets"]}
    assert targets == {f"{name}:{metrics}" for name, (_, metrics) in SERVICES.items()} | {"triton:8002"}


@pytest.mark.parametrize("name", SERVICES)
def test_dockerfiles(name):
    text = (ROOT / f"deploy/docker/{name}.Dockerfile").read_text()
    port, metrics = SERVICES[name]
    stages = re.findall(r"^FROM ", text, re.MULTILINE)
    assert len(stages) >= 2
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert f"EXPOSE {port} {metrics}" in text
    set_here = set(re.findall(r"\b(VISIONYARD_[A-Z0-9_]+)=", text))
    assert set_here <= variables_of(name)
    assert ("torch" in text) == (name in {"training", "export"})


def test_training_and_export_share_the_torch_stage():
    def stage(name):
        text = (ROOT / f"deploy/docker/{name}.Dockerfile").read_text()
        return text[text.index("# The torch base stage") : text.index("FROM torch AS build")]

    assert stage("training") == stage("export")
