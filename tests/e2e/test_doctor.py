"""A sick set through `yard`: refused when strict, looked at without a trace, mended when asked to; its page shows what was found."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

GOOD = "0 0.5 0.5 0.2 0.2\n"
PLANTED = {
    "outside": "0 1.4 0.5 0.2 0.2\n",
    "unknown": "7 0.5 0.5 0.2 0.2\n",
    "zero": "0 0.5 0.5 0 0.2\n",
    "swapped": "0 0.3 0.3 -0.2 0.2\n",
    "twice": GOOD,
}


def picture(seed):
    coarse = np.random.default_rng(seed).integers(20, 230, (6, 8, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))[1].tobytes()


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sick") / "set"
    for split in ("train", "val"):
        for side in ("images", "labels"):
            (folder / side / split).mkdir(parents=True)
    places = [f"train/{name}" for name in PLANTED] + ["val/fine", "train/leaks", "val/leaked"]
    for i, place in enumerate(places):
        name = place.partition("/")[2]
        (folder / "images" / f"{place}.jpg").write_bytes(picture(99 if name.startswith("leak") else i))
        (folder / "labels" / f"{place}.txt").write_text(GOOD + PLANTED.get(name, ""))
    (folder / "images" / "train" / "corrupt.jpg").write_bytes(picture(50)[:900])
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing, other]\n")
    return folder


def codes(report, *, fixed):
    return sorted(f["code"] for f in report["findings"] if f["fixed"] is fixed and f["severity"] != "SEVERITY_INFO")


def test_strict_and_dry_runs_leave_no_dataset(stack, sick):
    before = stack.keys()
    refused = stack.yard("dataset", "import", sick, "--name", "sick-strict", "--strict", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stderr.splitlines()[-1])["error"]["reason"] == "FINDINGS_REFUSED"
    looked = stack.json("dataset", "import", sick, "--name", "sick-dry", "--dry-run")["import_job"]
    assert "OUT_OF_RANGE" in codes(looked["report"], fixed=False)
    left = stack.keys() - before
    assert left
    assert all("/importJobs/" in key or "/requests/" in key for key in left), left


def test_what_is_planted_is_found_and_on_the_page(stack, sick, tmp_path):
    stack.json("dataset", "import", sick, "--name", "sick")
    report = stack.json("dataset", "report", "sick")["report"]
    wanted = ["CORRUPT_IMAGE", "DUPLICATE_BOX", "OUT_OF_RANGE", "SPLIT_LEAKAGE", "SWAPPED_CORNERS", "UNKNOWN_CLASS", "ZERO_AREA_BOX"]
    assert codes(report, fixed=False) == wanted
    page = tmp_path / "report.html"
    stack.json("dataset", "report", "sick", "--html", page)
    text = page.read_text()
    for finding in report["findings"]:
        assert finding["code"] in text
        assert finding["file"] in text
    shown = {finding["image"] for finding in report["findings"] if finding["image"]}
    assert {"train/outside.jpg", "train/leaks.jpg"} <= shown
    drawn = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', text)
    assert shown <= {name for _, name in drawn}
    assert all(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) is not None for data, _ in drawn)


def test_what_can_be_mended_safely_is_mended_and_listed(stack, sick):
    stack.json("dataset", "import", sick, "--name", "sick-mended", "--fix")
    report = stack.json("dataset", "report", "sick-mended")["report"]
    assert codes(report, fixed=True) == ["SPLIT_LEAKAGE", "SWAPPED_CORNERS"]
    labels, images = report["labels"], report["images"]
    assert (int(labels["found"]), int(labels["kept"]), int(labels["dropped"])) == (13, 8, 5)
    assert (int(images["found"]), int(images["kept"]), int(images["dropped"])) == (9, 7, 2)
    version = stack.json("dataset", "show", "sick-mended")["dataset_version"]
    assert (int(version["image_count"]), int(version["label_count"])) == (7, 8)
