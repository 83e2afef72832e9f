"""The classes of torchvision that a checkpoint may hold beside torch's and Ultralytics' own: those of the classification backbones that can be trained.

Ultralytics' safe loading (``ULTRALYTICS_SAFE_LOAD``) knows none of them, so a worker adds them before it opens a checkpoint::

    torch.serialization.add_safe_globals(torchvision_classes())

Each is an ``nn.Module`` whose constructor makes layers and no more; a test compares the list with what the backbones are made of.
"""

from __future__ import annotations

import importlib
from typing import Any

TORCHVISION_CLASSES = (
    "torchvision.models.convnext.CNBlock",
    "torchvision.models.convnext.LayerNorm2d",
    "torchvision.models.efficientnet.FusedMBConv",
    "torchvision.models.efficientnet.MBConv",
    "torchvision.models.mobilenetv2.InvertedResidual",
    "torchvision.models.mobilenetv3.InvertedResidual",
    "torchvision.models.resnet.BasicBlock",
    "torchvision.models.resnet.Bottleneck",
    "torchvision.ops.misc.Conv2dNormActivation",
    "torchvision.ops.misc.Permute",
    "torchvision.ops.misc.SqueezeExcitation",
    "torchvision.ops.stochastic_depth.StochasticDepth",
)
"""Their names as a pickle spells them."""


def torchvision_classes() -> list[Any]:
    """The classes themselves. Imports torchvision and with it torch: for workers only."""
    found = []
    for full in TORCHVISION_CLASSES:
        module, _, name = full.rpartition(".")
        found.append(getattr(importlib.import_module(module), name))
    return found
