"""The model repository that this service writes and Triton reads: one model directory a deployment revision, never changed once it is there.

    {root}/{model}/config.pbtxt
    {root}/{model}/1/model.onnx
    {root}/{model}/1/model.py        # Python backend only

A directory is made under another name beside it and renamed, so Triton sees all of it or nothing.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from visionyard.inference.backends.config import model_config, to_pbtxt
from visionyard.inference.execution import Execution, TritonBackend
from visionyard.inference.modelserver import ModelDirectories
from visionyard.kit.artifacts.exported import MODEL_FILE, Artifact

_STAGING = ".staging"
_VERSION = "1"


class ModelRepository(ModelDirectories):
    """A folder of Triton models. All methods block.

    Args:
        root: The folder; made where it is missing. Triton runs with the same one, perhaps as another user.
        execution: How the models are run.
    """

    def __init__(self, root: Path, execution: Execution) -> None:
        self._root = root
        self._execution = execution

    def has(self, model: str) -> bool:
        """Whether the model's directory is there, hence complete."""
        return (self._root / model / "config.pbtxt").is_file()

    def write(self, model: str, artifact: Artifact, fetch: Callable[[Path], None]) -> None:
        """See ModelDirectories."""
        if self.has(model):
            return
        staged = self._root / _STAGING / uuid.uuid4().hex
        version = staged / _VERSION
        version.mkdir(parents=True)
        try:
            fetch(version / MODEL_FILE)
            if self._execution.backend is TritonBackend.PYTHON:
                source = resources.files("visionyard.inference.backends.python_model") / "model.py"
                (version / "model.py").write_bytes(source.read_bytes())
            side = -(-artifact.image_size_px // artifact.stride_px) * artifact.stride_px
            config = model_config(model, self._execution, artifact.max_candidates, side)
            (staged / "config.pbtxt").write_text(to_pbtxt(config), encoding="utf-8")
            for path in (staged, version):
                path.chmod(0o755)
            for path in (staged / "config.pbtxt", *version.iterdir()):
                path.chmod(0o644)
            staged.rename(self._root / model)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def remove(self, model: str) -> None:
        """See ModelDirectories."""
        directory = self._root / model
        if not directory.exists():
            return
        # Renamed first, so that nobody ever sees half of it.
        doomed = self._root / _STAGING / uuid.uuid4().hex
        doomed.parent.mkdir(parents=True, exist_ok=True)
        directory.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def models(self) -> list[str]:
        """See ModelDirectories."""
        if not self._root.is_dir():
            return []
        return sorted(entry.name for entry in self._root.iterdir() if entry.is_dir() and entry.name != _STAGING)

    def clear_staging(self) -> None:
        """See ModelDirectories."""
        shutil.rmtree(self._root / _STAGING, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
