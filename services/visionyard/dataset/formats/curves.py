"""Circles and ellipses, which no task of Ultralytics knows, as polygons: every format that has them does it here, so that they come out alike."""

from __future__ import annotations

import math

_CORNERS = 64
"""The polygon's area is 0.16 % smaller than the ellipse's, and its sides stay within a pixel of it up to a radius of 800."""


def ellipse_corners(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> tuple[float, ...]:
    """The corners of a polygon on an ellipse, in pixels.

    Args:
        cx: The centre's x.
        cy: Its y.
        rx: Half the width before the turn.
        ry: Half the height before the turn.
        degrees: The turn around the centre, clockwise on the screen (y grows downwards).

    Returns:
        x and y of each of 64 corners, clockwise on the screen. Those on the axes are among them, so the box around the polygon is the ellipse's own where it is not turned.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners: list[float] = []
    for number in range(_CORNERS):
        angle = 2 * math.pi * number / _CORNERS
        dx, dy = rx * math.cos(angle), ry * math.sin(angle)
        corners += [cx + dx * cos - dy * sin, cy + dx * sin + dy * cos]
    return tuple(corners)
