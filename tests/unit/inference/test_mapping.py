from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from visionyard.inference.deployment import Deployment, Revision
from visionyard.inference.execution import TritonBackend
from visionyard.inference.mapping import change_from_proto, deployment_to_proto, options_from_proto, wanted_from_proto
from visionyard.inference.options import Options
from visionyard.inference.serving import Alias, DeploymentState, ServedModel
from visionyard.inference.v1 import deployment_pb2
from visionyard.inference.v1.prediction_service_pb2 import PredictOptions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName, ResourceName, VersionName
from visionyard.kit.vision.letterbox import LetterboxMode

from .test_repository import ARTIFACT

NAME = ResourceName("p", "deployments", "d")
VERSION = VersionName.parse("projects/p/models/m/versions/1", "models")


def deployment() -> Deployment:
    wanted = Revision("1234", VERSION, ArtifactName(VERSION, "a"), LetterboxMode.SQUARE)
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return Deployment(NAME, wanted, None, "", "etag", made, made)


def test_left_out_options_are_ultralytics_defaults_and_zero_is_not_left_out() -> None:
    assert options_from_proto(PredictOptions()) == Options(0.25, 0.7, frozenset(), 300)
    given = options_from_proto(PredictOptions(confidence=0, iou=0, class_ids=[3, 3], max_detections=1))
    assert given == Options(0.0, 0.0, frozenset({3}), 1)


@pytest.mark.parametrize("bad", [PredictOptions(confidence=-1), PredictOptions(iou=2), PredictOptions(max_detections=0)])
def test_options_out_of_range(bad: PredictOptions) -> None:
    with pytest.raises(YardError) as raised:
        options_from_proto(bad)
    assert raised.value.reason is Reason.INVALID_FIELD


def test_states_by_what_serves() -> None:
    alias = Alias(NAME)
    assert alias.state("1234") is DeploymentState.LOADING
    alias.failure = YardError(Reason.MODEL_LOAD_FAILED, "no")
    assert alias.state("1234") is DeploymentState.FAILED
    message = deployment_to_proto(deployment(), alias, TritonBackend.PYTHON)
    assert (message.state, message.error.message, message.served_version) == (deployment_pb2.DEPLOYMENT_STATE_FAILED, "no", "")
    alias.failure, alias.served = None, ServedModel("t", "old", ARTIFACT, LetterboxMode.RECT)
    assert alias.state("1234") is DeploymentState.UPDATING
    assert alias.state("old") is DeploymentState.READY
    message = deployment_to_proto(deployment(), alias, TritonBackend.PYTHON)
    assert (message.served_version, list(message.class_names)) == (str(VERSION), ["a", "b"])
    assert not message.HasField("error")
    assert deployment_to_proto(deployment(), None, TritonBackend.PYTHON).state == deployment_pb2.DEPLOYMENT_STATE_LOADING


def test_an_update_mask_chooses_fields() -> None:
    message = deployment_pb2.Deployment(model_version=str(VERSION), letterbox=deployment_pb2.LETTERBOX_SQUARE)
    assert change_from_proto(message, ["letterbox"], "p") == {"letterbox": LetterboxMode.SQUARE}
    assert set(change_from_proto(message, [], "p")) == {"model_version", "artifact", "letterbox"}
    for paths, project in ((["name"], "p"), ([], "another")):
        with pytest.raises(YardError) as raised:
            change_from_proto(message, paths, project)
        assert raised.value.reason is Reason.INVALID_FIELD


def test_an_unknown_letterbox_is_refused() -> None:
    message = deployment_pb2.Deployment(model_version=str(VERSION), letterbox=9)  # type: ignore[arg-type]
    with pytest.raises(YardError):
        wanted_from_proto(message, "p")


async def test_a_model_in_use_is_not_drained() -> None:
    served = ServedModel("t", "old", ARTIFACT, LetterboxMode.RECT)
    await served.drained()
    with served.in_use():
        with served.in_use():
            pass
        waiting = asyncio.create_task(served.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
