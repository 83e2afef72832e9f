"""What `yard export` says of --data."""

import pytest

from visionyard.cli.export import data_not_used
from visionyard.export.v1 import export_job_pb2

ASKED = "projects/default/datasets/cones/versions/2"


def job(images_from, *, asked=ASKED, built_s=100):
    made = export_job_pb2.ExportJob()
    made.spec.dataset_version = asked
    made.create_time.FromSeconds(200)
    made.artifact.create_time.FromSeconds(built_s)
    made.artifact.comparison.images_from = images_from
    return made


def test_data_that_an_artifact_was_not_compared_on_is_told():
    sentence = data_not_used(job("validation split of projects/default/datasets/cones/versions/1"))
    assert sentence == (
        "the artifact was built before and compared on validation split of projects/default/datasets/cones/versions/1, "
        "so --data cones@2 was not used"
    )
    assert "ultralytics assets" in data_not_used(job("ultralytics assets"))
    assert data_not_used(job(f"validation split of {ASKED}0")), "version 20 is not version 2"


@pytest.mark.parametrize(
    "silent",
    [
        job(f"validation split of {ASKED}"),
        job(f"test split of {ASKED}"),
        job("ultralytics assets", asked=""),
        job("ultralytics assets", built_s=300),
    ],
)
def test_nothing_is_said_where_it_was_used_or_not_asked_for(silent):
    assert data_not_used(silent) == ""
