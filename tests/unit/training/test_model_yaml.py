"""Model YAMLs from users: those that Ultralytics brings pass, those that would run code or eat the machine don't."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.model_modules import ACTIVATIONS, MODULES, OTHER_MODULES
from visionyard.training.model_yaml import check_model_document, check_model_yaml, parse_plain_yaml

SPEC = importlib.util.find_spec("ultralytics")
assert SPEC is not None
assert SPEC.origin is not None
ULTRALYTICS = Path(SPEC.origin).parent
GOOD = """
nc: 2
depth_multiple: 0.33
width_multiple: 0.25
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [256, 3, 2]]
head:
  - [[0, 1, 2], 1, Detect, [nc]]
"""


def test_a_plain_yaml_passes() -> None:
    assert check_model_yaml(GOOD) == "detect"
    assert check_model_yaml(GOOD + "activation: torch.nn.LeakyReLU(0.1)\n") == "detect"
    assert check_model_yaml(GOOD.replace("Detect, [nc]", "Segment, [nc, 32, 256]")) == "segment"


@pytest.mark.parametrize("path", sorted((ULTRALYTICS / "cfg" / "models").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_that_ultralytics_brings_passes(path: Path) -> None:
    if "TorchVision" in path.read_text():
        with pytest.raises(YardError, match="TorchVision"):
            check_model_document(parse_plain_yaml(path.read_text()))
    else:
        check_model_document(parse_plain_yaml(path.read_text()))


def test_the_list_of_modules_is_that_of_the_installed_version() -> None:
    source = (ULTRALYTICS / "nn" / "tasks.py").read_text()
    parse_model = source[source.index("def parse_model(") : source.index("def yaml_model_load(")]
    base = re.search(r"base_modules = frozenset\(\s*\{(.*?)\}", parse_model, re.DOTALL)
    assert base is not None
    named = {name.strip().replace("torch.nn.", "nn.") for name in base[1].split(",") if name.strip()}
    assert named <= MODULES
    compared = set(re.findall(r"m is ([A-Z]\w+)", parse_model))
    assert compared - MODULES <= {"TorchVision", "Index"}


def test_every_listed_module_and_activation_exists() -> None:
    from torch import nn
    from ultralytics.nn import tasks

    for name in MODULES:
        assert issubclass(getattr(nn, name[3:]) if name.startswith("nn.") else getattr(tasks, name), nn.Module), name
    assert all(issubclass(getattr(nn, name), nn.Module) for name in ACTIVATIONS)
    assert "nn.Upsample" in OTHER_MODULES


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("activation: __import__('os').system('touch {marker}')", "activation"),
        ("activation: nn.SiLU() or exit()", "activation"),
        ("activation: nn.Module.__subclasses__()", "activation"),
        ("activation: [nn.SiLU()]", "activation"),
        ("nc: 1.5", "nc"),
        ("nc: 100000000000", "nc"),
        ("width_multiple: .inf", "width_multiple"),
        ("width_multiple: 1.0e+300", "width_multiple"),
        ("scales: {n: [1, 1]}", "scales.n"),
        ("scales: {n: [1, 1, 99999999]}", "max_channels"),
        ("kpt_shape: [17, x]", "kpt_shape"),
        ("end2end: maybe", "end2end"),
        ("head: []", "head"),
        ("head: [[-1, 1, Detect]]", "head[0]"),
        ("head: [[-1, 1, eval, [x]]]", "head[0]"),
        ("head: [[-1, 1, nn.Module.__init__, [1]]]", "head[0]"),
        ("head: [[-1, 1, torchvision.ops.misc, [1]]]", "head[0]"),
        ("head: [[-1, 1, TorchVision, [512, resnet18]]]", "head[0]"),
        ("head: [[-1, 1, Conv, ['__import__(\"os\")']]]", "head[0]"),
        ("head: [[-1, 1000000, Conv, [64]], [-1, 1, Detect, [nc]]]", "head[0]"),
        ("head: [[7, 1, Detect, [nc]]]", "head[0]"),
        ("head: [[-1, 1, Conv, [1000000000, 3]], [-1, 1, Detect, [nc]]]", "head[0]"),
        ("head: [[-1, 1, Conv, [65000, 31]], [-1, 1, Conv, [65000, 31]], [-1, 1, Detect, [nc]]]", "the model"),
        ("head: [[-1, 1, Conv, [64, 3]]]", "head"),
        ("nc: !!python/object/apply:os.system ['touch {marker}']", "line"),
        ("a: &a [1]\nb: [*a, *a]", "line"),
        ("x: " + "[" * 50 + "]" * 50, "the text"),
        ("x: [1, 2", "line"),
    ],
)
def test_hostile_yamls_are_refused_and_run_nothing(tmp_path: Path, change: str, field: str) -> None:
    marker = tmp_path / "ran"
    key = change.split(":", 1)[0]
    kept = re.sub(rf"(?m)^{key}:(.*\n)((?:  .*\n)*)", "", GOOD)
    with pytest.raises(YardError) as refused:
        check_model_yaml(kept + change.replace("{marker}", str(marker)) + "\n")
    assert refused.value.reason is Reason.MODEL_YAML_INVALID
    assert refused.value.metadata["field"].startswith(field) or field in refused.value.message
    assert not marker.exists()


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words", "\x00", "a: b: c"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(YardError) as refused:
        check_model_yaml(text)
    assert refused.value.reason is Reason.MODEL_YAML_INVALID


def test_a_large_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(YardError, match="longer than"):
        check_model_yaml("# " + "x" * (1 << 20))


def test_another_tasks_head_is_named() -> None:
    with pytest.raises(YardError) as refused:
        check_model_yaml(GOOD.replace("Detect, [nc]", "Depth, [nc]"))
    assert refused.value.reason is Reason.UNSUPPORTED_TASK
    assert refused.value.metadata == {"task": "Depth"}
