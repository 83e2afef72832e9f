"""The layouts by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from visionyard.dataset.layouts.coco import CocoLayout
from visionyard.dataset.layouts.cvat import CvatLayout
from visionyard.dataset.layouts.label_studio import LabelStudioLayout
from visionyard.dataset.layouts.layout import Layout
from visionyard.dataset.layouts.voc import VocLayout
from visionyard.dataset.layouts.yolo import YoloLayout

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {layout.name: layout for layout in (YoloLayout(), CocoLayout(), VocLayout(), LabelStudioLayout(), CvatLayout())}
)
"""What a version can be written as, by the name that ``--format`` takes."""
