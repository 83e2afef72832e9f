"""Pictures in, boxes out: decoding, letterboxing and non-maximum suppression exactly as Ultralytics does them, with NumPy and OpenCV only."""
