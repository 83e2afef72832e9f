"""One stack for all end-to-end tests, with a deployment on it that came through the whole line."""

import io
import time

import grpc
import pytest
from embedded import Stack
from minio import Minio
from web import serving
from wire import Wire

from visionyard.inference.v1 import prediction_service_pb2
from visionyard.local import sample, seaweed
from visionyard.local.rooms import SERVICES


class WiredStack(Stack):
    """A stack that is spoken to over plain gRPC too, and whose bucket can be looked into."""

    def __init__(self, home, **environment):
        super().__init__(home)
        self.environment |= environment
        self.up()
        self.wire = Wire({name: self.process(name)["address"] for name in SERVICES})
        keys = seaweed.credentials(home / "store")
        self._bucket = Minio(
            self.process("store")["address"], access_key=keys.access_key, secret_key=keys.secret_key, secure=False, region=seaweed.REGION
        )

    def put_source(self, bucket, key, data):
        """Puts an object into a bucket beside the stack's own."""
        if not self._bucket.bucket_exists(bucket):
            self._bucket.make_bucket(bucket)
        self._bucket.put_object(bucket, key, io.BytesIO(data), len(data))

    def keys(self):
        """Everything in the bucket."""
        return {entry.object_name for entry in self._bucket.list_objects(seaweed.BUCKET, recursive=True)}

    def pid(self, name):
        return self.process(name)["pid"]

    def until_predicts(self, deployment, image, seconds=60):
        """Waits until the deployment answers again."""
        request = prediction_service_pb2.PredictRequest(name=f"projects/default/deployments/{deployment}", image=image)
        end = time.monotonic() + seconds
        while True:
            try:
                return self.wire.predictions.Predict(request, timeout=30)
            except grpc.RpcError:
                assert time.monotonic() < end, f"{deployment} does not answer within {seconds} s"
                time.sleep(0.5)


@pytest.fixture(scope="session")
def web():
    """A web server that the stack may fetch from, below /open."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory, web):
    sources = {
        "VISIONYARD_IMPORT_ALLOW": f"{web.root}/open, s3://sources",
        "VISIONYARD_IMPORT_S3_OWN_STORE": "true",
        "VISIONYARD_WEIGHTS_MIRROR": f"{web.root}/weights",
    }
    made = WiredStack(tmp_path_factory.mktemp("e2e") / "home", **sources)
    try:
        yield made
    finally:
        made.wire.close()
        made.down()
        assert made.living() == []


@pytest.fixture(scope="session")
def line(stack, tmp_path_factory):
    """The line's documents, by command: a tiny set, one epoch."""
    folder = tmp_path_factory.mktemp("set") / "tiny"
    sample.generate(folder, 20)
    options = ["--epochs", 1, "--imgsz", 64, "--batch", 4, "--set", "plots=False"]
    return {
        "folder": folder,
        "import": stack.json("dataset", "import", folder, "--name", "tiny"),
        "train": stack.json("train", "tiny", "--model", "yolov8n.yaml", "--name", "tiny", *options),
        "export": stack.json("export", "tiny", "--format", "onnx"),
        "deploy": stack.json("deploy", "tiny", "--name", "tiny"),
    }


@pytest.fixture(scope="session")
def small_deployment(line):
    """The name of a deployment that serves."""
    return line["deploy"]["deployment"]["name"].rpartition("/")[2]


@pytest.fixture(scope="session")
def small_dataset(line):
    """The name of a dataset that can be trained on."""
    return line["import"]["import_job"]["dataset_version"]["name"].split("/")[3]
