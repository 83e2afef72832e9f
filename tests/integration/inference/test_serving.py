"""Deployments on a real Triton: loading, swapping, failing, coming back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from visionyard.inference.app import Room
from visionyard.inference.config import InferenceSettings
from visionyard.inference.deployment import Wanted
from visionyard.inference.options import Options
from visionyard.inference.predictor import Prediction
from visionyard.inference.servicer import DeploymentServicer
from visionyard.inference.serving import DeploymentState
from visionyard.inference.v1 import deployment_pb2, deployment_service_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.vision.letterbox import LetterboxMode

from .conftest import DEPLOYMENT, Triton, deploy, eventually, picture, running, serves
from .graphs import publish, tiny_graph


def classes(prediction: Prediction) -> list[int]:
    return prediction.detections.classes.tolist()


async def test_a_deployment_predicts_in_the_images_own_pixels(room: Room, store: MemoryObjectStore, tmp_path: Path) -> None:
    artifact = publish(store, tiny_graph(tmp_path / "a.onnx", 1))
    await deploy(room, artifact)
    prediction = await room.predictor.predict(DEPLOYMENT, picture(192, 128), Options(), 10)
    assert classes(prediction) == [1]
    assert prediction.class_names[1] == "second"
    assert prediction.detections.scores[0] == pytest.approx(204 / 255, abs=0.15)
    # 192 x 128 goes into 64 x 64 (rect: 64 x 64 after 43 rows plus grey to the stride), a third of its size.
    x1, y1, x2, y2 = prediction.detections.boxes[0]
    assert (x1, x2) == (pytest.approx(30, abs=1), pytest.approx(90, abs=1))
    assert 0 <= y1 < y2 <= 128
    assert (prediction.width_px, prediction.height_px) == (192, 128)
    assert prediction.served_version == artifact.name.version
    assert 0 < prediction.compute_ms < prediction.total_ms
    assert prediction.decode_ms + prediction.queue_ms + prediction.compute_ms <= prediction.total_ms + 0.01


async def test_two_versions_swap_under_load_without_a_failure(room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton) -> None:
    artifacts = [publish(store, tiny_graph(tmp_path / f"{i}.onnx", i % 2)) for i in range(6)]
    await deploy(room, artifacts[0])
    stop, answers = asyncio.Event(), []

    async def caller() -> None:
        while not stop.is_set():
            prediction = await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)
            # Each answer comes from one version, boxes and name alike.
            number = prediction.served_version.number
            assert number is not None
            assert classes(prediction) == [(number - 1) % 2]
            answers.append(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(caller())
        for artifact in artifacts[1:]:
            change = {"model_version": artifact.name.version, "artifact": artifact.name}
            await asyncio.to_thread(room.deployments.update, DEPLOYMENT, change, "", "")
            await serves(room, artifact)
            seen = len(answers)
            await eventually(lambda seen=seen: len(answers) > seen + 20)
        stop.set()
    assert set(answers) == {1, 2, 3, 4, 5, 6}
    # What no deployment needs any more is unloaded and removed.
    wanted = room.reconciler.deployment(DEPLOYMENT)
    assert wanted is not None
    only = [wanted.wanted.triton_model(DEPLOYMENT)]
    await eventually(lambda: [p.name for p in triton.repository.iterdir() if not p.name.startswith(".")] == only)

    async def nothing_else() -> bool:
        return await room.triton.loaded_models() == set(only)

    await eventually(nothing_else)


async def test_triton_killed_comes_back_with_its_models_and_no_request_fails(
    room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
    stop, answered = asyncio.Event(), 0

    async def caller() -> None:
        nonlocal answered
        while not stop.is_set():
            assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 30)) == [1]
            answered += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        for _ in range(2):
            before = answered
            await eventually(lambda before=before: answered > before + 10)
            await asyncio.to_thread(triton.kill)
            await asyncio.to_thread(triton.start)
            before = answered
            await eventually(lambda before=before: answered > before + 10)
        stop.set()


async def test_a_killed_model_process_of_triton_is_replaced_and_no_request_fails(
    room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
    assert triton.process is not None
    served = room.table.ensure(DEPLOYMENT).served
    assert served is not None
    children = psutil.Process(triton.process.pid).children(recursive=True)
    stubs = [p for p in children if "stub" in p.name() and served.triton_model in " ".join(p.cmdline())]
    assert stubs
    for stub in stubs:
        os.kill(stub.pid, signal.SIGKILL)
    for _ in range(10):
        assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 30)) == [1]


async def test_triton_away_is_waited_for_and_then_said(room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton) -> None:
    await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
    await asyncio.to_thread(triton.kill)
    with pytest.raises(YardError) as raised:
        await room.predictor.predict(DEPLOYMENT, picture(), Options(), 1.5)
    assert raised.value.reason is Reason.TRITON_UNAVAILABLE


async def test_a_triton_that_holds_its_port_but_does_not_answer_is_said_to_be_away(
    settings: InferenceSettings, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    async with running(settings.model_copy(update={"predict_patience_s": 4.0}), store) as room:
        await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
        assert triton.process is not None
        triton.process.send_signal(signal.SIGSTOP)
        try:
            # In Triton already when it stops, and come after that was seen: neither waits for its deadline.
            for _ in range(2):
                async with asyncio.timeout(60):
                    with pytest.raises(YardError) as raised:
                        await room.predictor.predict(DEPLOYMENT, picture(), Options(), 120)
                assert raised.value.reason is Reason.TRITON_UNAVAILABLE
        finally:
            triton.process.send_signal(signal.SIGCONT)
        assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 30)) == [1]


async def test_a_service_that_starts_again_serves_what_the_bucket_says(
    settings: InferenceSettings, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    first, second = (publish(store, tiny_graph(tmp_path / f"{i}.onnx", i)) for i in range(2))
    async with running(settings, store) as room:
        await deploy(room, first)
        served = room.table.ensure(DEPLOYMENT).served
        assert served is not None
        loaded = served.triton_model
        kept = (triton.repository / loaded / "1" / "model.onnx").stat().st_mtime_ns
    (triton.repository / ".staging" / "torn").mkdir(parents=True)
    (triton.repository / "default.gone.0123456789ab" / "1").mkdir(parents=True)
    async with running(settings, store) as room:
        # Asked at once, before it can know of any deployment: waited for, not refused.
        assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)) == [0]
        assert (triton.repository / loaded / "1" / "model.onnx").stat().st_mtime_ns == kept
        await eventually(lambda: sorted(p.name for p in triton.repository.iterdir() if p.name != ".staging") == [loaded])
        assert not (triton.repository / ".staging" / "torn").exists()
        # Another replica's change is seen by polling.
        change = {"model_version": second.name.version}
        await asyncio.to_thread(room.deployments.update, DEPLOYMENT, change, "", "")

        async def moved() -> bool:
            return classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)) == [1]

        await eventually(moved)


async def test_a_version_that_cannot_be_loaded_fails_and_the_old_one_goes_on(
    settings: InferenceSettings, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    good = publish(store, tiny_graph(tmp_path / "good.onnx", 1))
    broken_file = tmp_path / "broken.onnx"
    broken_file.write_bytes(b"this is no graph")
    broken = publish(store, broken_file)
    async with running(settings, store) as room:
        await deploy(room, good)
        serving = room.table.ensure(DEPLOYMENT).served
        assert serving is not None
        change = {"model_version": broken.name.version, "artifact": broken.name}
        await asyncio.to_thread(room.deployments.update, DEPLOYMENT, change, "", serving.revision)
        deployment = await room.reconciler.refresh(DEPLOYMENT)
        alias = room.table.ensure(DEPLOYMENT)
        await eventually(lambda: alias.state(deployment.wanted.id) is DeploymentState.FAILED)
        assert alias.failure is not None
        assert alias.failure.reason is Reason.MODEL_LOAD_FAILED
        assert str(triton.repository) not in alias.failure.message
        prediction = await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)
        assert prediction.served_version == good.name.version
    # After a restart of the service, even of Triton, the version that worked is found again.
    await asyncio.to_thread(triton.kill)
    await asyncio.to_thread(triton.start)
    async with running(settings, store) as room:
        prediction = await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)
        assert prediction.served_version == good.name.version


async def test_a_first_version_that_cannot_be_loaded_says_why(room: Room, store: MemoryObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"this is no graph")
    artifact = publish(store, file)
    await asyncio.to_thread(room.deployments.create, DEPLOYMENT, Wanted(artifact.name.version, None, LetterboxMode.RECT), "")
    with pytest.raises(YardError) as raised:
        await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)
    assert raised.value.reason is Reason.DEPLOYMENT_NOT_READY
    assert raised.value.metadata["state"] == "FAILED"


async def test_what_failed_is_tried_again_when_it_is_asked_for_again(
    settings: InferenceSettings, store: MemoryObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"this is no graph")
    artifact = publish(store, file)
    async with running(settings, store) as room:
        servicer = DeploymentServicer(room.deployments, room.reconciler, room.table, room.backend)
        made = await asyncio.to_thread(room.deployments.create, DEPLOYMENT, Wanted(artifact.name.version, None, LetterboxMode.RECT), "")
        await room.reconciler.refresh(DEPLOYMENT)
        alias = room.table.ensure(DEPLOYMENT)
        await eventually(lambda: alias.state(made.wanted.id) is DeploymentState.FAILED)
        wanted = deployment_pb2.Deployment(name=str(DEPLOYMENT), model_version=str(artifact.name.version))
        request = deployment_service_pb2.UpdateDeploymentRequest(deployment=wanted)
        answer = await servicer.UpdateDeployment(request, None)  # type: ignore[arg-type]
        assert answer.deployment.state == deployment_pb2.DEPLOYMENT_STATE_LOADING
        deployment = await asyncio.to_thread(room.deployments.get, DEPLOYMENT)
        assert deployment.wanted.id != made.wanted.id
        await eventually(lambda: alias.state(deployment.wanted.id) is DeploymentState.FAILED)


async def test_other_peoples_folders_in_the_model_repository_are_left_alone(
    room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton
) -> None:
    (triton.repository / "resnet50" / "1").mkdir(parents=True)
    (triton.repository / "lost+found").mkdir()
    try:
        await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
        (triton.repository / "default.gone.0123456789ab").mkdir()
        await eventually(lambda: not (triton.repository / "default.gone.0123456789ab").exists())
        assert (triton.repository / "resnet50" / "1").is_dir()
        assert (triton.repository / "lost+found").is_dir()
    finally:
        shutil.rmtree(triton.repository / "resnet50", ignore_errors=True)
        shutil.rmtree(triton.repository / "lost+found", ignore_errors=True)


async def test_a_folder_that_the_disk_will_not_give_up_does_not_end_the_service(
    room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton, caplog: pytest.LogCaptureFixture
) -> None:
    # A file where the folder for what is thrown away should be: renaming fails, whoever asks.
    staging = triton.repository / ".staging"
    await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 1)))
    shutil.rmtree(staging, ignore_errors=True)
    staging.write_bytes(b"")
    try:
        (triton.repository / "default.gone.0123456789ab").mkdir()
        await eventually(lambda: "the model repository refuses" in caplog.text)
        assert (triton.repository / "default.gone.0123456789ab").exists()
        assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 10)) == [1]
    finally:
        staging.unlink()
    # It goes on looking.
    await eventually(lambda: not (triton.repository / "default.gone.0123456789ab").exists())


async def test_a_deleted_deployment_leaves_nothing_behind(room: Room, store: MemoryObjectStore, tmp_path: Path, triton: Triton) -> None:
    artifact = publish(store, tiny_graph(tmp_path / "a.onnx", 1))
    await deploy(room, artifact)
    under_way = [asyncio.create_task(room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)) for _ in range(16)]
    await asyncio.sleep(0)
    await asyncio.to_thread(room.deployments.delete, DEPLOYMENT, "")
    await room.reconciler.forget(DEPLOYMENT)
    for answer in await asyncio.gather(*under_way, return_exceptions=True):
        assert isinstance(answer, Prediction) or (isinstance(answer, YardError) and answer.reason is Reason.DEPLOYMENT_NOT_FOUND)
    await eventually(lambda: [p.name for p in triton.repository.iterdir() if not p.name.startswith(".")] == [])

    async def nothing_loaded() -> bool:
        return not await room.triton.loaded_models()

    await eventually(nothing_loaded)
    with pytest.raises(YardError) as raised:
        await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)
    assert raised.value.reason is Reason.DEPLOYMENT_NOT_FOUND
    # The name is free again.
    await deploy(room, artifact, letterbox=LetterboxMode.SQUARE)
    assert classes(await room.predictor.predict(DEPLOYMENT, picture(), Options(), 20)) == [1]


async def test_names_with_dots_and_dashes_are_served(room: Room, store: MemoryObjectStore, tmp_path: Path) -> None:
    name = ResourceName("default", "deployments", "A.b-c_d.9")
    await deploy(room, publish(store, tiny_graph(tmp_path / "a.onnx", 2)), name)
    assert classes(await room.predictor.predict(name, picture(), Options(), 20)) == [2]
