"""A report lists so many findings and counts the others; what is only information goes first, and a long list costs no more than a short one."""

import json
import time

import pytest
from tests.unit.dataset.conftest import picture, zipped

from visionyard.dataset.findings import MAX_LISTED, Code, Report

INFO, WARNING = Code.POLYGON_AS_BOX, Code.ZERO_AREA_BOX


def listed(report):
    return [(finding["code"], finding["line"]) for finding in report.to_json()["findings"]]


@pytest.mark.parametrize("info_first", [True, False])
def test_a_full_list_takes_warnings_for_information(info_first):
    report = Report()
    order = [INFO, WARNING] if info_first else [WARNING, INFO]
    for i in range(MAX_LISTED):
        report.note(order[i >= MAX_LISTED // 2], "m", "f", i)
    assert not report.to_json()["findings_truncated"]
    for i in range(MAX_LISTED // 2 - 1):
        report.note(WARNING, "m", "f", MAX_LISTED + i)
        report.note(INFO, "m", "f", MAX_LISTED + i)
    first_info = 0 if info_first else MAX_LISTED // 2
    assert [line for code, line in listed(report) if code == INFO.name] == [first_info]
    assert report.to_json()["findings_truncated"]
    report.note(WARNING, "m", "f", 99_998)
    report.note(WARNING, "m", "f", 99_999)
    lines = [line for _, line in listed(report)]
    assert len(lines) == MAX_LISTED
    assert lines[-1] == 99_998


@pytest.mark.parametrize("infos", [0, 5000])
def test_findings_beyond_the_list_cost_next_to_nothing(infos):
    report = Report()
    for i in range(MAX_LISTED):
        report.note(INFO if i < infos else WARNING, "m", "f", i)
    begin = time.perf_counter()
    for i in range(20_000):
        report.note(WARNING, "m", "f", i)
    assert time.perf_counter() - begin < 2.0


def test_what_is_found_in_a_file_of_many_pictures_names_its_picture(bench):
    """Else nobody could tell which of thousands is meant, nor see it on the report's page."""
    pictures = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(3)]
    found = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": box} for i, box in ((0, [-3, 1, 9, 9]), (1, [1, 1, 0, 9]), (2, [1, 1, 9, 9]))
    ]
    found += [{"id": 3, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9], "segmentation": [[5, 5, 14, 5, 14, 14]]}]
    document = {"images": pictures, "annotations": found, "categories": [{"id": 1, "name": "x"}]}
    files = {"set.json": json.dumps(document)} | {f"{i}.jpg": picture(i) for i in range(3)}
    version, context = bench.run(zipped(files))
    names = {row.name: f"{row.split}/{row.name}" for row in bench.rows(version)}
    told = {f["code"]: f for f in bench.report(context)["findings"]}
    assert {code: finding["image"] for code, finding in told.items()} == {
        "BOX_CLIPPED": names["0.jpg"],
        "ZERO_AREA_BOX": names["1.jpg"],
        "POLYGON_AS_BOX": names["1.jpg"],
    }
    assert told["BOX_CLIPPED"]["message"].endswith("(image '0.jpg')")
    assert told["ZERO_AREA_BOX"]["message"].startswith("set.json: is a box without area")
    assert "'1.jpg'" in told["ZERO_AREA_BOX"]["message"]
