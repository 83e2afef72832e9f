"""Pictures with boxes drawn, on disk."""

import cv2
import numpy as np

from visionyard.cli.predict import _Saver
from visionyard.inference.v1 import prediction_service_pb2


def test_no_picture_takes_anothers_name(tmp_path):
    saver = _Saver(tmp_path / "out")
    images = ["x/a.jpg", "y/a.png", "a-2.jpg", "A.jpg", "a-2.png", "a.b.jpg"]
    for index, image in enumerate(images):
        data = cv2.imencode(".png", np.full((8, 8, 3), 40 * index, np.uint8))[1].tobytes()
        assert saver.save(image, data, prediction_service_pb2.Prediction()) is None
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["A-3.jpg", "a-2-2.jpg", "a-2-3.jpg", "a-2.jpg", "a.b.jpg", "a.jpg"]
    assert len({path.read_bytes() for path in (tmp_path / "out").iterdir()}) == len(images)
