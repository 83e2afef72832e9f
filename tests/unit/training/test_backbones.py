"""The networks of torchvision that can be trained: the list is true of what is installed, and nothing else of theirs gets in."""

from __future__ import annotations

from typing import Any

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.torchvision_classes import TORCHVISION_CLASSES, torchvision_classes
from visionyard.training.arguments import ArgumentTable
from visionyard.training.backbones import (
    CHANNELS,
    MOST_PARAMETERS,
    backbone_of,
    check_network,
    model_document,
    model_yaml,
    yaml_name,
)
from visionyard.training.model_yaml import check_model_document, check_model_yaml, parse_plain_yaml
from visionyard.training.spec import TrainingSpec, check_spec

_OWN_PACKAGES = ("torch.", "ultralytics.")


def _spec(architecture: str) -> TrainingSpec:
    return TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture=architecture)


def _built(network: str) -> Any:
    """The model, without memory behind it."""
    import torch
    from ultralytics.nn.tasks import ClassificationModel

    with torch.device("meta"):
        return ClassificationModel(model_document(network, class_count=5), verbose=False)


@pytest.mark.parametrize("network", CHANNELS)
def test_every_network_of_the_list_is_built_and_gives_the_channels_that_it_says(network: str) -> None:
    import torch

    model = _built(network).eval()
    trunk = model.model[0](torch.zeros(1, 3, 64, 64, device="meta"))
    assert tuple(trunk.shape) == (1, CHANNELS[network], 2, 2)
    assert sum(parameter.numel() for parameter in model.model[0].parameters()) <= MOST_PARAMETERS


def test_the_classes_of_torchvision_are_those_that_the_networks_are_made_of() -> None:
    used = {f"{type(part).__module__}.{type(part).__qualname__}" for network in CHANNELS for part in _built(network).modules()}
    assert {name for name in used if not name.startswith(_OWN_PACKAGES)} == set(TORCHVISION_CLASSES)


def test_each_class_is_a_module_under_the_name_that_a_pickle_spells() -> None:
    from torch import nn

    assert tuple(f"{found.__module__}.{found.__qualname__}" for found in torchvision_classes()) == TORCHVISION_CLASSES
    assert all(issubclass(found, nn.Module) for found in torchvision_classes())


@pytest.mark.parametrize("network", ["resnet34", "mobilenet_v2"])
def test_our_own_yaml_is_no_users_but_a_weight_file_may_hold_it(network: str) -> None:
    document = parse_plain_yaml(model_yaml(network))
    assert document == model_document(network)
    check_model_document(document, from_weights=True)
    with pytest.raises(YardError, match="TorchVision"):
        check_model_yaml(model_yaml(network))


@pytest.mark.parametrize(
    "row",
    [
        [-1, 1, "TorchVision", [512, "resnet34", "DEFAULT", True, 2]],  # downloads
        [-1, 1, "TorchVision", [512, "resnet34"]],  # DEFAULT is the default
        [-1, 1, "TorchVision", [512, "vit_b_16", None, True, 2]],
        [-1, 1, "TorchVision", [512, ["resnet34"], None, True, 2]],
        [-1, 1, "TorchVision", [4, "resnet34", None, True, 2]],
        [-1, 9, "TorchVision", [512, "resnet34", None, True, 2]],
        [-1, 1, "TorchVision", None],
        [-1, 1, "TorchVision"],
    ],
)
def test_other_rows_of_the_module_are_refused_in_weight_files_too(row: list[Any]) -> None:
    with pytest.raises(YardError) as refused:
        check_model_document({**model_document("resnet34"), "backbone": [row]}, from_weights=True)
    assert refused.value.reason is Reason.MODEL_YAML_INVALID


def test_many_networks_in_one_model_are_too_many_parameters() -> None:
    document = model_document("resnet34")
    with pytest.raises(YardError, match="parameters"):
        check_model_document({**document, "backbone": document["backbone"] * 30}, from_weights=True)


def test_a_networks_yaml_is_known_by_name(table: ArgumentTable) -> None:
    for network in CHANNELS:
        assert backbone_of(yaml_name(network)) == network
        assert check_spec(_spec(yaml_name(network)), table)[1] == "classify"
        assert yaml_name(network) not in table.architectures
    assert [backbone_of(name) for name in ("resnet34", "resnet35.yaml", "../resnet34.yaml", "resnet34.yaml.yaml", "")] == [""] * 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("yolo11-cls-resnet18.yaml", "use resnet18.yaml, the same network without a download"),
        ("resnet35.yaml", " resnet34.yaml"),
        ("yolo11m-sge.yaml", "did you mean yolo11m-seg.yaml"),
        ("zzz.yaml", "use one such as"),
    ],
)
def test_another_yamls_name_is_refused_with_the_one_to_use(table: ArgumentTable, given: str, told: str) -> None:
    with pytest.raises(YardError) as refused:
        check_spec(_spec(given), table)
    assert refused.value.reason is Reason.MODEL_YAML_INVALID
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("resnet35", "resnet34"),
        ("ResNet-34", "resnet34"),
        ("resnet34.yaml", "resnet34"),
        ("mobilenet-v3-small", "mobilenet_v3_small"),
        ("vit_b_16", "convnext_base"),
    ],
)
def test_another_networks_name_is_refused_with_the_one_most_like_it(given: str, near: str) -> None:
    with pytest.raises(YardError) as refused:
        check_network(given)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert near in refused.value.message
