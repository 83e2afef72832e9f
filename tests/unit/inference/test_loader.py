"""What the loader makes of a Triton that dies under a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from visionyard.inference import loader as module
from visionyard.inference.deployment import Revision
from visionyard.inference.loader import LOSSES, Loader
from visionyard.inference.modelserver import Inference, ModelBroken, ModelDirectories, ModelServer, TritonLost
from visionyard.inference.serving import ServedModel
from visionyard.inference.turns import Turns
from visionyard.kit.artifacts import exported
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat, Comparison
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName, ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.vision.letterbox import LetterboxMode
from visionyard.kit.vision.nms import Candidates

NAME = ArtifactName.parse("projects/p/models/m/versions/1/artifacts/a")
ARTIFACT = Artifact(
    NAME, ArtifactFormat.ONNX, {}, "sha256:0", 1, ("a",), 32, 64, 10, nms_applied=False, comparison=Comparison("nothing", 1, 0, 0, 1, 1, 0)
)
DEPLOYMENT = ResourceName("p", "deployments", "d")


class Directories(ModelDirectories):
    """Holds nothing: what is on the disk does not matter here."""

    def write(self, model: str, artifact: Artifact, fetch: Callable[[Path], None]) -> None:
        pass

    def remove(self, model: str) -> None:
        pass

    def models(self) -> list[str]:
        return []

    def clear_staging(self) -> None:
        pass


class Server(ModelServer):
    """A Triton that dies under some models, and takes a few questions to come back.

    Args:
        deaths: How often each model kills it while it loads.
        in_probe: Whether it dies of the blank image, not of the load.
    """

    def __init__(self, deaths: dict[str, int], *, in_probe: bool = False) -> None:
        self.deaths = deaths
        self.in_probe = in_probe
        self.away = 0
        self.died = 0
        self.loads: list[str] = []
        self.unloaded: list[str] = []
        self.candidates = ARTIFACT.max_candidates
        self.loading: set[str] = set()
        self.company: list[int] = []
        self._death = asyncio.Event()

    def _die(self) -> None:
        self.died += 1
        self.away = 5
        self._death.set()
        self._death = asyncio.Event()

    def unavailable(self) -> YardError:
        return YardError(Reason.TRITON_UNAVAILABLE, "away")

    async def ready_models(self) -> set[str]:
        if self.away:
            self.away -= 1
            raise TritonLost("refused")
        return set()

    async def loaded_models(self) -> set[str]:
        return await self.ready_models()

    async def load(self, model: str, timeout_s: float) -> None:
        await self.ready_models()
        self.loads.append(model)
        self.loading.add(model)
        try:
            self.company.append(len(self.loading))
            if self.deaths.get(model, 0) and not self.in_probe:
                self.deaths[model] -= 1
                await asyncio.sleep(0.01)
                self._die()
                raise TritonLost("closed")
            try:
                async with asyncio.timeout(0.02):
                    await self._death.wait()
            except TimeoutError:
                return
            raise TritonLost("closed")
        finally:
            self.loading.remove(model)

    async def unload(self, model: str) -> None:
        self.unloaded.append(model)

    async def infer(self, model: str, images: NDArray[np.uint8], timeout_s: float) -> Inference:
        if self.deaths.get(model, 0):
            self.deaths[model] -= 1
            raise ModelBroken("Stub process is not healthy.")
        count = self.candidates
        zeros, none = np.zeros(count, np.float32), np.zeros(count, np.int32)
        return Inference(Candidates(np.zeros((count, 4), np.float32), zeros, none, none), None)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.001)


def revision(digits: str) -> Revision:
    return Revision(digits * 12, NAME.version, NAME, LetterboxMode.RECT)


def loader(server: Server) -> Loader:
    store = MemoryObjectStore()
    exported.publish_artifact(store, ARTIFACT)
    return Loader(store, Directories(), server, 5)


@pytest.mark.parametrize("in_probe", [False, True])
async def test_a_model_under_which_triton_dies_again_and_again_is_given_up(in_probe: bool) -> None:
    server = Server({f"p.d.{'a' * 12}": 1000}, in_probe=in_probe)
    async with asyncio.timeout(10):
        with pytest.raises(YardError) as raised:
            await loader(server).bring_up(DEPLOYMENT, revision("a"))
    assert raised.value.reason is Reason.MODEL_LOAD_FAILED
    assert raised.value.metadata[LOSSES] == "3"
    assert len(server.loads) == 3


async def test_a_model_that_loads_but_answers_wrongly_does_not_keep_its_memory() -> None:
    server = Server({})
    server.candidates = 3
    with pytest.raises(YardError) as raised:
        await loader(server).bring_up(DEPLOYMENT, revision("a"))
    assert raised.value.reason is Reason.MODEL_LOAD_FAILED
    assert server.unloaded == [f"p.d.{'a' * 12}"]


@pytest.mark.parametrize("in_probe", [False, True])
async def test_a_triton_killed_during_a_load_and_then_long_away_is_waited_for(in_probe: bool) -> None:
    server = Server({f"p.d.{'a' * 12}": 2}, in_probe=in_probe)
    server.away = 50
    async with asyncio.timeout(10):
        served = await loader(server).bring_up(DEPLOYMENT, revision("a"))
    assert served.available.is_set()


async def test_a_model_loaded_again_is_given_up_too() -> None:
    server = Server({f"p.d.{'a' * 12}": 1000})
    served = ServedModel(f"p.d.{'a' * 12}", "a" * 12, ARTIFACT, LetterboxMode.RECT)
    async with asyncio.timeout(10):
        with pytest.raises(YardError) as raised:
            await loader(server).reload(served)
    assert raised.value.metadata[LOSSES] == "3"
    assert not served.available.is_set()


async def test_models_beside_a_deadly_one_are_not_blamed() -> None:
    server = Server({f"p.d.{'a' * 12}": 1000})
    one = loader(server)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*(one.bring_up(DEPLOYMENT, revision(d)) for d in "abcdef"), return_exceptions=True)
    assert isinstance(outcomes[0], YardError)
    assert [type(o) for o in outcomes[1:]] == [ServedModel] * 5
    assert server.died == 3
    # They began side by side.
    assert max(server.company) == 6


async def test_who_waits_to_be_alone_and_gives_up_lets_the_others_go_on() -> None:
    turns, order = Turns(), []
    release = asyncio.Event()

    async def hold(name: str, *, alone: bool) -> None:
        async with turns.take(alone=alone):
            order.append(name)
            await release.wait()

    first = asyncio.create_task(hold("first", alone=False))
    await asyncio.sleep(0)
    lonely = asyncio.create_task(hold("lonely", alone=True))
    await asyncio.sleep(0)
    other = asyncio.create_task(hold("other", alone=False))
    await asyncio.sleep(0)
    assert order == ["first"]
    lonely.cancel()
    release.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, other)
    assert order == ["first", "other"]
