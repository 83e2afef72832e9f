"""Images per second of Predict at 1, 4 and 16 callers over the best in-process loop on the same JPEG files, on the same number of cores."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from stack import Stack, say

from visionyard.inference.v1 import prediction_service_pb2, prediction_service_pb2_grpc
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.letterbox import LetterboxMode, letterbox, plan
from visionyard.kit.vision.nms import Candidates, detect

SECONDS = 12.0
IMAGE_SIZE, STRIDE = 640, 32
DEPLOYMENT = "bench"


def measure(stack: Stack, weights: Path, photos: Path) -> None:
    """Deploys the weights and prints the table; each figure is of ``SECONDS`` after a warm-up."""
    stack.yard("model", "push", weights, "--name", "bench")
    stack.yard("export", "bench", "--format", "onnx")
    stack.yard("deploy", "bench", "--name", DEPLOYMENT)
    files = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))]
    model = next(path for path in (stack.home / "models").rglob("*.onnx"))
    cores = usable_cpus()
    loops = {
        f"{cores} pipelines of 1 thread": lambda: in_process(model, files, pipelines=cores, threads=1),
        f"1 pipeline of {cores} threads, decoding beside it": lambda: pipelined(model, files, threads=cores),
    }
    speeds = {name: loop() for name, loop in loops.items()}
    best = max(speeds.values())
    for name, speed in speeds.items():
        say(f"predict    in process, {name}: {speed:.1f} images/s")
    for callers in (1, 4, 16):
        speed, latencies = asyncio.run(served(stack.address("inference"), files, callers))
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
        wanted = " (wanted: at least 0.80)" if callers == 16 else ""
        say(
            f"predict    {callers:2d} callers: {speed:.1f} images/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {speed / best:.2f} of the best in-process loop{wanted}"
        )


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _prepare(data: bytes) -> np.ndarray:
    image = decode_image(data)
    return letterbox(image, plan(image.shape[1], image.shape[0], IMAGE_SIZE, STRIDE, LetterboxMode.RECT))[None]


def _finish(outputs: list[np.ndarray]) -> None:
    boxes, scores, classes, anchors = (output[0] for output in outputs)
    detect(Candidates(boxes, scores, classes, anchors))


def _count_for(seconds: float, step: object, workers: int) -> float:
    """Images per second of ``workers`` threads that call ``step`` for so long, the first two seconds not counted."""
    counts = [0] * workers
    begin = time.perf_counter() + 2.0
    end = begin + seconds

    def work(index: int) -> None:
        while (now := time.perf_counter()) < end:
            step()  # type: ignore[operator]
            counts[index] += now >= begin

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return sum(counts) / seconds


def in_process(model: Path, files: list[bytes], pipelines: int, threads: int) -> float:
    """Whole pipelines side by side, each with a session of its own."""
    sessions: queue.SimpleQueue[onnxruntime.InferenceSession] = queue.SimpleQueue()
    for _ in range(pipelines):
        sessions.put(_session(model, threads))
    names = ["boxes", "scores", "classes", "anchors"]
    turn = itertools.cycle(files)
    lock = threading.Lock()

    def step() -> None:
        with lock:
            data = next(turn)
        session = sessions.get()
        try:
            _finish(session.run(names, {"images": _prepare(data)}))
        finally:
            sessions.put(session)

    return _count_for(SECONDS, step, pipelines)


def pipelined(model: Path, files: list[bytes], threads: int) -> float:
    """One session with all threads, the next picture decoded while it runs."""
    session = _session(model, threads)
    names = ["boxes", "scores", "classes", "anchors"]
    ready: queue.Queue[np.ndarray] = queue.Queue(4)
    stop = threading.Event()

    def decode() -> None:
        for data in itertools.cycle(files):
            prepared = _prepare(data)
            while not stop.is_set():
                try:
                    ready.put(prepared, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    decoder = threading.Thread(target=decode)
    decoder.start()
    try:
        return _count_for(SECONDS, lambda: _finish(session.run(names, {"images": ready.get()})), 1)
    finally:
        stop.set()
        decoder.join()


async def served(address: str, files: list[bytes], callers: int) -> tuple[float, list[float]]:
    """Images per second and each call's seconds, over gRPC."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", 32 << 20)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        turn = itertools.cycle(files)
        latencies: list[float] = []
        begin = time.perf_counter() + 2.0
        end = begin + SECONDS

        async def call() -> None:
            while (now := time.perf_counter()) < end:
                request = prediction_service_pb2.PredictRequest(name=f"projects/default/deployments/{DEPLOYMENT}", image=next(turn))
                await stub.Predict(request, timeout=60)
                if now >= begin:
                    latencies.append(time.perf_counter() - now)

        await asyncio.gather(*(call() for _ in range(callers)))
        return len(latencies) / SECONDS, latencies
