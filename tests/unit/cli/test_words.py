"""What people type: overrides, splits, classes, models; and what they read."""

import json

import pytest
import typer
from google.protobuf import struct_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from visionyard.cli import output
from visionyard.cli.bringing_in import imported, ratios_of, show_report
from visionyard.cli.predict import class_ids
from visionyard.cli.training import parse_override, parse_overrides, read_model_yaml, what_to_start_from
from visionyard.client.errors import ClientError
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2, import_job_pb2, import_job_service_pb2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr0=0.01", ("lr0", 0.01)),
        ("lr0=1e-3", ("lr0", 0.001)),
        ("amp=False", ("amp", False)),
        ("optimizer=AdamW", ("optimizer", "AdamW")),
        ("classes=[0, 2]", ("classes", [0, 2])),
        ("freeze=", ("freeze", None)),
        ("a=b=c", ("a", "b=c")),
        ("when=2024-01-01", ("when", "2024-01-01")),
        ("broken=[1", ("broken", "[1")),
    ],
)
def test_overrides_are_read_as_yaml(text, expected):
    assert parse_override(text) == expected


@given(st.text(max_size=30))
def test_any_value_can_be_sent_or_is_a_text(value):
    _, parsed = parse_override(f"key={value}")
    json.dumps(parsed)


@pytest.mark.parametrize("texts", [["novalue"], ["=3"], ["a=1", "a=2"]])
def test_wrong_overrides_are_wrong_usage(texts):
    with pytest.raises(typer.BadParameter):
        parse_overrides(texts)


def test_splits():
    assert ratios_of("0.8,0.1,0.1") == [0.8, 0.1, 0.1]
    assert ratios_of("0.7, 0.3") == [0.7, 0.3]
    for wrong in ("1", "0.8,0.1", "0.5,0.6,-0.1", "a,b", "nan,0.5,0.5", "0.25,0.25,0.25,0.25"):
        with pytest.raises(typer.BadParameter):
            ratios_of(wrong)


def test_classes_by_name_or_id():
    names = ["person", "2", "traffic light"]
    assert class_ids("person,traffic light,0", names) == (0, 2)
    assert class_ids("2", names) == (1,), "a class's name goes before an id"
    with pytest.raises(ClientError, match="did you mean 'person'"):
        class_ids("persn", names)
    with pytest.raises(ClientError, match="no class '9'"):
        class_ids("9", names)


def test_what_a_model_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what_to_start_from("yolov8n.yaml") == ("architecture", "yolov8n.yaml")
    assert what_to_start_from("cones@2") == ("model_version", "cones@2")
    (tmp_path / "yolov8n.yaml").write_text("nc: 2\n")
    assert what_to_start_from("yolov8n.yaml") == ("model_yaml", "nc: 2\n")
    (tmp_path / "best.pt").write_bytes(b"x")
    assert what_to_start_from("best.pt") == ("weights", "best.pt")
    for missing in ("./none.yaml", "none.pt"):
        with pytest.raises(ClientError) as error:
            what_to_start_from(missing)
        assert error.value.reason == "FILE_NOT_FOUND"


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo26s-seg.pt", "rtdetr-l.pt"])
def test_where_published_weights_are_to_be_had(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClientError, match=f"`yard model fetch {name}`") as error:
        what_to_start_from(name)
    assert error.value.reason == "FILE_NOT_FOUND"
    for own in ("best.pt", f"weights/{name}"):
        with pytest.raises(ClientError) as error:
            what_to_start_from(own)
        assert "model fetch" not in error.value.message


def test_the_scale_that_a_file_name_says_is_kept(tmp_path):
    path = tmp_path / "yolov8s.yaml"
    path.write_text("nc: 2\nscales:\n  n: [0.33, 0.25, 1024]\n  s: [0.33, 0.5, 1024]\n")
    assert read_model_yaml(path).startswith("scale: s\nnc: 2\n")
    path.write_text("scale: n\nscales:\n  n: [0.33, 0.25, 1024]\n")
    assert read_model_yaml(path).startswith("scale: n\n")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ClientError, match="UTF-8"):
        read_model_yaml(path)


def test_json_has_the_protos_names_and_leaves_no_field_out():
    job = import_job_pb2.ImportJob(name="projects/default/importJobs/x")
    job.status.SetInParent()
    document = output.message_json(import_job_service_pb2.GetImportJobResponse(import_job=job))["import_job"]
    assert document["status"] == {"state": "JOB_STATE_UNSPECIFIED", "attempt": 0, "queue_position": 0}
    assert document["etag"] == ""
    version = output.message_json(dataset_pb2.DatasetVersion(task=dataset_pb2.TASK_DETECT))
    assert set(version) == {f.name for f in dataset_pb2.DatasetVersion.DESCRIPTOR.fields} - {
        "create_time",
        "keypoints",
        "origin",
    }  # messages that are not set
    assert output.message_json(dataset_service_pb2.ListDatasetsResponse()) == {"datasets": [], "next_page_token": ""}


def test_hostile_texts_do_not_drive_the_terminal():
    assert output.plain("a\x1b[31mred\nb\u202e") == "a\\x1b[31mred\\nb\\u202e"
    assert output.plain("Straße 红绿灯") == "Straße 红绿灯"


def test_file_names_that_are_no_text_stay_valid_json():
    assert json.loads(output.dump_json({"image": "\udcff.jpg"}).encode()) == {"image": "\udcff.jpg"}


def test_tables_without_a_terminal_are_whole(capsys):
    output.table(("NAME", "N"), [("x" * 300, 5), ("b", 12)], right=frozenset({1}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 300 + "   5"
    assert lines[2].endswith(" 12")
    output.table(("NAME",), [], empty="no names")
    assert capsys.readouterr().out == "no names\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB"), (5000 << 40, "5000.0 TiB")]
)
def test_sizes(count, text):
    assert output.size(count) == text


def test_a_time_that_is_not_set_is_empty():
    assert output.time(timestamp_pb2.Timestamp()) == ""


def test_an_import_tells_how_the_source_was_read_and_what_is_wrong_though_nothing_was_dropped(capsys):
    def finding(severity, *, fixed=False):
        return dataset_pb2.Finding(severity=f"SEVERITY_{severity}", fixed=fixed)

    findings = [finding("ERROR"), finding("ERROR", fixed=True), finding("WARNING"), finding("WARNING"), finding("INFO")]
    report = dataset_pb2.ImportReport(format="yolo", format_reason="a\x1b[2J.yaml names 2 classes", findings=findings)
    version = dataset_pb2.DatasetVersion(name="projects/default/datasets/cones/versions/1", digest="sha256:0")
    imported(import_job_pb2.ImportJob(dataset_version=version, report=report))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "sha256:0",
        "read as yolo: a\\x1b[2J.yaml names 2 classes",
        "mended 1 findings; see `yard dataset report cones@1`",
        "errors found: 1, warnings: 2; see `yard dataset report cones@1`",
    ]


def test_the_gravest_findings_come_first(capsys):
    written = [("INFO", "A"), ("ERROR", "B"), ("WARNING", "C"), ("ERROR", "D")]
    show_report(
        dataset_pb2.ImportReport(findings=[dataset_pb2.Finding(severity=f"SEVERITY_{grave}", code=code) for grave, code in written])
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-4:]] == [["error", "B"], ["error", "D"], ["warning", "C"], ["info", "A"]]


def test_the_same_document_is_always_the_same_text():
    """Protobuf hands out the entries of maps in another order in each process."""
    names = [f"name{i}" for i in range(40)]
    struct = struct_pb2.Struct()
    struct.update({name: {"b": [{"d": 1, "c": 2}], "a": 1} for name in reversed(names)})
    version = dataset_pb2.DatasetVersion(classes=[dataset_pb2.DatasetClass(id=1, name="x"), dataset_pb2.DatasetClass(name="y")])
    version.origin.parameters.CopyFrom(struct)
    report = dataset_pb2.ImportReport(dropped_by_code=dict.fromkeys(reversed(names), 2))
    job = output.message_json(import_job_pb2.ImportJob(dataset_version=version, report=report))
    assert list(job["report"]["dropped_by_code"]) == sorted(names)
    parameters = job["dataset_version"]["origin"]["parameters"]
    assert list(parameters) == sorted(names)
    assert json.dumps(parameters["name0"]) == '{"a": 1.0, "b": [{"c": 2.0, "d": 1.0}]}'
    one, two = job["dataset_version"]["classes"]
    assert list(one) == list(two) == [field.name for field in dataset_pb2.DatasetClass.DESCRIPTOR.fields if field.name in one]
    assert list(job) == [field.name for field in import_job_pb2.ImportJob.DESCRIPTOR.fields if field.name in job]
