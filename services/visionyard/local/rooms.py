"""The four services as the supervisor runs them: ``python -m visionyard.<service>`` with their configuration in the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from visionyard.local import probes
from visionyard.local.ports import address
from visionyard.local.specification import PRIVATE_VARIABLE, ProcessSpec
from visionyard.local.state import StateDir

DATUMARO_VARIABLE = "VISIONYARD_DATUMARO_PYTHON"
"""Names the Python of Datumaro's environment where that is not ``.venv-datumaro`` beside the one that runs this."""
SERVICES = ("dataset", "training", "export", "inference")
_DRAIN_S = "1.5"
_START_TIMEOUT_S = 120.0
_STOP_GRACE_S = 3.0
_WITH_QUOTA = ("dataset", "training")
"""These take bytes in. On a machine of one's own its disk is the limit, unless the environment sets one."""
_WITHOUT_MATHS = ("dataset", "inference")
"""These compute with libraries that have thread pools of their own; OpenMP's and OpenBLAS's would only take cores from their neighbours."""


def specification(service: str, state: StateDir, ports: Mapping[str, int], store: Mapping[str, str]) -> ProcessSpec:
    """A service as the supervisor runs it.

    Args:
        service: One of ``SERVICES``.
        state: The state directory.
        ports: Numbers of ``ports.SERVICE_PORTS`` and ``ports.TRITON_PORTS``, by name.
        store: The variables VISIONYARD_S3_* that name the store.
    """
    environment = {
        **store,
        "VISIONYARD_LISTEN": address(ports, service),
        "VISIONYARD_METRICS_LISTEN": address(ports, f"{service}.metrics"),
        "VISIONYARD_WORK_DIR": str(state.work(service)),
        "VISIONYARD_DRAIN_S": _DRAIN_S,
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_ARENA_MAX": "4",
        "PYTHONUNBUFFERED": "1",
    }
    if service in _WITH_QUOTA:
        environment |= {"VISIONYARD_PROJECT_QUOTA_BYTES": os.environ.get("VISIONYARD_PROJECT_QUOTA_BYTES") or "0"}
    if service == "dataset" and DATUMARO_VARIABLE not in os.environ and (python := _beside(".venv-datumaro")).exists():
        environment |= {DATUMARO_VARIABLE: str(python)}
    if service in _WITHOUT_MATHS:
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if service == "training":  # its users are its operator
        environment |= {"VISIONYARD_NOTIFY_PRIVATE": os.environ.get("VISIONYARD_NOTIFY_PRIVATE") or "true"}
        environment |= {PRIVATE_VARIABLE: os.environ.get(PRIVATE_VARIABLE, "")}
    if service == "inference":
        environment |= {
            "VISIONYARD_TRITON_URL": address(ports, "triton"),
            "VISIONYARD_TRITON_BACKEND": "python",
            "VISIONYARD_MODEL_REPOSITORY": str(state.models),
        }
    return ProcessSpec(
        name=service,
        command=(sys.executable, "-m", f"visionyard.{service}"),
        environment=environment,
        working_dir=state.work(service),
        ready=partial(probes.is_serving, address(ports, service)),
        address=address(ports, service),
        metrics_address=address(ports, f"{service}.metrics"),
        start_timeout_s=_START_TIMEOUT_S,
        stop_grace_s=_STOP_GRACE_S,
    )


def _beside(environment: str) -> Path:
    """The Python of an environment beside the one that runs this."""
    return Path(sys.prefix).parent / environment / "bin" / "python"
