"""Previews: the request's limits, and images with their labels on the wire."""

from __future__ import annotations

from visionyard.dataset.pages.preview import PreviewRequest
from visionyard.dataset.v1 import dataset_service_pb2
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import SPLITS, ManifestRow
from visionyard.kit.errors import invalid_field

_MAX_IMAGES = 1000
_SIDES_PX = (32, 1024)


def preview_from_proto(request: dataset_service_pb2.PreviewDatasetVersionRequest) -> PreviewRequest:
    """What a request asks for.

    Raises:
        YardError: INVALID_FIELD.
    """
    least, most = _SIDES_PX
    if request.split not in {"", *SPLITS}:
        raise invalid_field("split", f"is none of {', '.join(SPLITS)}")
    if not 0 <= request.image_count <= _MAX_IMAGES:
        raise invalid_field("image_count", f"is {request.image_count}: ask for 1 to {_MAX_IMAGES} images")
    if request.thumbnail_side_px and not least <= request.thumbnail_side_px <= most:
        raise invalid_field("thumbnail_side_px", f"is {request.thumbnail_side_px}: a side has {least} to {most} pixels")
    if request.HasField("seed") and request.after_image:
        raise invalid_field("after_image", "goes without a seed only: drawn images have no order to go on in")
    default = PreviewRequest()
    return PreviewRequest(
        split=request.split,
        class_name=request.class_name,
        count=request.image_count or default.count,
        side=request.thumbnail_side_px or default.side,
        seed=request.seed if request.HasField("seed") else None,
        after=request.after_image,
    )


def preview_to_proto(version: DatasetVersion, row: ManifestRow, thumbnail: bytes) -> dataset_service_pb2.ImagePreview:
    """An image of a version on the wire."""
    return dataset_service_pb2.ImagePreview(
        image=f"{row.split}/{row.name}",
        width_px=row.width,
        height_px=row.height,
        labels=[
            dataset_service_pb2.ImageLabel(
                class_id=label.class_id,
                class_name=version.classes[label.class_id].name,
                center_x_ratio=label.cx,
                center_y_ratio=label.cy,
                width_ratio=label.w,
                height_ratio=label.h,
                points=label.points,
                confidence=label.confidence,
            )
            for label in row.labels
        ],
        thumbnail=thumbnail,
    )
