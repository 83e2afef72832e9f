"""`yard estimate`, `yard machine` and the limits of `yard train` on a real stack."""

import json
import shutil

from command_tree import cancelled, covers, refused

ASKED = ("tiny", "--model", "tiny@1", "--name", "estimated", "--batch", 3, "--imgsz", 96, "--set", "plots=no")


@covers("estimate", "--pretrained", "--best", "--tensorboard", "--preset")
@covers(
    "estimate", "--gpus", "--nodes", "--launcher", "--model", "--name", "--epochs", "--batch", "--imgsz", "--set", "--priority", "--after", "--time-limit", "--budget"
)  # fmt: skip
def test_estimate(stack, line, tmp_path):
    found = stack.json("estimate", *ASKED, "--epochs", 5)
    assert float(found["expected_duration"].rstrip("s")) > 0
    assert found["expected_cost"] == 0
    assert found["past_error_ratio"] >= 0
    own = found["estimates"][0]
    assert own["machine"]["own"] is True
    assert own["machine"]["measurement_count"] >= 1, "the line has trained here"
    longer = stack.json("estimate", *ASKED, "--epochs", 50)
    assert float(longer["expected_duration"].rstrip("s")) > float(found["expected_duration"].rstrip("s"))
    larger = stack.json("estimate", "tiny", "--model", "tiny@1", "--imgsz", 960, "--epochs", 5)
    assert float(larger["expected_duration"].rstrip("s")) > float(found["expected_duration"].rstrip("s"))
    alone = stack.json("estimate", *ASKED, "--gpus", 1, "--nodes", 1, "--launcher", "local", "--epochs", 5)
    assert alone["expected_duration"] == found["expected_duration"]
    assert refused(stack, "estimate", *ASKED, "--launcher", "ray")["metadata"]["field"] == "training_job.spec.launcher"
    assert "this one" in stack.yard("estimate", *ASKED).stdout
    assert refused(stack, "estimate", *ASKED, "--set", "epoch=3")["reason"] == "UNKNOWN_ARGUMENT"
    assert refused(stack, "estimate", *ASKED, "--priority", 5, "--after", "none-such")["reason"] == "JOB_NOT_FOUND"
    assert refused(stack, "estimate", *ASKED, "--time-limit", "2h", "--budget", 3)["reason"] == "PRICE_UNKNOWN"
    assert refused(stack, "estimate", *ASKED, "--preset", "none-such")["reason"] == "PRESET_NOT_FOUND"
    assert refused(stack, "estimate", *ASKED, "--pretrained", "tiny@1")["reason"] == "INVALID_FIELD"
    assert refused(stack, "estimate", *ASKED, "--best", "beauty")["code"] == "INVALID_ARGUMENT"
    assert stack.json("estimate", *ASKED, "--best", "mAP50", "--tensorboard")["estimates"]
    models = [model["name"] for model in stack.json("model", "list")["models"]]
    stack.json("model", "download", "tiny@1", "--to", tmp_path)
    unknown = shutil.copy(tmp_path / "best.pt", tmp_path / "never-pushed.pt")
    assert stack.json("estimate", "tiny", "--model", unknown)["estimates"]
    assert [model["name"] for model in stack.json("model", "list")["models"]] == models, "nothing was pushed for it"


@covers("train", "--time-limit", "--budget")
def test_limits(stack, line):
    job = stack.json("train", *ASKED, "--time-limit", "1h30m", "--detach")["training_job"]
    assert job["scheduling"]["time_limit"] == "5400s"
    assert float(job["estimate"]["expected_duration"].rstrip("s")) > 0
    cancelled(stack, job["name"])
    error = refused(stack, "train", *ASKED, "--budget", 30, "--detach")
    assert (error["code"], error["reason"]) == ("FAILED_PRECONDITION", "PRICE_UNKNOWN")
    assert "VISIONYARD_PRICE_PER_HOUR" in error["message"]
    for wrong in (("--time-limit", "0s"), ("--time-limit", "soon"), ("--budget", "0"), ("--budget", "-3")):
        refused(stack, "train", *ASKED, *wrong, "--detach", code=2)


@covers("machine list")
@covers("machine export", "--machine")
@covers("machine import")
@covers("machine price", "--hourly", "--monthly", "--currency")
def test_machines(stack, line, tmp_path):
    (own,) = stack.json("machine", "list")["machines"]
    assert own["own"] is True
    file = tmp_path / "machines.json"
    written = stack.json("machine", "export", file, "--machine", own["name"].split("/")[-1])
    assert written["measurement_count"] == own["measurement_count"] > 0
    document = json.loads(file.read_text())
    assert "tiny" not in file.read_text()
    document["measured_machines"][0]["machine"] |= {"cpu_model": "Rented CPU", "cpu_cores": 64}
    for measurement in document["measured_machines"][0]["measurements"]:
        measurement["training"] = "0.010s"
    file.write_text(json.dumps(document))
    for _ in range(2):
        (rented,) = stack.json("machine", "import", file)["machines"]
    assert rented["measurement_count"] == own["measurement_count"], "twice is once"
    id_ = rented["name"].split("/")[-1]
    assert stack.json("machine", "price", id_, "--monthly", 40, "--currency", "USD")["machine"]["price"]["per_month"] == 40
    assert stack.json("machine", "price", id_, "--hourly", 2.5)["machine"]["price"] == {"per_hour": 2.5, "currency": "EUR"}
    assert len(stack.json("machine", "list")["machines"]) == 2
    beside = stack.json("estimate", *ASKED, "--epochs", 50)["estimates"]
    assert [one["machine"]["own"] for one in beside] == [True, False]
    assert beside[1]["expected_cost"] > 0
    assert float(beside[1]["expected_duration"].rstrip("s")) < float(beside[0]["expected_duration"].rstrip("s"))
    (tmp_path / "notes.json").write_text("[1, 2")
    assert refused(stack, "machine", "import", tmp_path / "notes.json")["reason"] == "INVALID_FIELD"
    assert refused(stack, "machine", "export", file, "--machine", "none")["reason"] == "MACHINE_NOT_FOUND"
    refused(stack, "machine", "price", id_, code=2)
