"""Names of weights that Ultralytics publishes."""

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.official_weights import OfficialWeights, check_mirror


@pytest.mark.parametrize(
    "name",
    ["yolov8n.pt", "yolo11n-seg.pt", "yolo26x-pose.pt", "yolov5nu.pt", "yolov5n6u.pt", "rtdetr-l.pt", "yolov8s-obb.pt", "yolo11m-cls.pt"],
)
def test_each_family_is_found_at_the_release_or_at_the_mirror(table, name):
    assert OfficialWeights(lambda: table).locate(name) == f"https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}"
    assert OfficialWeights(lambda: table, "http://mirror:8080/weights/").locate(name) == f"http://mirror:8080/weights/{name}"


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("yolov5n.pt", Reason.WEIGHTS_UNREADABLE, "yolov5nu.pt"),
        ("yolov5x6.pt", Reason.WEIGHTS_UNREADABLE, "yolov5x6u.pt"),
        ("yolo8n.pt", Reason.FILE_NOT_FOUND, "yolov8n.pt"),
        ("yolo11n", Reason.FILE_NOT_FOUND, "did you mean yolo11n.pt"),
        ("sam_b.pt", Reason.FILE_NOT_FOUND, "'sam_b.pt'"),
        ("yolov8s-world.pt", Reason.FILE_NOT_FOUND, "'yolov8s-world.pt'"),
        ("../../etc/passwd", Reason.FILE_NOT_FOUND, "names are such as"),
        ("", Reason.FILE_NOT_FOUND, "no weights called"),
    ],
)
def test_other_names_are_refused_with_the_nearest(table, name, reason, told):
    with pytest.raises(YardError) as refused:
        OfficialWeights(lambda: table).locate(name)
    assert refused.value.reason is reason
    assert told in refused.value.message


def test_a_mirror_is_an_address_below_which_files_lie():
    assert check_mirror("https://mirror.example/w") == "https://mirror.example/w"
    assert check_mirror("") == ""
    for wrong in ("mirror", "s3://bucket/x", "https://host/x?y=1", "ftp://host/x"):
        with pytest.raises(ValueError, match="address"):
            check_mirror(wrong)
