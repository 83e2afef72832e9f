"""A report lists so many findings and counts the others; what is only information goes first, and a long list costs no more than a short one."""

import time

import pytest

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
