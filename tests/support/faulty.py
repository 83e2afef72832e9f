"""Servers that misbehave on purpose, speaking the real protos over real sockets: what a network and a killed service do to a client."""

import hashlib
import threading
from concurrent import futures
from contextlib import contextmanager

import google_crc32c
import grpc

from visionyard.dataset.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_job_pb2,
    import_job_service_pb2,
    import_job_service_pb2_grpc,
)
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.request_id import METADATA_KEY
from visionyard.kit.status import DETAILS_KEY, to_status
from visionyard.training.v1 import training_job_service_pb2, training_job_service_pb2_grpc
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc


def refuse(context, error):
    status = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(next(c for c in grpc.StatusCode if c.value[0] == status.code), status.message)


class Transfers(transfer_service_pb2_grpc.TransferServiceServicer):
    """Keeps uploads in memory; ``breaks`` are the offsets at which a stream breaks, once each. From ``stops_at`` on nothing more is read until ``goes_on`` is set."""

    def __init__(self):
        self.uploads = {}
        self.data = {}
        self.files = {}
        self.breaks = set()
        self.begun_at = []
        self.ids = {}
        self.stops_at = float("inf")
        self.stopped = threading.Event()
        self.goes_on = threading.Event()

    def StartUpload(self, request, context):
        name = self.ids.setdefault((request.request_id, request.sha256), f"{request.parent}/uploads/u{len(self.ids)}")
        upload = self.uploads.setdefault(name, transfer_service_pb2.Upload(name=name, size_bytes=request.size_bytes, sha256=request.sha256))
        self.data.setdefault(name, bytearray())
        return transfer_service_pb2.StartUploadResponse(upload=upload)

    def GetUpload(self, request, context):
        return transfer_service_pb2.GetUploadResponse(upload=self.uploads[request.name])

    def WriteUpload(self, requests, context):
        upload, announced = None, ""
        for chunk in requests:
            if upload is None:
                upload, data = self.uploads[chunk.name], self.data[chunk.name]
                self.begun_at.append(chunk.offset)
            if chunk.offset != len(data):
                refuse(context, YardError(Reason.UPLOAD_OFFSET_MISMATCH, "wrong offset", {"committed_bytes": str(len(data))}))
            assert google_crc32c.value(chunk.data) == chunk.crc32c
            data += chunk.data
            announced = chunk.sha256
            upload.committed_bytes = len(data)
            if len(data) >= self.stops_at:
                self.stopped.set()
                self.goes_on.wait(60)
            for at in sorted(self.breaks):
                if len(data) >= at:
                    self.breaks.remove(at)
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the service was killed")
        if len(data) == upload.size_bytes and (upload.sha256 or announced):
            if hashlib.sha256(data).hexdigest() != (upload.sha256 or announced):
                refuse(context, YardError(Reason.UPLOAD_CORRUPT, "the sha256 does not fit"))
            upload.complete = True
        return transfer_service_pb2.WriteUploadResponse(upload=upload)

    def DeleteUpload(self, request, context):
        self.uploads.pop(request.name, None)
        return transfer_service_pb2.DeleteUploadResponse()

    def ReadFile(self, request, context):
        if request.path not in self.files:
            refuse(context, YardError(Reason.FILE_NOT_FOUND, "no such file", {"path": request.path}))
        data = self.files[request.path]
        for offset in range(request.offset, max(len(data), 1), 1000):
            part = data[offset : offset + 1000]
            yield transfer_service_pb2.ReadFileResponse(size_bytes=len(data), offset=offset, data=part, crc32c=google_crc32c.value(part))
            for at in sorted(self.breaks):
                if offset >= at:
                    self.breaks.remove(at)
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the service was killed")


class TrainingJobs(training_job_service_pb2_grpc.TrainingJobServiceServicer):
    """Jobs whose files are listed as ``lists`` says, one after the other, ``listed`` being called before; ``create_deadline_s`` is how long the last creation was given."""

    def __init__(self):
        self.lists = []
        self.listed = lambda: None
        self.create_deadline_s = 0.0

    def CreateTrainingJob(self, request, context):
        self.create_deadline_s = context.time_remaining()
        return training_job_service_pb2.CreateTrainingJobResponse(training_job=request.training_job)

    def ListJobFiles(self, request, context):
        self.listed()
        files = self.lists.pop(0)
        stored = [
            transfer_service_pb2.StoredFile(path=p, size_bytes=len(d), sha256=hashlib.sha256(d).hexdigest()) for p, d in files.items()
        ]
        return training_job_service_pb2.ListJobFilesResponse(files=stored)


class Datasets(dataset_service_pb2_grpc.DatasetServiceServicer):
    """One version of a few files; ``break_after`` breaks the stream once, after so many messages."""

    def __init__(self):
        self.files = {f"images/train/{i:02d}.jpg": bytes([i]) * (500 * i) for i in range(8)} | {"data.yaml": b"names: [x]\n"}
        self.break_after = 0
        self.asked_after = []
        self.fail = []
        self.seen_ids = []

    def ListDatasets(self, request, context):
        self.seen_ids.append(dict(context.invocation_metadata()).get(METADATA_KEY))
        assert 0 < context.time_remaining() < 3600, "no deadline"
        if self.fail:
            raise_or_abort(self.fail.pop(0), context)
        if not request.page_token:
            return dataset_service_pb2.ListDatasetsResponse(datasets=[dataset_pb2.Dataset(name="a")], next_page_token="2")
        return dataset_service_pb2.ListDatasetsResponse(datasets=[dataset_pb2.Dataset(name="b")])

    def GetDatasetVersion(self, request, context):
        version = dataset_pb2.DatasetVersion(name=request.name.replace("/-", "/1"), digest="sha256:d")
        return dataset_service_pb2.GetDatasetVersionResponse(dataset_version=version)

    def DownloadDatasetVersion(self, request, context):
        self.asked_after.append(request.after_path)
        names = sorted(self.files)
        sent = 0
        for name in names[names.index(request.after_path) + 1 if request.after_path else 0 :]:
            total = sum(map(len, self.files.values()))
            header = dataset_service_pb2.DownloadedFile(
                path=name, size_bytes=len(self.files[name]), file_count=len(names), total_bytes=total
            )
            yield dataset_service_pb2.DownloadDatasetVersionResponse(file=header)
            for at in range(0, len(self.files[name]), 700):
                yield dataset_service_pb2.DownloadDatasetVersionResponse(data=self.files[name][at : at + 700])
                sent += 1
                if sent == self.break_after:
                    self.break_after = 0
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the service was killed")


class ImportJobs(import_job_service_pb2_grpc.ImportJobServiceServicer):
    """A job that is watched over streams that break after each snapshot."""

    def __init__(self):
        states = [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED]
        self.snapshots = [(i + 1, state) for i, state in enumerate(states)]
        self.asked_after = []
        self.error = None

    def job(self, name, state):
        job = import_job_pb2.ImportJob(name=name)
        job.status.state = state
        if self.error and state == job_pb2.JOB_STATE_FAILED:
            job.status.error.CopyFrom(to_status(self.error))
        return job

    def GetImportJob(self, request, context):
        return import_job_service_pb2.GetImportJobResponse(import_job=self.job(request.name, self.snapshots[-2][1]))

    def WatchImportJob(self, request, context):
        self.asked_after.append(request.after_sequence)
        for sequence, state in self.snapshots:
            if sequence > request.after_sequence:
                yield import_job_service_pb2.WatchImportJobResponse(import_job=self.job(request.name, state), sequence=sequence)
                if len(self.asked_after) == 2:
                    return  # a service that drains ends its streams well
                if state not in {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED}:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the service was killed")


def raise_or_abort(failure, context):
    if isinstance(failure, YardError):
        refuse(context, failure)
    context.abort(failure, "said by the test")


class Faulty:
    """The servicers behind one port."""

    def __init__(self):
        self.transfers, self.datasets, self.imports, self.trainings = Transfers(), Datasets(), ImportJobs(), TrainingJobs()
        self.lock = threading.Lock()
        self.address = ""
        self._server = None

    def start(self, port=0):
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        training_job_service_pb2_grpc.add_TrainingJobServiceServicer_to_server(self.trainings, self._server)
        transfer_service_pb2_grpc.add_TransferServiceServicer_to_server(self.transfers, self._server)
        dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(self.datasets, self._server)
        import_job_service_pb2_grpc.add_ImportJobServiceServicer_to_server(self.imports, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def stop(self):
        self._server.stop(0).wait()


@contextmanager
def faulty():
    server = Faulty()
    server.start()
    try:
        yield server
    finally:
        server.stop()
