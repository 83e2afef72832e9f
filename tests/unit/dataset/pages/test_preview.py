"""Which images a preview shows, and what is drawn on them."""

import cv2
import numpy as np
import pytest
from tests.unit.dataset.pages.conftest import photo

from visionyard.dataset.pages.preview import PreviewRequest, preview
from visionyard.dataset.pages.thumbnails import thumbnail
from visionyard.dataset.preview_mapping import preview_from_proto, preview_to_proto
from visionyard.dataset.v1 import dataset_service_pb2
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.artifacts.manifest import Label
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.drawing import colour_of

GREY = cv2.imencode(".png", np.full((240, 320, 3), 128, np.uint8))[1].tobytes()


@pytest.fixture
def version(made):
    images = {}
    for i in range(40):
        split = ("train", "train", "val")[i % 3]
        images[f"{split}/{i:02}.jpg"] = (photo(i, 320, 240 if i % 2 else 480), (320, 240), [Label(i % 2, 0.5, 0.5, 0.4, 0.4)])
    return made.version(images)


def shown(made, version, **request):
    return [f"{row.split}/{row.name}" for row, _ in preview(made.store, version, PreviewRequest(**request))]


def test_images_come_in_order_and_go_on_behind_one(made, version):
    whole = shown(made, version)
    assert len(whole) == 40
    assert whole == sorted(whole)  # train before val
    assert shown(made, version, count=7) == whole[:7]
    assert shown(made, version, count=7, after=whole[6]) == whole[7:14]
    assert shown(made, version, after=whole[-1]) == []


def test_only_a_split_or_a_class(made, version):
    assert all(image.startswith("val/") for image in shown(made, version, split="val"))
    assert len(shown(made, version, split="val")) == 13
    assert all(int(image[-6:-4]) % 2 for image in shown(made, version, class_name="cube"))
    assert len(shown(made, version, class_name="cube", split="train")) == 14
    for wrong in ({"split": "test"}, {"class_name": "sphere"}):
        with pytest.raises(YardError) as caught:
            shown(made, version, **wrong)
        assert caught.value.reason is Reason.INVALID_FIELD


def test_a_seed_draws_the_same_images_again(made, version):
    drawn = shown(made, version, count=10, seed=1)
    assert drawn == shown(made, version, count=10, seed=1)
    assert drawn != shown(made, version, count=10, seed=2)
    assert len(set(drawn)) == 10
    assert shown(made, version, count=5, seed=1) == drawn[:5]


@pytest.mark.parametrize("side", [32, 160, 256])
def test_thumbnails_have_the_asked_side_and_never_more_than_the_picture(made, version, side):
    for _, data in preview(made.store, version, PreviewRequest(side=side, count=4)):
        assert max(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]) == side
    assert cv2.imdecode(np.frombuffer(thumbnail(GREY, version, [], 1024), np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


def drawn(made, task, label, keypoints=None, side=160):
    """The grey picture's thumbnail with the label: FLOAT [height, width], how much the label's colour changed it."""
    version = made.version({"train/a.png": (GREY, (320, 240), [label])}, task=task, keypoints=keypoints)
    pixels = cv2.imdecode(np.frombuffer(thumbnail(GREY, version, [label], side), np.uint8), cv2.IMREAD_COLOR)
    return np.abs(pixels.astype(int) - 128).sum(axis=2)


def test_labels_are_drawn_where_they_are(made):
    box = drawn(made, "detect", Label(0, 0.5, 0.5, 0.6, 0.4))
    assert all(box[y, x] > 100 for x, y in [(32, 60), (128, 60), (80, 36), (80, 84)])
    assert box[60, 80] < 30
    turned = (0.5, 0.3, 0.8, 0.5, 0.5, 0.7, 0.2, 0.5)
    for task in ("obb", "segment"):
        outline = drawn(made, task, Label(0, 0.5, 0.5, 0.6, 0.4, turned))
        assert all(outline[y - 2 : y + 3, x - 2 : x + 3].max() > 100 for x, y in [(32, 60), (128, 60), (80, 36), (80, 84)]), task
        assert outline[38, 34] < 30, task  # its upright box is not drawn
        assert 20 < outline[60, 80] < 200, task  # filled a little
    pose = drawn(made, "pose", Label(0, 0.5, 0.5, 0.6, 0.4, (0.4, 0.5, 2.0, 0.6, 0.5, 1.0, 0.0, 0.0, 0.0)), KeypointLayout(3, 3))
    assert pose[60, 64] > 100
    assert pose[60, 96] > 100
    assert pose[0:4, 0:4].max() < 30  # a keypoint that is not there
    assert drawn(made, "classify", Label(0, 0.5, 0.5, 1.0, 1.0)).max() < 30


def test_large_thumbnails_tell_the_class_in_its_colour(made):
    label = Label(1, 0.5, 0.5, 0.4, 0.4)
    version = made.version({"train/a.png": (GREY, (320, 240), [label])})
    pixels = cv2.imdecode(np.frombuffer(thumbnail(GREY, version, [label], 320), np.uint8), cv2.IMREAD_COLOR)
    tag = pixels[60:70, 97:99].reshape(-1, 3)
    assert np.abs(np.median(tag, axis=0) - colour_of(1)).max() < 60


def test_labels_out_of_the_picture_and_very_many_of_them_are_drawn_without_trouble(made):
    wild = [Label(0, 0.999, 0.999, 0.5, 0.5), Label(0, 0.0, 0.0, 1e-9, 1e-9), Label(0, 0.5, 0.5, 1.0, 1.0, (1.0, 1.0, 1.0, 1.0, 1.0, 1.0))]
    version = made.version({"train/a.png": (GREY, (320, 240), wild)}, task="segment")
    assert thumbnail(GREY, version, wild * 5000, 1024).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": "dev"},
        {"image_count": -1},
        {"image_count": 1001},
        {"thumbnail_side_px": 31},
        {"thumbnail_side_px": 1025},
        {"seed": 0, "after_image": "train/a.jpg"},
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(YardError) as caught:
        preview_from_proto(dataset_service_pb2.PreviewDatasetVersionRequest(**wrong))
    assert caught.value.reason is Reason.INVALID_FIELD


def test_on_the_wire_a_seed_of_zero_is_a_seed_and_labels_keep_their_numbers(made, version):
    assert preview_from_proto(dataset_service_pb2.PreviewDatasetVersionRequest()) == PreviewRequest()
    assert preview_from_proto(dataset_service_pb2.PreviewDatasetVersionRequest(seed=0)).seed == 0
    row, data = next(iter(preview(made.store, version, PreviewRequest(split="val"))))
    image = preview_to_proto(version, row, data)
    assert (image.image, image.width_px, image.height_px) == ("val/02.jpg", 320, 240)
    (label,) = image.labels
    assert (label.class_name, label.center_x_ratio, label.height_ratio, label.HasField("confidence")) == ("cone", 0.5, 0.4, False)
