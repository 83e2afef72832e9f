"""Which modules and activations a model YAML may name: a literal list, so that no YAML can reach anything else.

Source: ``ultralytics/nn/tasks.py: parse_model`` of Ultralytics 8.4.190 (AGPL-3.0), which looks names up in ``torch.nn``, in ``torchvision.ops``
and among its own globals. Left out on purpose: ``TorchVision`` and ``Index`` (they download weights), ``torchvision.ops.*``.
A test compares the list with the installed version.
"""

from __future__ import annotations

from collections.abc import Mapping

HEADS: Mapping[str, frozenset[str]] = {
    "detect": frozenset({"Detect", "v10Detect", "RTDETRDecoder"}),
    "segment": frozenset({"Segment", "Segment26"}),
    "pose": frozenset({"Pose", "Pose26"}),
    "obb": frozenset({"OBB", "OBB26"}),
    "classify": frozenset({"Classify"}),
}
"""The heads of the models that can be trained, by task."""
TASK_OF_HEAD: Mapping[str, str] = {head: task for task, heads in HEADS.items() for head in heads}
OTHER_HEADS = frozenset(
    {
        "Depth",
        "SemanticSegment",
        "WorldDetect",
        "YOLOEDetect",
        "YOLOESegment",
        "YOLOESegment26",
    }
)
"""Heads of other tasks, or of models that take texts as well."""
SCALED_MODULES = frozenset(
    {
        "A2C2f",
        "AConv",
        "ADown",
        "Bottleneck",
        "BottleneckCSP",
        "C1",
        "C2",
        "C2PSA",
        "C2f",
        "C2fAttn",
        "C2fCIB",
        "C2fPSA",
        "C3",
        "C3Ghost",
        "C3TR",
        "C3k2",
        "C3x",
        "Conv",
        "ConvTranspose",
        "DWConv",
        "DWConvTranspose2d",
        "ELAN1",
        "Focus",
        "GhostBottleneck",
        "GhostConv",
        "PSA",
        "RepC3",
        "RepNCSPELAN4",
        "SCDown",
        "SPP",
        "SPPELAN",
        "SPPF",
        "nn.ConvTranspose2d",
    }
)
"""Modules whose first argument is their number of output channels, scaled by the width multiple."""
OTHER_MODULES = frozenset(
    {
        "AIFI",
        "CBFuse",
        "CBLinear",
        "Concat",
        "HGBlock",
        "HGStem",
        "ImagePoolingAttn",
        "ResNetLayer",
        "nn.AvgPool2d",
        "nn.BatchNorm2d",
        "nn.Dropout2d",
        "nn.Identity",
        "nn.LeakyReLU",
        "nn.MaxPool2d",
        "nn.ReLU",
        "nn.SiLU",
        "nn.Upsample",
        "nn.ZeroPad2d",
    }
)
"""The rest."""
MODULES = frozenset(TASK_OF_HEAD) | OTHER_HEADS | SCALED_MODULES | OTHER_MODULES
ACTIVATIONS = frozenset(
    {
        "ELU",
        "GELU",
        "Hardsigmoid",
        "Hardswish",
        "Identity",
        "LeakyReLU",
        "Mish",
        "PReLU",
        "ReLU",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softplus",
        "Tanh",
    }
)
"""Classes of ``torch.nn`` that ``activation:`` may name."""
WORDS = frozenset({"None", "True", "False", "nc", "nearest", "bilinear", "bicubic", "kpt_shape", "reg_max"})
"""The only strings that may stand among a module's arguments; the names of YAML keys among them are looked up by Ultralytics."""
