"""The Triton of the embedded stack: the real ``tritonserver`` of the nvidia-pytriton wheel, in an environment of its own (it wants NumPy 1).

The wheel has the Python backend only, and one stub for each Python version beside it: the backend's folder is put together of links, with the stub of
that environment's Python. Triton 2.51 has known holes, so it listens on loopback only and without HTTP.

Observed: killed with ``kill -9`` its stubs end by themselves after about 4 s. What is left of them and of their shared memory goes before the next start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from visionyard.local import host, leftovers, probes
from visionyard.local.ports import HOST, address
from visionyard.local.specification import ProcessSpec

PYTHON_VARIABLE = "VISIONYARD_TRITON_PYTHON"
"""Names the Python of Triton's environment where that is not ``.venv-triton`` beside the one that runs this."""
STUB = "triton_python_backend_stub"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is, on Linux
_EXIT_TIMEOUT_S = 1
_DESCRIBE_TIMEOUT_S = 60
_DESCRIBE = (
    "import importlib.util, json, pathlib, sys, sysconfig; "
    "found = importlib.util.find_spec('pytriton'); "
    "print(json.dumps({'packages': str(pathlib.Path(found.origin).parent.parent) if found else '', "
    "'version': '%d.%d' % sys.version_info[:2], 'library_dir': sysconfig.get_config_var('LIBDIR') or ''}))"
)


class TritonMissing(Exception):
    """Triton's environment is not there or not whole; the message says what to do."""


@dataclass(frozen=True)
class TritonInstallation:
    """An environment with nvidia-pytriton in it.

    Attributes:
        python: Its interpreter, which the stubs embed.
        packages: Its site-packages.
        python_version: ``3.11``; chooses the stub.
        library_dir: Where its libpython may lie.
    """

    python: Path
    packages: Path
    python_version: str
    library_dir: Path

    @property
    def server(self) -> Path:
        """What lies in the wheel under pytriton/tritonserver: bin/, backends/, caches/, python_backend_stubs/."""
        return self.packages / "pytriton" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """The shared libraries that the wheel brings."""
        return self.packages / "nvidia_pytriton.libs"

    def version(self) -> str:
        """The wheel's version, ``0.7.0``; empty where it cannot be told."""
        return next((p.name.removesuffix(".dist-info").split("-")[1] for p in self.packages.glob("nvidia_pytriton-*.dist-info")), "")


def find_triton(python: str | Path | None = None) -> TritonInstallation:
    """Finds Triton's environment: ``python``, else VISIONYARD_TRITON_PYTHON, else ``.venv-triton`` beside the environment that runs this.

    Raises:
        TritonMissing: nothing there, no nvidia-pytriton in it, no stub for its Python, or something that its host lacks.
    """
    chosen = Path(python or os.environ.get(PYTHON_VARIABLE) or Path(sys.prefix).parent / ".venv-triton" / "bin" / "python")
    advice = f"run `make setup`, or name the Python of an environment with nvidia-pytriton in {PYTHON_VARIABLE}"
    try:
        told = subprocess.run([chosen, "-I", "-c", _DESCRIBE], capture_output=True, text=True, check=True, timeout=_DESCRIBE_TIMEOUT_S)
        facts = json.loads(told.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TritonMissing(f"no Python of Triton's environment at {chosen}: {advice}") from error
    if not facts["packages"]:
        raise TritonMissing(f"nvidia-pytriton is not installed in the environment of {chosen}: {advice}")
    found = TritonInstallation(chosen.absolute(), Path(facts["packages"]), facts["version"], Path(facts["library_dir"]))
    if not (found.server / "python_backend_stubs" / found.python_version / STUB).is_file():
        raise TritonMissing(f"nvidia-pytriton has no Python backend for the Python {found.python_version} of {chosen}: {advice}")
    _check_host(chosen)
    return found


def _check_host(python: Path) -> None:
    checked = subprocess.run([python, "-I", host.__file__], capture_output=True, text=True, check=False, timeout=_DESCRIBE_TIMEOUT_S)
    if checked.returncode:
        raise TritonMissing(checked.stderr.strip() or f"{python} cannot run {host.__file__}")


def shared_memory_prefix(stack_id: str) -> str:
    """What the names of the backend's shared memory begin with."""
    return f"visionyard-{stack_id[:12]}-"


def make_backends(installation: TritonInstallation, folder: Path) -> Path:
    """Puts the Python backend together in ``folder``/backends/python, of links; returns ``folder``/backends."""
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True, exist_ok=True)
    source = installation.server / "backends" / "python"
    wanted = {name: source / name for name in ("libtriton_python.so", "triton_python_backend_utils.py")}
    wanted[STUB] = installation.server / "python_backend_stubs" / installation.python_version / STUB
    for name, target in wanted.items():
        link = backend / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return backend.parent


def environment(installation: TritonInstallation) -> dict[str, str]:
    """What Triton and its stubs need: the wheel's libraries, libpython, and the packages that a model imports."""
    libraries = [installation.libraries, installation.library_dir]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, libraries), *([inherited] if inherited else [])]),
        "PATH": os.pathsep.join([str(installation.python.parent), os.environ.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(installation.python.parent.parent),
        "PYTHONPATH": str(installation.packages),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def command(
    installation: TritonInstallation, folder: Path, model_repository: Path, ports: Mapping[str, int], stack_id: str
) -> tuple[str, ...]:
    """The command line: explicit model control, loopback, gRPC and metrics only."""
    options = {
        "model-repository": model_repository,
        "model-control-mode": "explicit",
        "strict-readiness": "false",
        "backend-directory": folder / "backends",
        "backend-config": f"python,shm-region-prefix-name={shared_memory_prefix(stack_id)}",
        "allow-http": "false",
        "grpc-address": HOST,
        "grpc-port": ports["triton"],
        "metrics-address": HOST,
        "metrics-port": ports["triton.metrics"],
        "exit-timeout-secs": _EXIT_TIMEOUT_S,
    }
    # Configurations are written whole; completing them would start each Python model once more, just to ask it.
    flags = ("--disable-auto-complete-config",)
    return (str(installation.server / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in options.items()), *flags)


def remove_remains(stack_id: str) -> None:
    """Kills stubs and removes shared memory of a Triton of this stack that has ended."""
    leftovers.kill([p for p in leftovers.find(stack_id) if p.runs(STUB)])
    for region in _SHARED_MEMORY.glob(f"{shared_memory_prefix(stack_id)}*"):
        with suppress(OSError):
            region.unlink()


def ready(grpc_address: str) -> bool:
    """Whether Triton says that it is ready (``ServerReady`` of the KServe v2 protocol)."""
    return probes.answers_yes(grpc_address, "/inference.GRPCInferenceService/ServerReady")


def specification(
    installation: TritonInstallation, folder: Path, model_repository: Path, ports: Mapping[str, int], stack_id: str
) -> ProcessSpec:
    """Triton as the supervisor runs it.

    Args:
        installation: See :func:`find_triton`.
        folder: Its own folder in the state directory.
        model_repository: The folder that the inference service writes.
        ports: Numbers of ``ports.TRITON_PORTS``, by name.
        stack_id: The stack's id; names the shared memory.
    """

    def prepare() -> None:
        remove_remains(stack_id)
        make_backends(installation, folder)

    return ProcessSpec(
        name="triton",
        command=command(installation, folder, model_repository, ports, stack_id),
        environment=environment(installation),
        working_dir=folder,
        ready=lambda: ready(address(ports, "triton")),
        address=address(ports, "triton"),
        metrics_address=address(ports, "triton.metrics"),
        prepare=prepare,
        stop_grace_s=_EXIT_TIMEOUT_S + 1.0,
    )
