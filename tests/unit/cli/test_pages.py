"""The page of thumbnails that `yard dataset show` writes: nothing from outside, nothing that strangers wrote works as HTML."""

import base64
from html.parser import HTMLParser

import pytest

from visionyard.cli.pages import preview_page, writable
from visionyard.client.errors import ClientError
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2

HOSTILE = "<script>alert(1)</script>\"'&{title}{0}"


class Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in {"src", "href"}]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def version():
    return dataset_pb2.DatasetVersion(name="projects/default/datasets/cones/versions/2", image_count=7, label_count=9)


def test_each_image_has_its_thumbnail_size_and_labels():
    labels = [dataset_service_pb2.ImageLabel(class_name=name) for name in ("cone", "cube", "cone")]
    images = [
        dataset_service_pb2.ImagePreview(image="train/a.jpg", width_px=640, height_px=480, labels=labels, thumbnail=b"one"),
        dataset_service_pb2.ImagePreview(image="val/b.jpg", width_px=10, height_px=20, thumbnail=b"two"),
    ]
    page = Page(preview_page(version(), images))
    assert page.sources == [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in (b"one", b"two")]
    for words in ("cones@2", "2 of 7 images", "train/a.jpg", "640 x 480 pixels, 2 cone, 1 cube", "val/b.jpg", "no label"):
        assert words in page.text


def test_what_strangers_wrote_is_only_shown():
    label = dataset_service_pb2.ImageLabel(class_name=HOSTILE)
    page = Page(preview_page(version(), [dataset_service_pb2.ImagePreview(image=f"train/{HOSTILE}", labels=[label], thumbnail=b"x")]))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_a_page_goes_into_a_folder_that_is_there(tmp_path):
    assert writable(tmp_path / "page.html") == tmp_path / "page.html"
    for wrong in (tmp_path, tmp_path / "none" / "page.html"):
        with pytest.raises(ClientError) as caught:
            writable(wrong)
        assert caught.value.reason == "INVALID_FIELD"
