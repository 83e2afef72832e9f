"""Classification networks of torchvision that can be trained: each one's layers up to its pooling, under Ultralytics' ``Classify`` head.

``resnet34.yaml`` is then the name of a model as ``yolo11n-cls.yaml`` is. Ultralytics builds the layers with its module ``TorchVision``
(``ultralytics/nn/modules/block.py``, 8.4.190), which downloads weights unless its third argument is null. So users' YAMLs cannot name that module,
and only the rows made here pass. A test builds, trains and loads each network of the list with the installed versions.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from visionyard.kit.errors import invalid_field

MODULE = "TorchVision"
"""Ultralytics' module that holds a network of torchvision."""
CHANNELS: Mapping[str, int] = {
    "convnext_base": 1024,
    "convnext_small": 768,
    "convnext_tiny": 768,
    "efficientnet_b0": 1280,
    "efficientnet_b1": 1280,
    "efficientnet_b2": 1408,
    "efficientnet_b3": 1536,
    "efficientnet_b4": 1792,
    "efficientnet_b5": 2048,
    "efficientnet_b6": 2304,
    "efficientnet_b7": 2560,
    "efficientnet_v2_l": 1280,
    "efficientnet_v2_m": 1280,
    "efficientnet_v2_s": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_large": 960,
    "mobilenet_v3_small": 576,
    "resnet101": 2048,
    "resnet152": 2048,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnext101_32x8d": 2048,
    "resnext101_64x4d": 2048,
    "resnext50_32x4d": 2048,
    "wide_resnet101_2": 2048,
    "wide_resnet50_2": 2048,
}
"""The networks by torchvision's own names, with the channels that come out of the last layer kept."""
MOST_PARAMETERS = 130_000_000
"""No network of the list has more (``wide_resnet101_2`` has 127 million, ``efficientnet_v2_l`` 119 million)."""
_LAYERS_LEFT_OUT = {"mobilenet_v2": 1}
"""How many of a network's last children are no part of the trunk: pooling and classifier, but mobilenet_v2 pools in its forward()."""
_SUFFIX = ".yaml"


def backbone_of(architecture: str) -> str:
    """The network that a YAML's name stands for; empty where it stands for none of the list."""
    name = architecture.removesuffix(_SUFFIX)
    return name if name in CHANNELS and architecture.endswith(_SUFFIX) else ""


def yaml_name(network: str) -> str:
    """What the model of a network is called: ``resnet34.yaml``."""
    return network + _SUFFIX


def _row(network: str) -> list[Any]:
    # [from, repeats, module, [channels, name, weights, whether to unwrap, children to leave out]]
    return [-1, 1, MODULE, [CHANNELS[network], network, None, True, _LAYERS_LEFT_OUT.get(network, 2)]]


def model_document(network: str, class_count: int = 1) -> dict[str, Any]:
    """The model's YAML as a document; training sets the number of classes again."""
    return {"nc": class_count, "backbone": [_row(network)], "head": [[-1, 1, "Classify", ["nc"]]]}


def model_yaml(network: str) -> str:
    """The model's YAML."""
    return json.dumps(model_document(network))  # JSON is YAML


def is_own_row(row: Any) -> bool:
    """Whether a layer of a model is a network of the list, as it is written here."""
    name = row[3][1] if isinstance(row[3], list | tuple) and len(row[3]) > 1 else None
    return isinstance(name, str) and name in CHANNELS and [*row[:3], list(row[3])] == _row(name)


def check_network(name: str) -> None:
    """Checks that torchvision's network of this name can be trained.

    Raises:
        YardError: INVALID_FIELD, with the names most like it.
    """
    if name in CHANNELS:
        return
    near = difflib.get_close_matches(name[:100].lower().replace("-", "_").removesuffix(_SUFFIX), CHANNELS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(CHANNELS)}"
    raise invalid_field("architecture", f"{name[:100]!r} is no classification network of torchvision that can be trained: {hint}")
