"""Every parser of what strangers give: how it is run, what it starts from, and which modules count as its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import binaries
import binary_mutation
import binary_seeds
import mutation
import readings
import seeds
import texts

from visionyard.dataset.formats.detect import FORMATS

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Parser:
    """What is fuzzed.

    Attributes:
        name: As ``PARSERS`` names it.
        run: Takes an input. Raises only where something is wrong.
        seeds: Valid inputs, and odd ones, that changes start from.
        mutate: Changes an input with a mind to its structure.
        modules: Files of services/visionyard, as patterns, of which coverage is told.
        max_bytes: The longest input.
    """

    name: str
    run: Run
    seeds: Callable[[], Iterator[bytes]]
    mutate: mutation.Mutator
    modules: tuple[str, ...]
    max_bytes: int = 1 << 15


_SHARED = ("dataset/formats/labelled.py", "dataset/formats/staged.py", "dataset/formats/shapes.py", "dataset/labels.py")
_MODULES = {
    "yolo": ("yolo.py", "yolo_rows.py", "data_yaml.py", "places.py", "class_list.py", "split_table.py", "safe_yaml.py"),
    "voc": ("voc*.py", "xml_reader.py"),
    "coco": ("coco*.py", "joined_parts.py"),
    "cvat": ("cvat*.py", "xml_reader.py", "row_masks.py"),
    "labelme": ("labelme_json.py", "labelme_annotation.py", "labelme_shapes.py", "per_image.py"),
    "labelme3": ("labelme_xml.py", "labelme_annotation.py", "labelme_shapes.py", "per_image.py", "xml_reader.py"),
    "labelstudio": ("label_studio*.py",),
    "createml": ("createml.py", "listed.py", "matching.py"),
    "via": ("via*.py", "listed.py"),
    "predictions": ("predictions.py", "json_lines.py", "matching.py"),
    "folders": ("folders.py",),
}


def _formats() -> Iterator[Parser]:
    for name in FORMATS:
        modules = tuple(f"dataset/formats/{module}" for module in _MODULES[name])
        yield Parser(name, functools.partial(readings.read_bundle, format_=name), seeds.of_format(name), mutation.files, modules)
    every = ("dataset/formats/*.py", *_SHARED, "dataset/source.py")
    yield Parser("detect", functools.partial(readings.read_bundle, format_=""), seeds.of_all_formats, mutation.files, every)
    lists = tuple(f"dataset/formats/{module}" for module in ("places.py", "data_yaml.py", "split_table.py"))
    yield Parser("split-lists", functools.partial(readings.read_bundle, format_="yolo"), seeds.split_lists, mutation.files, lists)
    sets = ("dataset/formats/voc_sets.py", "dataset/formats/split_table.py")
    yield Parser("voc-lists", functools.partial(readings.read_bundle, format_="voc"), seeds.voc_lists, mutation.files, sets)
    darknet = ("dataset/formats/darknet.py", "dataset/formats/class_list.py")
    yield Parser("darknet", functools.partial(readings.read_bundle, format_="yolo"), seeds.darknet, mutation.files, darknet)


def _texts() -> Iterator[Parser]:
    formats = "dataset/formats/"
    yield Parser("json-text", texts.read_json_value, seeds.json_texts, mutation.json_text, (f"{formats}json_text.py",))
    stream = (f"{formats}json_stream.py", f"{formats}json_text.py")
    yield Parser("json-stream", texts.read_json_members, seeds.json_texts, mutation.json_text, stream)
    yield Parser("json-parts", readings.read_json_parts, seeds.json_parts, mutation.json_text, stream)
    yield Parser("json-items", texts.read_json_items, seeds.json_texts, mutation.json_text, (f"{formats}json_items.py",))
    yield Parser("json-lines", texts.read_json_lines, seeds.json_lines, mutation.plain_text, (f"{formats}json_lines.py",))
    yield Parser("xml", texts.read_xml_text, seeds.xml_texts, mutation.xml_text, (f"{formats}xml_reader.py",))
    yield Parser("yaml", texts.read_yaml_text, seeds.yaml_texts, mutation.yaml_text, (f"{formats}safe_yaml.py",))
    yield Parser("yolo-rows", texts.read_label_rows, seeds.label_rows, mutation.plain_text, (f"{formats}yolo_rows.py",))
    masks = (f"{formats}run_lengths.py",)
    yield Parser("masks", texts.read_mask, seeds.masks, mutation.plain_text, masks, max_bytes=1 << 12)
    yield Parser(
        "addresses",
        texts.read_address,
        seeds.addresses,
        mutation.plain_text,
        ("dataset/fetching/addresses.py", "kit/web/urls.py"),
        max_bytes=4096,
    )


def _binaries() -> Iterator[Parser]:
    images = ("dataset/images.py", "kit/vision/decode.py")
    yield Parser("images", binaries.read_image, binary_seeds.images, binary_mutation.image, images, max_bytes=1 << 17)
    zips = ("dataset/archives/zip*.py", "dataset/archives/entry.py", "dataset/archives/opened.py", "dataset/archives/noted.py")
    yield Parser("zip", binaries.read_archive, binary_seeds.zips, binary_mutation.zip_file, zips)
    tars = ("dataset/archives/tarred.py", "dataset/archives/entry.py", "dataset/archives/opened.py")
    yield Parser("tar", binaries.read_packed_tar, binary_seeds.tars, binary_mutation.tar_file, tars)
    yield Parser("packed-tar", binaries.read_archive, binary_seeds.packed_tars, mutation.raw, tars)


PARSERS = {parser.name: parser for make in (_formats, _texts, _binaries) for parser in make()}
