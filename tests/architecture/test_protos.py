"""The protos: clean, commented, generated code without drift, error reasons as the catalogue has them."""

import filecmp
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from visionyard.errors.v1 import error_reason_pb2
from visionyard.kit.errors import Code, Reason

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BIN = Path(sys.executable).parent
PREFIX = "ERROR_REASON_"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The generated code, made anew."""
    out = tmp_path_factory.mktemp("generated")
    subprocess.run([ROOT / "deploy" / "generate-protos.sh", out], check=True, env={**os.environ, "PYTHON": sys.executable})
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory, generated):
    """Our protos' descriptors with their comments."""
    target = tmp_path_factory.mktemp("descriptors") / "all.binpb"
    names = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.glob("visionyard/**/*.proto"))]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I.",
        "-Ithird_party",
        "--include_source_info",
        f"--descriptor_set_out={target}",
        *names,
    ]
    subprocess.run(command, cwd=PROTOS, check=True)
    return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file


def test_generated_code_has_not_drifted(generated):
    made = {path.relative_to(generated) for path in generated.rglob("*_pb2*")}
    held = {path.relative_to(ROOT / "services") for path in (ROOT / "services").rglob("*_pb2*") if "__pycache__" not in path.parts}
    assert made == held
    differing = [str(path) for path in sorted(made) if not filecmp.cmp(generated / path, ROOT / "services" / path, shallow=False)]
    assert differing == [], "run make proto"


def test_buf_lint_is_clean(generated):
    done = subprocess.run([BIN / "buf", "lint", "--path", "visionyard"], cwd=PROTOS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_lint_is_silenced():
    assert [path.name for path in PROTOS.glob("visionyard/**/*.proto") if "buf:lint:ignore" in path.read_text()] == []


def declared_in_message(message, path, name):
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, 2, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from declared_in_message(nested, (*path, 3, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from declared_in(enum, enum.value, (*path, 4, index), f"{name}.{enum.name}")


def declared_in(whole, parts, path, name):
    """An enum with its values, or a service with its methods: both keep them under tag 2."""
    yield path, name
    for index, part in enumerate(parts):
        yield (*path, 2, index), f"{name}.{part.name}"


def uncommented(file):
    """Everything declared in a file that has no comment. The paths are those of descriptor.proto's SourceCodeInfo."""
    comments = {tuple(entry.path): (entry.leading_comments + entry.trailing_comments).strip() for entry in file.source_code_info.location}
    declared = []
    for index, message in enumerate(file.message_type):
        declared += declared_in_message(message, (4, index), message.name)
    for index, enum in enumerate(file.enum_type):
        declared += declared_in(enum, enum.value, (5, index), enum.name)
    for index, service in enumerate(file.service):
        declared += declared_in(service, service.method, (6, index), service.name)
    return [f"{file.package}.{name}" for path, name in declared if not comments.get(path)]


def test_everything_declared_has_a_comment(files):
    assert len(files) > 10
    assert [name for file in files for name in uncommented(file)] == []


def test_the_check_for_comments_can_fail():
    file = descriptor_pb2.FileDescriptorProto(package="p")
    file.message_type.add(name="M").field.add(name="f")
    file.service.add(name="S").method.add(name="Do")
    assert uncommented(file) == ["p.M", "p.M.f", "p.S", "p.S.Do"]


def test_every_list_has_pages_and_a_filter(files):
    lists = [message for file in files for message in file.message_type if re.fullmatch(r"List\w+Request", message.name)]
    whole = {"ListJobFilesRequest", "ListModelFilesRequest"}  # the few files of one job or version come in one answer
    paged = [message for message in lists if message.name not in whole]
    assert len(paged) > 5
    assert [m.name for m in paged if not {"parent", "page_size", "page_token", "filter"} <= {f.name for f in m.field}] == []


def test_the_catalogue_is_the_enum():
    enum = {name.removeprefix(PREFIX): number for name, number in error_reason_pb2.ErrorReason.items() if number}
    assert {reason.name: reason.number for reason in Reason} == enum
    assert len({reason.number for reason in Reason}) == len(list(Reason))


def test_every_reasons_comment_lists_its_metadata():
    text = (PROTOS / "visionyard/errors/v1/error_reason.proto").read_text()
    commented = dict(re.findall(r"  // ([^\n]*(?:\n  // [^\n]*)*)\n  (ERROR_REASON_\w+) =", text))
    listed = {
        name.removeprefix(PREFIX)
        for comment, name in commented.items()
        if re.search(r"Metadata: (none|[a-z_0-9]+(, [a-z_0-9]+)*)\.", comment)
    }
    assert {reason.name for reason in Reason} - listed == set()


def test_every_reason_is_used():
    source = "\n".join(
        path.read_text()
        for path in (ROOT / "services" / "visionyard").rglob("*.py")
        if "_pb2" not in path.name and path.parts[-2:] != ("kit", "errors.py")
    )
    reached = set(re.findall(r"Reason\.([A-Z][A-Z_]+)", source)) | {"INVALID_FIELD"}  # by invalid_field()
    assert sorted({reason.name for reason in Reason} - reached) == []


def test_status_codes_are_googles():
    from google.rpc import code_pb2

    assert {code.name: code.value for code in Code} == dict(code_pb2.Code.items())
