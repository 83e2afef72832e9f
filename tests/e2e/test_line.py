"""The whole line with the `yard` command, as a newcomer would type it."""

import cv2


def test_an_archive_becomes_a_version_with_its_own_split(stack, line):
    version = stack.json("dataset", "show", "tiny")["dataset_version"]
    assert (int(version["image_count"]), version["task"]) == (20, "TASK_DETECT")
    assert {split["name"]: int(split["image_count"]) for split in version["splits"]} == {"train": 14, "val": 4, "test": 2}
    written = sum(len(path.read_text().splitlines()) for path in (line["folder"] / "labels").rglob("*.txt"))
    assert int(version["label_count"]) == written


def test_a_training_becomes_a_model_version_with_its_metrics(stack, line):
    job = line["train"]["training_job"]
    assert job["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert job["training_progress"]["epoch"] == 1
    version = stack.json("model", "show", "tiny@1")["model_version"]
    assert version["name"] == job["model_version"]
    assert "metrics/mAP50(B)" in version["metrics"]


def test_an_export_is_compared_and_built_once(stack, line):
    artifact = line["export"]["export_job"]["artifact"]
    assert artifact["comparison"]["image_count"] > 0
    assert stack.json("export", "tiny@1", "--format", "onnx")["export_job"]["artifact"]["name"] == artifact["name"]


def test_pictures_come_back_with_boxes_drawn(stack, line, small_deployment, tmp_path):
    pictures = sorted((line["folder"] / "images" / "test").iterdir())
    answers = stack.json("predict", small_deployment, *pictures, "--conf", "0.0001", "--save", tmp_path / "drawn")
    assert [answer["image"] for answer in answers] == [str(path) for path in pictures]
    for answer, path in zip(answers, pictures, strict=True):
        assert answer["prediction"]["detection"]["detections"]
        height, width = cv2.imread(str(path)).shape[:2]
        assert (answer["prediction"]["image_width_px"], answer["prediction"]["image_height_px"]) == (width, height)
        assert cv2.imread(str(tmp_path / "drawn" / path.name)).shape[:2] == (height, width)
