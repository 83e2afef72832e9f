"""Lists with filters, by the Python client, in every room."""

import pytest

from visionyard.client import Client, ClientError
from visionyard.kit.errors import Code, Reason


@pytest.fixture(scope="module")
def client(stack, line):
    with Client(state_dir=stack.home) as made:
        yield made


@pytest.mark.parametrize(
    ("listed", "fits", "other"),
    [
        (lambda c, where: c.datasets.list(where), "latest_version.image_count = 20 AND name:tiny", "latest_version.image_count > 1000"),
        (lambda c, where: c.datasets.list_versions("tiny", where), "classes:* splits.name:val", "splits.name:nowhere"),
        (lambda c, where: c.imports.list(where), "status.state = JOB_STATE_SUCCEEDED", "create_time < 2020-01-01T00:00:00Z"),
        (lambda c, where: c.training.list(where), "training_progress.epoch = 1", "spec.model = somebodys"),
        (lambda c, where: c.exports.list(where), "NOT status.error:*", "status.attempt > 100"),
        (lambda c, where: c.models.list(where), "latest_version.training_job:*", "latest_version.parameter_count < 10"),
        (lambda c, where: c.models.list_versions("tiny", where), 'metrics:"metrics/mAP50(B)"', 'metrics."metrics/mAP50(B)" > 2'),
        (lambda c, where: c.artifacts.list("tiny@1", where), "format = ARTIFACT_FORMAT_ONNX", "size_bytes < 1000"),
        (lambda c, where: c.deployments.list(where), "name = */tiny", "state = DEPLOYMENT_STATE_FAILED"),
    ],
)
def test_each_list_takes_a_filter(client, listed, fits, other):
    everything = [item.name for item in listed(client, "")]
    found = [item.name for item in listed(client, fits)]
    assert found
    assert set(found) <= set(everything)
    assert listed(client, other) == []
    assert sorted(item.name for item in listed(client, f"({fits}) OR ({other}) OR NOT ({fits})")) == sorted(everything)
    with pytest.raises(ClientError) as refused:
        listed(client, "shoe_size = 44")
    assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD.name)
    assert "'shoe_size' is no field of" in str(refused.value)
