"""Classification whose class ids are those of the dataset version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ultralytics.models.yolo.classify import ClassificationTrainer

from visionyard.kit.artifacts.layout import CLASS_LIST


class OrderedClassificationTrainer(ClassificationTrainer):  # type: ignore[misc]  # Ultralytics has no types
    """Numbers the classes as the version does; Ultralytics numbers their folders by the alphabet."""

    def get_dataset(self) -> dict[str, Any]:
        """The splits' folders, and the classes' folders by id."""
        data: dict[str, Any] = super().get_dataset()
        if not self.args.single_cls:
            data["names"] = dict(enumerate(json.loads(Path(self.args.data, CLASS_LIST).read_text(encoding="utf-8"))))
        return data
