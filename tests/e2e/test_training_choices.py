"""What a training may choose beyond Ultralytics' arguments, presets, and published weights: `yard` on a real stack."""

import hashlib
import zipfile

import pytest
from command_tree import cancelled, covers, refused


@covers("train", "--pretrained", "--best", "--tensorboard", "--preset")
@covers("preset save", "--epochs", "--batch", "--imgsz", "--set", "--gpus", "--best", "--time-limit", "--tensorboard")
@covers("preset list")
@covers("preset show")
@covers("preset delete")
def test_presets_and_choices(stack, line, tmp_path):
    saved = stack.json(
        "preset", "save", "small", "--epochs", 30, "--batch", 3, "--imgsz", 96, "--set", "lr0=1e-3", "--set", "optimizer=adamw", "--set", "plots=no", "--best", "recall", "--gpus", 1, "--time-limit", "90m", "--tensorboard"
    )["preset"]  # fmt: skip
    assert stack.json("preset", "show", "small")["preset"] == saved
    assert stack.json("preset", "list")["presets"] == [saved]
    assert (
        "--epochs 30 --batch 3 --imgsz 96 --gpus 1 --set lr0=0.001 --set optimizer=AdamW --set plots=false --best recall --time-limit 1h30m --tensorboard"
        in stack.yard("preset", "show", "small").stdout
    )
    job = stack.json(
        "train", "tiny", "--model", "yolov8n.yaml", "--pretrained", "tiny@1", "--preset", "small", "--epochs", 40, "--set", "lr0=0.02", "--detach"
    )["training_job"]  # fmt: skip
    cancelled(stack, job["name"])
    spec = job["spec"]
    assert (spec["epochs"], spec["batch_size"], spec["image_size_px"]) == (40, 3, 96)
    assert spec["overrides"] == {"lr0": 0.02, "optimizer": "AdamW", "plots": False}
    assert (spec["best_metric"], spec["tensorboard"]) == ("metrics/recall(B)", True)
    assert spec["pretrained_model_version"].endswith("/models/tiny/versions/1")
    assert (spec["gpus"], job["scheduling"]["time_limit"]) == (1, "5400s")
    other = stack.json(
        "train", "tiny", "--model", "yolov8n.yaml", "--preset", "small", "--time-limit", "2h", "--no-tensorboard", "--detach"
    )["training_job"]  # fmt: skip
    cancelled(stack, other["name"])
    assert (other["spec"]["tensorboard"], other["scheduling"]["time_limit"]) == (False, "7200s")
    own = stack.json("train", "tiny", "--model", "tiny@1", "--best", "mAP50", "--tensorboard", "--detach")["training_job"]
    cancelled(stack, own["name"])
    assert (own["spec"]["best_metric"], own["spec"]["tensorboard"]) == ("metrics/mAP50(B)", True)

    assert "mAP50" in refused(stack, "train", "tiny", "--model", "tiny@1", "--best", "map50")["message"]
    assert refused(stack, "train", "tiny", "--model", "tiny@1", "--pretrained", "tiny@1")["metadata"] == {"field": "pretrained"}
    assert refused(stack, "train", "tiny", "--model", "yolov8n.yaml", "--pretrained", "yolov8s.yaml")["metadata"] == {"field": "pretrained"}
    assert refused(stack, "preset", "save", "wrong", "--set", "epocs=3")["reason"] == "UNKNOWN_ARGUMENT"
    assert stack.json("preset", "delete", "small") == {}
    assert refused(stack, "train", "tiny", "--model", "tiny@1", "--preset", "small")["reason"] == "PRESET_NOT_FOUND"


def repacked(path):
    """The same weights in other bytes."""
    other = path.with_name("repacked.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return other


@covers("model fetch", "--from")
def test_published_weights_are_fetched_once(stack, line, web, tmp_path):
    stack.json("model", "download", "tiny@1", "--to", tmp_path)
    data = (tmp_path / "best.pt").read_bytes()
    web.file("/weights/yolov8n.pt", data, drop_after=len(data) // 2)
    fetched = stack.json("model", "fetch", "yolov8n.pt")["model_version"]
    assert fetched["name"].endswith("/models/yolov8n/versions/1")
    assert fetched["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (fetched["pushed_file"], fetched["fetched_from"]) == ("yolov8n.pt", f"{web.root}/weights/yolov8n.pt")
    asked = len(web.asked)
    again = stack.yard("model", "fetch", "yolov8n.pt")
    assert (again.returncode, len(web.asked)) == (0, asked)
    assert "nothing is downloaded" in again.stderr
    for source in (tmp_path / "best.pt", f"{web.root}/weights/yolov8n.pt?signed=secret"):
        assert stack.json("model", "fetch", "yolov8n.pt", "--from", source)["model_version"] == fetched
    assert list((stack.home / "fetched").iterdir()) == [], "nothing is left behind"

    # Without a way out: from a file of another name, once, and then by name alone. That the bytes were pushed before says nothing of where they come from.
    stack.json("model", "push", tmp_path / "best.pt", "--name", "yolo11n")
    taken = stack.json("model", "fetch", "yolo11n.pt", "--from", tmp_path / "best.pt")["model_version"]
    assert (taken["pushed_file"], taken["fetched_from"]) == ("yolo11n.pt", "file:best.pt")
    asked = len(web.asked)
    assert stack.json("model", "fetch", "yolo11n.pt")["model_version"] == taken
    assert stack.json("model", "fetch", "yolo11n.pt", "--from", tmp_path / "best.pt")["model_version"] == taken
    assert len(web.asked) == asked

    # Bytes that were pushed before what is the newest now: whoever names the model goes on to mean that.
    stack.json("model", "push", tmp_path / "best.pt", "--name", "yolo11s")
    newer = stack.json("model", "fetch", "yolo11s.pt", "--from", repacked(tmp_path / "best.pt"))["model_version"]
    held = stack.json("model", "fetch", "yolo11s.pt", "--from", tmp_path / "best.pt")["model_version"]
    assert [held["name"][-1], newer["name"][-1]] == ["1", "2"]
    assert stack.json("model", "show", "yolo11s")["model_version"] == newer

    web.serve(
        "/weights/yolov8s.pt", lambda request: (request.head(200, Content_Type="text/html", Content_Length=4), request.wfile.write(b"<a/>"))
    )
    assert "web page" in refused(stack, "model", "fetch", "yolov8s.pt")["message"]
    assert refused(stack, "model", "fetch", "yolov8m.pt")["reason"] == "SOURCE_UNREACHABLE"
    assert "yolov5nu.pt" in refused(stack, "model", "fetch", "yolov5n.pt")["message"]
    assert "yolov8n.pt" in refused(stack, "model", "fetch", "yolo8n.pt")["message"]
    assert refused(stack, "model", "fetch", "yolov8n.pt", "--from", tmp_path / "nowhere.pt")["reason"] == "FILE_NOT_FOUND"
    assert list((stack.home / "fetched").iterdir()) == []


@covers("job resume", "--from")
def test_going_back_to_a_kept_epoch(stack, line):
    words = "--epochs", 2, "--batch", 4, "--imgsz", 64, "--set", "plots=no", "--set", "save_period=1", "--name", "kept"
    job = stack.json("train", "tiny", "--model", "yolov8n.yaml", *words)["training_job"]["name"]
    assert "it has 1, 2" in refused(stack, "job", "resume", job, "--from", 3, "--epochs", 4)["message"]
    resumed = stack.json("job", "resume", job, "--from", 1)["training_job"]
    assert (resumed["training_progress"]["epoch"], resumed["resumptions"]) == (1, 1)
    ended = stack.yard("job", "watch", job, "--json")
    assert ended.returncode == 0, ended.stderr
    assert stack.json("model", "show", "kept")["model_version"]["name"].endswith("/versions/2")


@pytest.mark.long
def test_a_model_trained_for_int8_is_exported_with_its_ranges(stack, line, tmp_path):
    words = "--epochs", 1, "--batch", 4, "--imgsz", 64, "--set", "plots=no", "--set", "quantize=8", "--name", "int8"
    stack.json("train", "tiny", "--model", "tiny@1", *words)
    job = stack.json("export", "int8", "--format", "onnx")["export_job"]
    assert job["status"]["state"] == "JOB_STATE_SUCCEEDED"
