"""Run in Datumaro's own environment: reads a data set and writes it as YOLO with its images. Prints the seconds that took, the start of Python left out."""

from __future__ import annotations

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from datumaro.components.dataset import Dataset  # noqa: E402 - behind the filter

source, source_format, target = sys.argv[1:4]
began = time.perf_counter()
dataset = Dataset.import_from(source, source_format)
images = len(dataset)
dataset.export(target, "yolo", save_media=True)
sys.stdout.write(json.dumps({"images": images, "seconds": time.perf_counter() - began}) + "\n")
