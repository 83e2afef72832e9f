"""Filters of lists, on the messages that lists answer with."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionyard.dataset.v1 import dataset_pb2, import_job_pb2
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.filtering import MAX_FILTER_CHARS, MAX_PARENTHESES, Filter
from visionyard.training.v1 import model_pb2, training_job_pb2


def job():
    made = import_job_pb2.ImportJob(
        name="projects/default/importJobs/0abc",
        status=job_pb2.JobStatus(state=job_pb2.JOB_STATE_FAILED, attempt=2),
    )
    made.create_time.FromJsonString("2026-11-21T12:00:00Z")
    made.status.error.message = 'the archive is "encrypted"'
    return made


def dataset():
    return dataset_pb2.DatasetVersion(
        name="projects/default/datasets/cones/versions/3",
        task=dataset_pb2.TASK_DETECT,
        image_count=160,
        classes=[dataset_pb2.DatasetClass(name="cone", label_count=300), dataset_pb2.DatasetClass(name="a [b] c?", label_count=74)],
    )


def model():
    return model_pb2.ModelVersion(class_names=["cone", "person"], metrics={"metrics/mAP50(B)": 0.92}, parameter_count=3_000_000)


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        (job(), "", True),
        (job(), "  ", True),
        (job(), "status.state = JOB_STATE_FAILED", True),
        (job(), "status.state=JOB_STATE_RUNNING", False),
        (job(), "status.state != JOB_STATE_RUNNING", True),
        (job(), "status.attempt >= 2", True),
        (job(), "status.attempt > 2", False),
        (job(), "status.attempt < 2 OR status.attempt = 2", True),
        (job(), 'create_time > "2026-11-21T11:59:59.5Z"', True),
        (job(), "create_time > 2026-11-21T12:00:00Z", False),
        (job(), "create_time <= '2026-11-21T14:00:00+02:00'", True),
        (job(), 'name = "*/0abc"', True),
        (job(), "name = */0ABC", False),
        (job(), "name:importJobs", True),
        (job(), 'name < "projects/e"', True),
        (job(), r'status.error.message:"\"encrypted\""', True),
        (job(), "status.error:*", True),
        (job(), "NOT status.error:*", False),
        (job(), "-status.attempt = 3", True),
        (job(), "status.start_time:*", False),
        (job(), "status.start_time < 2027-01-01T00:00:00Z", False),  # what is not set compares with nothing
        # AND binds more loosely than OR
        (job(), "status.attempt = 1 AND status.attempt = 2 OR status.attempt = 2", False),
        (job(), "(status.attempt = 1 AND status.attempt = 2) OR status.attempt = 2", True),
        (job(), "status.attempt = 2 name:default", True),
        (job(), "status.attempt = 2 name:other", False),
        (job(), "NOT (status.attempt = 1 OR status.attempt = 3)", True),
        (dataset(), "image_count >= 100 AND task = TASK_DETECT", True),
        (dataset(), "classes.name:cone", True),
        (dataset(), "classes.name:con", False),
        (dataset(), "classes.name:con*", True),
        (dataset(), 'classes.name:"a [b] c?"', True),
        (dataset(), 'classes.name:"a b c!"', False),
        (dataset(), "classes.label_count:74", True),
        (dataset(), "classes:*", True),
        (dataset_pb2.DatasetVersion(), "classes:*", False),
        (model(), 'metrics."metrics/mAP50(B)" > 0.9', True),
        (model(), 'metrics."metrics/mAP50(B)" > 9.5e-1', False),
        (model(), 'metrics."metrics/mAP50-95(B)" > 0', False),
        (model(), 'metrics:"metrics/mAP50(B)"', True),
        (model(), "metrics:other", False),
        (model(), "class_names:person", True),
        (model(), "class_names:pers", False),
        (model(), "parameter_count > -1", True),
    ],
)
def test_what_a_filter_lets_through(message, text, expected):
    assert Filter.parse(text, type(message)).matches(message) is expected


@pytest.mark.parametrize(
    ("listed", "text", "said"),
    [
        (import_job_pb2.ImportJob, "cones", "at its end"),
        (import_job_pb2.ImportJob, "status.state JOB_STATE_FAILED", "at character 14"),
        (import_job_pb2.ImportJob, "status.attempt = 2 AND", "at its end"),
        (import_job_pb2.ImportJob, "(status.attempt = 2", "at its end"),
        (import_job_pb2.ImportJob, 'name = "open', "at character 8"),
        (import_job_pb2.ImportJob, "colour = red", "the fields there are: name, spec, status"),
        (import_job_pb2.ImportJob, "status.colour = red", "the fields there are: state, attempt"),
        (import_job_pb2.ImportJob, "name.first = a", "none below it"),
        (import_job_pb2.ImportJob, "create_time.seconds = 1", "none below it"),
        (import_job_pb2.ImportJob, "status.state = FAILED", "one of JOB_STATE_UNSPECIFIED, JOB_STATE_QUEUED"),
        (import_job_pb2.ImportJob, "status.state > JOB_STATE_FAILED", "has no order"),
        (import_job_pb2.ImportJob, "status.attempt = two", "a number"),
        (import_job_pb2.ImportJob, "create_time > yesterday", "a time is written"),
        (import_job_pb2.ImportJob, "status = 1", "cannot be compared; status:* asks whether it is set"),
        (training_job_pb2.TrainingJob, "spec.overrides.lr0 = 1", "none below it"),
        (dataset_pb2.DatasetVersion, "classes.name = cone", "ask with ':', as in classes.name:cone"),
        (import_job_pb2.ImportJob, "-" * 100 + "status.attempt = 1", "at character 2"),
        (import_job_pb2.ImportJob, "(" * (MAX_PARENTHESES + 1), "is too long"),
        (import_job_pb2.ImportJob, "n" * (MAX_FILTER_CHARS + 1), "is too long"),
    ],
)
def test_what_is_no_filter(listed, text, said):
    with pytest.raises(YardError) as refused:
        Filter.parse(text, listed)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert said in refused.value.message


def test_the_deepest_filter_that_is_read():
    text = "NOT (" * MAX_PARENTHESES + "status.attempt = 2" + ")" * MAX_PARENTHESES
    assert Filter.parse(text, import_job_pb2.ImportJob).matches(job()) is True


@given(st.text(alphabet="ab.:=<>!*-()'\"\\ANDORT 01", max_size=60))
def test_any_text_is_read_or_refused(text):
    with suppress(YardError):
        Filter.parse(text, import_job_pb2.ImportJob).matches(job())
