"""What lies in the project `shared` is used from another project, not copied there, and stays as long as anybody refers to it."""

import json


def test_a_shared_dataset_and_model_go_through_the_line_of_another_project(stack, line, tmp_path):
    shared = {"VISIONYARD_PROJECT": "shared"}
    stack.json("dataset", "import", line["folder"], "--name", "common", **shared)
    stack.json("model", "download", "tiny", "--to", tmp_path)
    weights = next(tmp_path.rglob("best.pt"))
    stack.json("model", "push", weights, "--name", "base", **shared)
    assert stack.json("dataset", "show", "shared/common")["dataset_version"]["name"] == "projects/shared/datasets/common/versions/1"
    assert stack.yard("dataset", "show", "shared/common").stdout.splitlines()[0].split()[-1] == "shared/common@1"

    before = stack.keys()
    options = ["--epochs", 1, "--imgsz", 64, "--batch", 4, "--set", "plots=False"]
    job = stack.json("train", "shared/common", "--model", "shared/base", "--name", "of-shared", *options)["training_job"]
    assert job["spec"]["dataset_version"] == "projects/shared/datasets/common/versions/1"
    assert job["model_version"] == "projects/default/models/of-shared/versions/1"
    stack.json("export", "shared/base", "--format", "onnx", "--data", "shared/common")
    deployed = stack.json("deploy", "shared/base", "--name", "from-shared")["deployment"]
    assert deployed["served_version"] == "projects/shared/models/base/versions/1"
    picture = next((line["folder"] / "images" / "val").iterdir())
    assert "prediction" in stack.json("predict", "from-shared", picture)[0]
    copied = [key for key in stack.keys() - before if key.startswith(("projects/default/shards/", "projects/default/blobs/"))]
    assert copied == []

    refused = stack.yard("dataset", "delete", "shared/common", "--json")
    assert refused.returncode == 1
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert error["reason"] == "DATASET_IN_USE"
    assert "projects/default/models/of-shared/versions/1" in error["metadata"]["used_by"]
    assert int(stack.json("storage", "collect", "--grace", "0s", **shared)["collection"]["freed_bytes"]) == 0
    assert int(stack.json("dataset", "download", "shared/common", "--to", tmp_path / "again")["file_count"]) > 1
    stack.json("deployment", "delete", "from-shared")
