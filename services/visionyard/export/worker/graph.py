"""The serving graph: pixels in, candidates out, everything between inside one ONNX file.

Input ``images``: UINT8 [N, H, W, 3], RGB, letterboxed; N, H and W are dynamic, H and W multiples of the stride. Outputs, for K candidates an image:
``boxes`` FP32 [N, K, 4] (x1 y1 x2 y2 in pixels of the input), ``scores`` FP32 [N, K], ``classes`` INT32 [N, K] and ``anchors`` INT32 [N, K]. Candidates
are the K surest pairs of a box and a class, descending; ``anchors`` tells which pairs share a box. A model with fewer pairs than K fills up
with the score -1. Thresholds and suppression are the caller's: see :mod:`visionyard.kit.vision.nms`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import BaseModel

INPUT_NAME = "images"
OUTPUT_NAMES = ("boxes", "scores", "classes", "anchors")
NO_CANDIDATE = -1.0
"""The score of a candidate that is none; below every threshold."""
_TRACE_SHAPE = (2, 320, 384, 3)
"""The pixels that the graph is traced with: N, H and W differ from each other and from 1, so that none of them is taken for a constant."""


class ServingGraph(nn.Module):
    """An Ultralytics detection model between pixels and candidates.

    Args:
        model: The fused model in evaluation mode. Its head is switched to export mode in place: use it for nothing else afterwards.
        max_candidates: K.

    Attributes:
        nms_applied: The model is NMS-free (it has a one-to-one head only): its candidates are detections already.
    """

    def __init__(self, model: BaseModel, max_candidates: int) -> None:
        super().__init__()
        head: Detect = model.model[-1]
        # As Ultralytics' own exporter does: no tuple of raw maps as second output, anchors computed anew for each size, boxes as corners.
        head.export, head.dynamic, head.format, head.xyxy = True, True, "onnx", True
        self.nms_applied = bool(head.end2end)
        if self.nms_applied:
            # The head's own selection drops the anchors' indices and is done below, with this graph's K.
            head.postprocess = _unselected
        self.model = model
        self.class_count = int(head.nc)
        self.max_candidates = max_candidates

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predicts; shapes as the module says."""
        predictions = self.model(images.permute(0, 3, 1, 2).to(torch.float32) / 255.0)
        boxes, scores = predictions[:, :4], predictions[:, 4:]
        anchors, pair_scores = self._surest_anchors(scores)
        # The pairs of the K surest anchors hold the K surest pairs: a pair outside of them has K surer ones, the best of each of those anchors.
        top_scores, pairs = pair_scores.flatten(1).topk(self.max_candidates)
        chosen = anchors.gather(1, pairs % self.max_candidates)
        corners = boxes.gather(2, chosen[:, None].expand(-1, 4, -1)).transpose(1, 2)
        return corners, top_scores, (pairs // self.max_candidates).to(torch.int32), chosen.to(torch.int32)

    def _surest_anchors(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Anchors [N, K] with the best classes, and the scores of all their classes [N, classes, K].

        Padded with K anchors that don't exist, because a small input has fewer than K, and topk needs a constant K.
        """
        count = scores.shape[2]
        best = functional.pad(scores.amax(1), (0, self.max_candidates), value=NO_CANDIDATE)
        anchors = best.topk(self.max_candidates).indices
        exists = anchors < count
        anchors = anchors.clamp(max=count - 1)
        pair_scores = scores.gather(2, anchors[:, None].expand(-1, self.class_count, -1))
        return anchors, torch.where(exists[:, None], pair_scores, torch.full_like(pair_scores, NO_CANDIDATE))


def _unselected(predictions: torch.Tensor) -> torch.Tensor:
    """Stands in for an NMS-free head's ``postprocess``: [N, anchors, 4 + classes] back to [N, 4 + classes, anchors]."""
    return predictions.permute(0, 2, 1)


def write_onnx(graph: ServingGraph, path: Path, opset: int) -> None:
    """Writes the graph as ONNX.

    The exporter is the one that traces (``dynamo=False``), which Ultralytics uses too: the one that captures programs gives the same
    results at the same speed, but takes 28 s instead of 1 s and another dependency (measured with torch 2.14 on yolov8n).

    Args:
        graph: The graph, in evaluation mode.
        path: The file to write.
        opset: The operator set.
    """
    axes = {INPUT_NAME: {0: "batch", 1: "height", 2: "width"}, **{name: {0: "batch"} for name in OUTPUT_NAMES}}
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, _TRACE_SHAPE, dtype=torch.uint8, generator=generator)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="The feature will be removed")
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*legacy TorchScript-based ONNX export.*")
        warnings.filterwarnings("ignore", category=UserWarning, message="Constant folding - Only steps=1.*")
        torch.onnx.export(
            graph,
            (pixels,),
            str(path),
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_axes=axes,
            dynamo=False,
        )
    _state_shapes(path, graph.max_candidates)


def _state_shapes(path: Path, max_candidates: int) -> None:
    """Writes the outputs' known sizes into the file, where tracing left names that mean nothing."""
    model = onnx.load(str(path))
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = max_candidates
    onnx.save(model, str(path))


def check_onnx(path: Path) -> None:
    """Runs the ONNX checker over the file, shapes and types included.

    Raises:
        onnx.checker.ValidationError: the file is not valid ONNX.
        onnx.shape_inference.InferenceError: its shapes or types contradict each other.
    """
    onnx.checker.check_model(str(path), full_check=True)
