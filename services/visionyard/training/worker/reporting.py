"""Writes what the final validation has found into the run's folder, from where it goes into the bucket with the run's other files."""

from __future__ import annotations

import json
from pathlib import Path

from visionyard.training.reports.findings import PICTURES_FILE, REPORT_FILE
from visionyard.training.worker.observing import Observed
from visionyard.training.worker.thumbnails import write_thumbnails


def write_report(observed: Observed, folder: Path) -> None:
    """Writes ``report.json`` and ``report-pictures.zip``, which holds the thumbnails that it names.

    Args:
        observed: The validation.
        folder: The run's folder.
    """
    write_thumbnails(observed.document, observed.files, folder / PICTURES_FILE)
    (folder / REPORT_FILE).write_text(json.dumps(observed.document), encoding="utf-8")
