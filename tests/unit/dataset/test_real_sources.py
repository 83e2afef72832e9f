"""Real labelled folders, whole imports: the counts are those that the folders' own SOURCE.txt tell, or were counted by hand in the files."""

import io
import tarfile
from collections import Counter

import pytest

from visionyard.kit.errors import Reason, YardError


def tar_of(folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.add(path, str(path.relative_to(folder)))
    return buffer.getvalue()


WHOLE = {
    "coco128 as YOLO": ("coco128", "yolo", "detect", 128, 929, {"LABEL_WITHOUT_IMAGE": 12}),
    "coco128, found out": ("coco128", "", "detect", 128, 929, {"LABEL_WITHOUT_IMAGE": 12}),
    "coco128 as COCO": ("coco128", "coco", "segment", 128, 929, {"CROWD_REGION": 10}),
    "voc_bccd": ("voc_bccd", "", "detect", 364, 4886, {"ZERO_AREA_BOX": 2}),
    "cones": ("yolo_cones_roboflow160", "", "detect", 160, 374, {}),
    "combat": ("labelstudio_yolo_combat50", "", "detect", 50, 89, {}),
    "flowers": ("cls_flowers5", "", "classify", 150, 150, {}),
    "labelme boxes": ("labelme_examples/bbox_detection/data_annotated", "", "detect", 3, 9, {}),
    "labelme's VOC": ("labelme_examples/bbox_detection/data_dataset_voc", "", "detect", 3, 9, {}),
    "labelme polygons": ("labelme_examples/instance_segmentation/data_annotated", "", "segment", 3, 12, {"IGNORED_REGION": 2}),
    "labelme video": ("labelme_examples/video_annotation/data_annotated", "", "segment", 5, 15, {}),
    "labelme flags": ("labelme_examples/classification/data_annotated", "", "classify", 2, 2, {}),
    "Label Studio's YOLO": ("labelstudio_sdk_testdata/test_import_yolo_data", "", "detect", 7, 25, {}),
    "Label Studio's YOLO, other sizes": ("labelstudio_sdk_testdata/test_import_yolo_data_unif_dims", "", "detect", 5, 19, {}),
    "CVAT": ("formats_2label/cvat1.1", "", "detect", 4, 23, {"UNSUPPORTED_SHAPE": 2}),
    "CVAT's COCO": ("formats_2label/coco1.0", "", "detect", 4, 21, {"CROWD_REGION": 2}),
    "CVAT's VOC": ("formats_2label/voc1.1", "", "detect", 4, 18, {}),
    "CVAT's YOLO": ("formats_2label/yolo1.1", "", "detect", 4, 18, {}),
    "LabelMe": ("formats_2label/labelme", "", "detect", 4, 23, {"UNSUPPORTED_SHAPE": 2}),
    "phones": ("formats_2label/phones", "", "detect", 2, 10, {}),
}


@pytest.mark.parametrize(("folder", "format_", "task", "images", "labels", "dropped"), WHOLE.values(), ids=WHOLE)
def test_a_real_folder_comes_in_whole(bench, test_data, folder, format_, task, images, labels, dropped):
    version, context = bench.run(tar_of(test_data / folder), format=format_)
    report = bench.report(context)
    assert (version.task, version.image_count, version.label_count) == (task, images, labels)
    assert report["dropped_by_code"] == dropped
    assert report["labels"] == {"found": labels + sum(dropped.values()), "kept": labels, "dropped": sum(dropped.values())}


def test_known_defects_are_named(bench, test_data):
    _, context = bench.run(tar_of(test_data / "voc_bccd"))
    named = [(f["code"], f["file"].rpartition("/")[2], f["line"]) for f in bench.report(context)["findings"] if f["code"] != "NEAR_LEAKAGE"]
    assert named == [("ZERO_AREA_BOX", "BloodImage_00338.xml", 158), ("ZERO_AREA_BOX", "BloodImage_00343.xml", 50)]
    _, context = bench.run(tar_of(test_data / "coco128"), "coco", format="yolo")
    assert Counter(f["code"] for f in bench.report(context)["findings"]) == {
        "IMAGE_WITHOUT_LABELS": 2,
        "LABEL_WITHOUT_IMAGE": 2,
        "SPLIT_MISSING": 1,
    }
    _, context = bench.run(tar_of(test_data / "coco128"), "coco", format="coco")
    assert Counter(f["code"] for f in bench.report(context)["findings"])["CROWD_REGION"] == 10


MISSING = {
    "labelstudio_sdk_testdata/test_export_yolo": ("6|25|1", "/image1"),
    "labelstudio_sdk_testdata/test_export_coco": ("4", "test_image1.jpg"),
    "labelstudio_sdk_testdata/test_import_coco": ("2", "image1.jpg"),
    "formats_2label/CreateML": ("25", "strawberry.jpg"),
    "formats_2label/labelme3.0": ("23", "strawberry.jpg"),
    "formats_2label/labelImg": ("25", "strawberry"),
    "formats_2label/yolo": ("25", "strawberry"),
    "formats_2label/via": ("25|42", "strawberry.jpg"),
}


@pytest.mark.parametrize(("folder", "labels", "image"), [(folder, *told) for folder, told in MISSING.items()], ids=MISSING)
def test_labels_without_images_are_counted_and_refused_by_name(bench, test_data, folder, labels, image):
    with pytest.raises(YardError, match=rf"holds ({labels}) labels, but none of the images .*({image}|birds|--images)") as caught:
        bench.run(tar_of(test_data / folder))
    assert caught.value.reason is Reason.NO_IMAGES
    assert not [key for key in bench.listing() if "/attempts/" not in key and "/pins/" not in key]
