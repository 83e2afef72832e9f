"""The letterbox against Ultralytics' own, on sizes that rounding treats differently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils.ops import scale_boxes

from visionyard.kit.vision.letterbox import FILL, LetterboxMode, letterbox, plan

_GENERATOR = np.random.default_rng(7)
_SIZES = [
    *((int(w), int(h)) for w, h in _GENERATOR.integers(1, 1500, (40, 2))),
    (640, 640),
    (640, 480),
    (1, 3000),
    (3000, 1),
    (1, 1),
    (1920, 1081),
    (513, 511),
]


@pytest.mark.parametrize("mode", list(LetterboxMode))
@pytest.mark.parametrize(("image_size", "stride"), [(640, 32), (64, 32), (320, 64)])
def test_same_pixels_and_same_boxes_back(mode: LetterboxMode, image_size: int, stride: int) -> None:
    theirs = LetterBox((image_size, image_size), auto=mode is LetterboxMode.RECT, stride=stride)
    for width, height in _SIZES:
        image = _GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
        fit = plan(width, height, image_size, stride, mode)
        ours = letterbox(image, fit)
        expected = theirs(image=image)
        assert ours.shape == expected.shape == (fit.height, fit.width, 3)
        assert np.array_equal(ours, expected), (width, height)
        assert fit.height % stride == fit.width % stride == 0

        boxes = _GENERATOR.uniform(-20, image_size + 20, (16, 4)).astype(np.float32)
        want = scale_boxes(expected.shape, torch.from_numpy(boxes.copy()), image.shape).numpy()
        # Theirs divides a FP32 tensor by Python floats, ours by FP32: at most a rounding apart.
        np.testing.assert_allclose(fit.boxes_to_image(boxes), want, rtol=1e-6, atol=1e-4)


def test_size_that_is_no_multiple_of_the_stride_is_rounded_up() -> None:
    fit = plan(500, 500, 600, 32, LetterboxMode.SQUARE)
    assert (fit.width, fit.height) == (608, 608)


def test_draws_into_a_slice_of_a_batch() -> None:
    image = _GENERATOR.integers(0, 256, (30, 64, 3), dtype=np.uint8)
    fit = plan(64, 30, 64, 32, LetterboxMode.SQUARE)
    batch = np.zeros((2, 64, 64, 3), np.uint8)
    letterbox(image, fit, out=batch[1])
    assert not batch[0].any()
    assert np.array_equal(batch[1], letterbox(image, fit))
    assert (batch[1][: fit.top] == FILL).all()
