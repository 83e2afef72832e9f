"""What the domain asks of Triton and of the model repository; `triton.py` and `repository.py` answer."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.errors import YardError
from visionyard.kit.vision.nms import Candidates


class TritonLost(Exception):
    """Triton, or the model in it, went away (or was not there): nothing is known of the request, and asking again later is right."""


class ModelBroken(TritonLost):
    """The process that ran a model died inside a Triton that goes on (the Python backend's stub): it must be unloaded and loaded again."""


class ModelRefused(Exception):
    """Triton answered, and refused to load the model or to run it; the text is Triton's."""


@dataclass(frozen=True)
class Inference:
    """What a model said to one image.

    Attributes:
        candidates: The serving graph's output.
        compute_ms: How long the graph ran, in milliseconds; None where the backend does not tell.
    """

    candidates: Candidates
    compute_ms: float | None


class ModelServer(abc.ABC):
    """A Triton in explicit model control."""

    @abc.abstractmethod
    def unavailable(self) -> YardError:
        """The error that a user gets when Triton stays away."""

    @abc.abstractmethod
    async def ready_models(self) -> set[str]:
        """The names of the models that are loaded and ready.

        Raises:
            TritonLost: no answer within a second.
        """

    @abc.abstractmethod
    async def loaded_models(self) -> set[str]:
        """The names of the models that take memory in Triton: ready ones, and those being loaded or unloaded.

        Raises:
            TritonLost: no answer within a second.
        """

    @abc.abstractmethod
    async def load(self, model: str, timeout_s: float) -> None:
        """Loads a model from the repository; warm-up included. A loaded one stays as it is.

        Raises:
            TritonLost: no answer in time.
            ModelRefused: Triton cannot load it.
        """

    @abc.abstractmethod
    async def unload(self, model: str) -> None:
        """Unloads a model; Triton answers what is under way in it first. One that is not loaded is no error.

        Raises:
            TritonLost: no answer in time.
        """

    @abc.abstractmethod
    async def infer(self, model: str, images: NDArray[np.uint8], timeout_s: float) -> Inference:
        """Runs one image through a model.

        Args:
            model: The Triton model's name.
            images: UINT8 [1, H, W, 3], RGB, contiguous.
            timeout_s: How long an answer may take.

        Raises:
            TritonLost: Triton or the model went away (ModelBroken: inside a Triton that goes on).
            TimeoutError: no answer in time.
            ModelRefused: Triton answered with an error.
        """


class ModelDirectories(abc.ABC):
    """The model repository that this service writes and Triton reads. All methods block."""

    @abc.abstractmethod
    def write(self, model: str, artifact: Artifact, fetch: Callable[[Path], None]) -> None:
        """Writes a model's directory unless it is there already.

        Args:
            model: The Triton model's name.
            artifact: What it runs.
            fetch: Writes the artifact's graph to a path, checked.

        Raises:
            YardError: whatever `fetch` raises.
            OSError: the disk refused it.
        """

    @abc.abstractmethod
    def remove(self, model: str) -> None:
        """Removes a model's directory, which Triton has unloaded; nothing happens where it is missing."""

    @abc.abstractmethod
    def models(self) -> list[str]:
        """The names of the models whose directories are there."""

    @abc.abstractmethod
    def clear_staging(self) -> None:
        """Makes the folder where it is missing, and removes what an interrupted write or removal left. For the service's start only."""
