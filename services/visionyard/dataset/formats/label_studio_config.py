"""A Label Studio project's labelling interface, the XML beside its export: which control labels what, and in which order classes and keypoints are declared.

The tags: https://labelstud.io/tags/. They are told whatever their case.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from visionyard.dataset.formats.labelled import MAX_CLASSES
from visionyard.dataset.formats.xml_reader import NotXml, read_xml

_MAX_BYTES = 1 << 20
"""A larger file is no labelling interface."""
_MAX_NAME = 1000
_MAX_INDEX_DIGITS = 7
_REGION_CONTROLS = frozenset({"rectanglelabels", "polygonlabels", "ellipselabels", "labels"})
_CONTROLS = _REGION_CONTROLS | {"keypointlabels", "brushlabels", "choices"}
_YES = frozenset({"true", "1", "yes"})


@dataclass(frozen=True)
class LabelConfig:
    """A labelling interface.

    Attributes:
        images: The key of a task's data that each Image tag shows, by the tag's name.
        classes: The labels of regions, in the order in which they are declared.
        keypoints: The labels of keypoints, by ``model_index`` where they have one.
        choices: The choices about a whole picture, by the control's name.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Handler:
    """Follows the tags; knows only those that count."""

    def __init__(self) -> None:
        self.is_config = False
        self.images: dict[str, str] = {}
        self.regions: dict[str, None] = {}
        self.of_regions: dict[str, None] = {}
        self.keypoints: dict[str, int] = {}
        self.choices: dict[str, dict[str, None]] = {}
        self._choices: dict[str, None] = {}

    def start(self, path: list[str], attributes: dict[str, str], line: int) -> None:  # noqa: ARG002 - a Handler's
        """See :class:`visionyard.dataset.formats.xml_reader.Handler`."""
        tag = path[-1].lower()
        if len(path) == 1:
            self.is_config = tag == "view"
            if not self.is_config:
                raise NotXml("its root is not <View>")
        given = {key.lower(): value[:_MAX_NAME] for key, value in attributes.items()}
        if tag == "image":
            self.images[given.get("name", "")] = (given.get("value") or given.get("valuelist") or "").removeprefix("$")
        elif tag == "choices":
            per_region = given.get("perregion", "").lower() in _YES
            self._choices = self.of_regions if per_region else self.choices.setdefault(given.get("name", ""), {})
        elif tag in {"label", "choice"}:
            control = next((name for name in map(str.lower, reversed(path)) if name in _CONTROLS), "")
            self._declare(control, given)

    def end(self, path: list[str], text: str) -> None:
        """See :class:`visionyard.dataset.formats.xml_reader.Handler`."""

    def _declare(self, control: str, given: dict[str, str]) -> None:
        """Takes a label or choice; its alias, where it has one, is what annotations hold."""
        value = given.get("alias") or given.get("value", "")
        if not value:
            return
        if control in _REGION_CONTROLS:
            self.regions[value] = None
        elif control == "choices":
            self._choices[value] = None
        elif control == "keypointlabels":
            index = given.get("model_index", "")
            told = index.isascii() and index.isdigit() and len(index) <= _MAX_INDEX_DIGITS
            self.keypoints.setdefault(value, int(index) if told else len(self.keypoints))


def parse_config(path: str, data: bytes) -> LabelConfig | None:
    """Reads a labelling interface.

    Args:
        path: Its path in the source, for messages.
        data: The file's bytes.

    Returns:
        What it declares; None where the file is none.

    Raises:
        NotXml: it begins as one, but is damaged.
        YardError: ANNOTATION_BOMB.
    """
    handler = _Handler()
    if len(data) > _MAX_BYTES:
        return None
    try:
        read_xml(io.BytesIO(data), path, handler)
    except NotXml:
        if handler.is_config:
            raise
        return None
    return LabelConfig(
        images=handler.images,
        # Regions without labels of their own get their class by a choice about the region.
        classes=tuple(handler.regions or handler.of_regions)[:MAX_CLASSES],
        keypoints=tuple(sorted(handler.keypoints, key=lambda name: handler.keypoints[name])),
        choices={name: tuple(choices)[:MAX_CLASSES] for name, choices in handler.choices.items()},
    )
