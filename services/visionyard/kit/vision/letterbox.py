"""Letterboxing: an image is scaled into a model's input and the rest filled with grey; boxes found there are mapped back.

Follows Ultralytics 8.4 to the pixel: ``ultralytics/data/augment.py`` (``LetterBox.get_params``, ``apply_image``) on the way in and
``ultralytics/utils/ops.py`` (``scale_boxes``, ``clip_boxes``) on the way back. The two are not each other's exact inverse: the way back
computes its scale anew from the finished input's size, which in ``rect`` mode can differ from the first by a rounded pixel. That is kept.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILL = 114
"""The grey around the image, in each channel."""


class LetterboxMode(enum.Enum):
    """How much grey goes around an image."""

    RECT = "rect"
    """The smallest rectangle of stride multiples, as Ultralytics' predict does for one image."""
    SQUARE = "square"
    """The full square."""


@dataclass(frozen=True)
class Fit:
    """Where an image of a certain size lies in a model's input. All sizes in pixels.

    Attributes:
        image_width: The image's own width.
        image_height: The image's own height.
        width: The input's width, a multiple of the stride.
        height: The input's height, a multiple of the stride.
        scaled_width: The image's width inside the input.
        scaled_height: The image's height inside the input.
        left: Columns of grey on the image's left.
        top: Rows of grey above the image.
    """

    image_width: int
    image_height: int
    width: int
    height: int
    scaled_width: int
    scaled_height: int
    left: int
    top: int

    def boxes_to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps boxes from the input to the image and clips them to it (``scale_boxes``).

        Args:
            boxes: FP32 [M, 4], x1 y1 x2 y2 in pixels of the input.

        Returns:
            FP32 [M, 4], x1 y1 x2 y2 in pixels of the image; a new array.
        """
        gain = min(self.height / self.image_height, self.width / self.image_width)
        new_width, new_height = max(round(self.image_width * gain), 1), max(round(self.image_height * gain), 1)
        pad_x, pad_y = round((self.width - new_width) / 2 - 0.1), round((self.height - new_height) / 2 - 0.1)
        gain_x, gain_y = new_width / self.image_width, new_height / self.image_height
        pad = np.array([pad_x, pad_y, pad_x, pad_y], np.float32)
        scale = np.array([gain_x, gain_y, gain_x, gain_y], np.float32)
        limit = np.array([self.image_width, self.image_height, self.image_width, self.image_height], np.float32)
        mapped: NDArray[np.float32] = np.clip((boxes - pad) / scale, np.float32(0), limit)
        return mapped


def plan(width: int, height: int, image_size_px: int, stride_px: int, mode: LetterboxMode) -> Fit:
    """Computes where an image of ``width`` x ``height`` pixels lies in a model's input.

    Args:
        width: The image's width in pixels, 1 or more.
        height: The image's height in pixels, 1 or more.
        image_size_px: The side that the model was trained at, in pixels; rounded up to a multiple of the stride.
        stride_px: The model's largest stride in pixels.
        mode: How much grey goes around.
    """
    side = -(-image_size_px // stride_px) * stride_px
    ratio = min(side / height, side / width)
    scaled_width, scaled_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    pad_x, pad_y = side - scaled_width, side - scaled_height
    if mode is LetterboxMode.RECT:
        pad_x, pad_y = pad_x % stride_px, pad_y % stride_px
    left, top = round(pad_x / 2 - 0.1), round(pad_y / 2 - 0.1)
    return Fit(
        image_width=width,
        image_height=height,
        width=scaled_width + pad_x,
        height=scaled_height + pad_y,
        scaled_width=scaled_width,
        scaled_height=scaled_height,
        left=left,
        top=top,
    )


def letterbox(image: NDArray[np.uint8], fit: Fit, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Draws ``image`` into a model's input.

    Args:
        image: UINT8 [image_height, image_width, 3]; the order of its channels is kept.
        fit: Where it goes, from :func:`plan` for this image's size.
        out: UINT8 [height, width, 3], contiguous, to draw into, such as one slice of a batch; left out: a new array.

    Returns:
        ``out``, or a new contiguous UINT8 [height, width, 3].
    """
    if out is None:
        out = np.empty((fit.height, fit.width, 3), np.uint8)
    bottom, right = fit.top + fit.scaled_height, fit.left + fit.scaled_width
    out[: fit.top] = FILL
    out[bottom:] = FILL
    out[fit.top : bottom, : fit.left] = FILL
    out[fit.top : bottom, right:] = FILL
    if (fit.scaled_width, fit.scaled_height) == (fit.image_width, fit.image_height):
        out[fit.top : bottom, fit.left : right] = image
    else:
        resized = cv2.resize(image, (fit.scaled_width, fit.scaled_height), interpolation=cv2.INTER_LINEAR)
        out[fit.top : bottom, fit.left : right] = resized
    return out
