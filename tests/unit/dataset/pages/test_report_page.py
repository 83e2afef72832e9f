"""The report's page: everything is in it, nothing from outside, nothing that strangers wrote works as HTML, and it stays small."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from tests.unit.dataset.pages.conftest import photo

from visionyard.dataset.findings import MAX_LISTED, Code, Severity
from visionyard.dataset.pages.report_page import group_findings, render_report
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.artifacts.manifest import Label
from visionyard.kit.errors import Reason, YardError

BOX = Label(0, 0.5, 0.5, 0.4, 0.4)
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \' {{ 7 * 7 }} {% raw %} \u202e'


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data

    def pictures(self):
        return [attrs for tag, attrs in self.elements if tag == "img"]


def assert_self_contained(page):
    found = Page(page)
    assert not found.open
    assert not {tag for tag, _ in found.elements} & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    for tag, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "srcset", "data", "action"):
            assert attrs.get(name, "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert b"url(" not in page
    assert b"@import" not in page
    assert re.search(r"default-src 'none'; img-src data:; style-src 'unsafe-inline'", page.decode())
    for picture in found.pictures():
        data = base64.b64decode(picture["src"].partition(",")[2])
        assert max(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]) <= 160
    return found


def plain_set(count=6):
    return {f"{'val' if i % 3 == 2 else 'train'}/{i}.jpg": (photo(i), (320, 240), [BOX] * (i % 2 + 1)) for i in range(count)}


def written(report, images, labels):
    report.images.found = report.images.kept = images
    report.labels.found = report.labels.kept = labels
    return report.to_json()


def test_it_tells_counts_classes_splits_and_findings_beside_their_pictures(made, report):
    version = made.version(plain_set())
    report.note(Code.ZERO_AREA_BOX, "labels/train/0.txt:2 is a box without area", "labels/train/0.txt", 2)
    report.note(Code.CORRUPT_IMAGE, "images/train/bad.jpg is damaged or cut off", "images/train/bad.jpg")
    report.note(Code.NEAR_LEAKAGE, "2.jpg in val looks like 1.jpg in train", "2.jpg", related=["1.jpg"])
    report.note(Code.SWAPPED_CORNERS, "labels/train/1.txt:1 had its corners swapped", "labels/train/1.txt", 1, fixed=True)
    places = {"labels/train/0.txt": "train/0.jpg", "2.jpg": "val/2.jpg", "1.jpg": "train/1.jpg", "labels/train/1.txt": "train/1.jpg"}
    report.place(lambda file: places.get(file, ""))
    report.drop_labels(Code.ZERO_AREA_BOX)
    document = written(report, 6, 9)
    document["labels"] = {"found": 10, "kept": 9, "dropped": 1}
    found = assert_self_contained(render_report(made.store, version, document))
    for words in ("set@3", "labels/train/0.txt:2 is a box without area", "Draw the box again", "ZERO_AREA_BOX", "mended", "cone", "cube"):
        assert words in found.text
    assert "No picture: the version holds no image of its own." in " ".join(found.text.split())
    assert [p["alt"] for p in found.pictures()][:4] == ["train/1.jpg", "train/0.jpg", "val/2.jpg", "train/1.jpg"]
    assert sorted(p["alt"] for p in found.pictures()[4:]) == sorted(f"{row}/{i}.jpg" for i, row in enumerate(["train", "train", "val"] * 2))
    assert found.text.index("CORRUPT_IMAGE") < found.text.index("ZERO_AREA_BOX") < found.text.index("NEAR_LEAKAGE")


def test_a_set_without_findings_says_so(made, report):
    found = assert_self_contained(render_report(made.store, made.version(plain_set()), written(report, 6, 9)))
    assert "Nothing: no label was dropped or changed" in found.text


def test_what_strangers_wrote_is_only_shown(made, report):
    name = "train/" + HOSTILE.replace("/", "_") + ".jpg"
    version = made.version({name: (photo(1), (320, 240), [BOX])}, names=(HOSTILE, "x"))
    report.note(Code.MALFORMED_LABEL, HOSTILE, HOSTILE, 1)
    report.note(Code.UNKNOWN_CLASS, HOSTILE, "gone.txt", 1)
    report.place(lambda file: name if file == HOSTILE else "")
    report.format_reason = report.split_reason = report.task_reason = report.format = HOSTILE
    page = render_report(made.store, version, written(report, 1, 1))
    found = assert_self_contained(page)
    assert b"<script" not in page
    assert (
        b"49" not in re.sub(rb"base64,[^\"]*|#[0-9a-f]+|[\d.]+%|\d{3,}|sha256:\w+", b"", page.split(b"</style>")[1])
        or "{{ 7 * 7 }}" in found.text
    )
    assert "{{ 7 * 7 }}" in found.text
    assert found.text.count(HOSTILE) >= 5
    assert {p["alt"] for p in found.pictures()} == {name}


def test_it_stays_small_whatever_the_report_holds(made, report):
    generator = np.random.default_rng(0)
    images = {}
    for i in range(120):
        noise = cv2.imencode(".jpg", generator.integers(0, 255, (200, 200, 3), np.uint8))[1].tobytes()
        labels = [Label(int(c), *generator.uniform(0.3, 0.6, 4)) for c in generator.integers(0, 3000, 50)]
        images[f"train/{'&' * 200}{i}.jpg"] = (noise, (200, 200), labels)
    version = made.version(images, names=tuple(f"{'<&' * 95}{i}" for i in range(3000)))
    codes = list(Code)
    for i in range(MAX_LISTED + 10):
        report.note(codes[i % len(codes)], "&" * 500, f"{'&' * 300}{i % 120}", i, related=[f"{'&' * 300}{(i + 1) % 120}"])
    names = sorted(images)
    report.place(lambda file: names[int(file.lstrip("&"))])
    page = render_report(made.store, version, written(report, 120, 6000))
    found = assert_self_contained(page)
    assert len(page) < 5_000_000
    assert len(found.pictures()) <= 60
    assert "There were more findings than a report lists" in found.text
    assert all(code.name in found.text for code in codes)


def test_findings_come_gravest_first_and_only_so_many_of_a_code():
    def finding(code, number, image=""):
        return {
            "code": code.name,
            "severity": code.severity.value,
            "file": f"{number}.txt",
            "line": number,
            "message": str(number),
            "remedy": code.remedy,
            "image": image,
            "fixed": False,
            "related": [],
        }

    many = [finding(Code.BOX_CLIPPED, i, f"train/{i}.jpg") for i in range(40)]
    groups = group_findings([finding(Code.POLYGON_AS_BOX, 1), *many, finding(Code.NOT_A_NUMBER, 2)])
    assert [(g.code, g.severity, g.count) for g in groups] == [
        ("NOT_A_NUMBER", "ERROR", 1),
        ("BOX_CLIPPED", "WARNING", 40),
        ("POLYGON_AS_BOX", "INFO", 1),
    ]
    assert [len(g.pictured) for g in groups] == [0, 4, 0]
    assert [g.unpictured for g in groups] == [1, 0, 1]
    shown = [f["message"] for f, _ in groups[1].pictured] + [f["message"] for f in groups[1].rows]
    assert len(shown) == len(set(shown)) < 40
    assert {s.value for s in Severity} == {g.severity for g in groups}


def test_reports_of_earlier_versions_have_no_related_images(made, report):
    report.note(Code.DUPLICATE_IMAGE, "twice", "a.jpg")
    report.place(lambda _: "train/0.jpg")
    document = written(report, 6, 9)
    for finding in document["findings"]:
        del finding["related"]
    del document["task_reason"]
    assert "twice" in Page(render_report(made.store, made.version(plain_set()), document)).text


TASKS = {
    "segment": (Label(0, 0.5, 0.5, 0.4, 0.4, (0.3, 0.3, 0.7, 0.3, 0.5, 0.7)), None),
    "obb": (Label(0, 0.5, 0.5, 0.4, 0.4, (0.5, 0.3, 0.7, 0.5, 0.5, 0.7, 0.3, 0.5)), None),
    "pose": (Label(0, 0.5, 0.5, 0.4, 0.4, (0.4, 0.4, 2.0, 0.6, 0.4, 1.0, 0.0, 0.0, 0.0)), KeypointLayout(3, 3)),
    "classify": (Label(0, 0.5, 0.5, 1.0, 1.0), None),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_page(made, report, task):
    label, keypoints = TASKS[task]
    images = {f"{split}/a.jpg": (photo(1), (320, 240), [label]) for split in ("train", "val")}
    version = made.version(images, task=task, keypoints=keypoints)
    found = assert_self_contained(render_report(made.store, version, written(report, 2, 2)))
    assert f"for {task}" in found.text
    assert ("Sizes of the boxes" in found.text) == (task != "classify")


def test_its_charts_are_whole_xml(made, report):
    page = render_report(made.store, made.version(plain_set(), names=("<&>", "b")), written(report, 6, 9)).decode()
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) > 5
    for chart in charts:
        ET.fromstring(chart)


def test_an_image_that_is_gone_is_a_plain_error(made, report):
    version = made.version(plain_set())
    made.store.delete_many(["shard"])
    with pytest.raises(YardError) as caught:
        render_report(made.store, version, written(report, 6, 9))
    assert caught.value.reason in {Reason.ARTIFACT_CORRUPT, Reason.DATASET_NOT_FOUND}  # or its dataset went meanwhile
