"""docker-compose.yml for real: the images are built, the line goes through from outside, and every container is killed once. Run by `make compose-test`.

``VISIONYARD_COMPOSE`` is the compose command (default ``docker compose``), ``VISIONYARD_CONTAINER_ENGINE`` the engine's (default ``docker``);
``VISIONYARD_TRITON_BACKEND`` says which backend the Triton image has.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from visionyard.kit.server.probe import probe

ROOT = Path(__file__).parents[2]
YARD = Path(sys.executable).parent / "yard"
COMPOSE = shlex.split(os.environ.get("VISIONYARD_COMPOSE", "docker compose"))
ENGINE = os.environ.get("VISIONYARD_CONTAINER_ENGINE", "docker")
PORTS = {"dataset": 50051, "training": 50052, "export": 50053, "inference": 50054}
PROJECT = "visionyard-test"
"""Not the name in docker-compose.yml: whoever runs the real stack from this checkout keeps its containers and volumes."""
CONTAINERS = ("minio", "dataset", "training", "export", "inference", "triton", "prometheus")

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "COMPOSE_PROJECT_NAME": PROJECT,
        "VISIONYARD_S3_ACCESS_KEY": "compose-test",
        "VISIONYARD_S3_SECRET_KEY": "compose-test-secret",
    }


def compose(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMPOSE, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"compose {' '.join(words)} exited {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return done


def container(service: str) -> str:
    labels = (f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}")
    filters = [word for label in labels for word in ("--filter", label)]
    done = subprocess.run([ENGINE, "ps", "-a", *filters, "--format", "{{.ID}}"], capture_output=True, text=True, check=True)
    (identity,) = done.stdout.split()
    return identity


def healthy(seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        states = {name: probe(f"127.0.0.1:{port}") for name, port in PORTS.items()}
        if set(states.values()) == {"SERVING"}:
            return
        time.sleep(1)
    raise AssertionError(f"not healthy within {seconds} s: {states}")


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """The stack in containers, and `yard` outside of them."""
    taken = [name for name, port in PORTS.items() if probe(f"127.0.0.1:{port}") == "SERVING"]
    assert not taken, f"a stack is running on this machine already ({', '.join(taken)}): stop it first, this test uses the same ports"
    compose("build")
    compose("down", "-v", check=False)
    compose("up", "-d")
    home = tmp_path_factory.mktemp("home")

    def run(*words: object) -> dict:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("VISIONYARD_")}
        command = [YARD, *map(str, words), "--json"]
        done = subprocess.run(
            command, env={**plain, "VISIONYARD_HOME": str(home)}, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, f"yard {' '.join(map(str, words))}: {done.stderr[-1500:]}"
        return json.loads(done.stdout)

    try:
        healthy()
        yield run
    finally:
        logs = compose("logs", check=False)
        (ROOT / "run").mkdir(exist_ok=True)
        (ROOT / "run" / "compose.log").write_text(logs.stdout + logs.stderr)
        compose("down", "-v")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "sample"
    subprocess.run([YARD, "sample", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def deployed(yard, sample):
    """The line of `make run`, thin: imported, trained, exported, deployed."""
    version = yard("dataset", "import", sample, "--name", "sample")
    yard("train", "sample", "--model", "yolov8n.yaml", "--name", "shapes", "--epochs", "2", "--imgsz", "64", "--batch", "8")
    yard("export", "shapes", "--format", "onnx")
    yard("deploy", "shapes", "--name", "shapes")
    return version


def picture(sample: Path) -> Path:
    return next(iter(sorted(sample.rglob("*.jpg"))))


def test_the_line_goes_through_from_outside(yard, deployed, sample):
    assert yard("predict", "shapes", picture(sample))["prediction"]["image_width_px"] > 0


def test_prometheus_scrapes_every_target(deployed):
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/targets", timeout=10) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
        health = {target["labels"]["instance"]: target["health"] for target in targets}
        if len(health) == 5 and set(health.values()) == {"up"}:
            return
        time.sleep(2)
    raise AssertionError(health)


@pytest.mark.parametrize("service", CONTAINERS)
def test_a_killed_container_loses_nothing(yard, deployed, sample, service):
    before = [yard("dataset", "show", "sample"), yard("model", "show", "shapes"), yard("job", "list")]
    identity = container(service)
    subprocess.run([ENGINE, "kill", identity], check=True, capture_output=True)
    subprocess.run([ENGINE, "start", identity], check=True, capture_output=True)
    healthy()
    assert [yard("dataset", "show", "sample"), yard("model", "show", "shapes"), yard("job", "list")] == before
    assert yard("predict", "shapes", picture(sample))["prediction"]["image_width_px"] > 0
