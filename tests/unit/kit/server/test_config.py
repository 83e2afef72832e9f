"""Settings from the environment: what is refused, what is told, what is never shown."""

import pytest
from pydantic import Field

from visionyard.kit.config import (
    Address,
    JobServiceSettings,
    ServiceSettings,
    likely_typos,
    listen_field,
    load_settings,
    parse_command_line,
    split_address,
    variable_of,
)

NEEDED = {"VISIONYARD_S3_ENDPOINT": "127.0.0.1:9000", "VISIONYARD_S3_ACCESS_KEY": "key", "VISIONYARD_S3_SECRET_KEY": "very-secret"}


class RoomSettings(JobServiceSettings):
    """A room's."""

    listen: Address = listen_field(50051)
    upload_limit_bytes: int = Field(1000, ge=1, description="The largest upload, in bytes.")


@pytest.fixture
def environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("VISIONYARD_"):
            monkeypatch.delenv(name)

    def set_all(**changes):
        for name, value in {**NEEDED, **changes}.items():
            monkeypatch.setenv(name, value)

    return set_all


def complaint(settings_type=RoomSettings):
    with pytest.raises(ValueError, match="VISIONYARD_") as caught:
        load_settings(settings_type)
    return str(caught.value)


def test_defaults_and_values(environment):
    environment(VISIONYARD_LEASE_S="30", VISIONYARD_S3_SECURE="true", VISIONYARD_UPLOAD_LIMIT_BYTES="5")
    settings = load_settings(RoomSettings)
    assert (settings.listen, settings.s3_bucket, settings.s3_region) == ("127.0.0.1:50051", "visionyard", "us-east-1")
    assert (settings.lease_s, settings.s3_secure, settings.upload_limit_bytes) == (30.0, True, 5)


def test_an_empty_variable_counts_as_not_set(environment):
    environment(VISIONYARD_S3_BUCKET="")
    assert load_settings(RoomSettings).s3_bucket == "visionyard"


def test_every_missing_variable_is_named(environment):
    environment(VISIONYARD_S3_ENDPOINT="", VISIONYARD_S3_SECRET_KEY="")
    text = complaint()
    assert "VISIONYARD_S3_ENDPOINT is not set: the object store, host:port without a scheme." in text
    assert "VISIONYARD_S3_SECRET_KEY is not set" in text
    assert "ACCESS_KEY" not in text


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("VISIONYARD_S3_ENDPOINT", "http://127.0.0.1:9000", "has a scheme"),
        ("VISIONYARD_S3_ENDPOINT", "127.0.0.1", "host:port"),
        ("VISIONYARD_LISTEN", "127.0.0.1:70000", "host:port"),
        ("VISIONYARD_METRICS_LISTEN", "nine", "host:port"),
        ("VISIONYARD_S3_BUCKET", "../x", "bucket"),
        ("VISIONYARD_LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("VISIONYARD_LEASE_S", "soon", "number"),
        ("VISIONYARD_LEASE_S", "0", "greater than or equal to 1"),
        ("VISIONYARD_HEARTBEAT_S", "10", "at most half of VISIONYARD_LEASE_S"),
        ("VISIONYARD_MAX_REQUEST_BYTES", "1", "greater than"),
    ],
)
def test_what_is_not_valid_is_named_with_its_variable(environment, variable, value, says):
    environment(**{variable: value})
    text = complaint()
    assert variable in text
    assert says in text


def test_secrets_are_in_no_message_and_no_representation(environment):
    environment(VISIONYARD_LISTEN="very-secret:x")
    assert "very-secret" not in repr(ServiceSettings(listen="127.0.0.1:0"))
    assert ServiceSettings(listen="127.0.0.1:0").secrets() == ["very-secret"]


def test_settings_cannot_be_changed(environment):
    environment()
    settings = load_settings(RoomSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.listen = "0.0.0.0:1"


def test_typos_are_found_and_others_variables_are_not():
    found = likely_typos(
        RoomSettings,
        {
            "VISIONYARD_S3_BUKET": "x",
            "VISIONYARD_HEARTBEATS_S": "x",
            "VISIONYARD_TRITON_URL": "x",
            "VISIONYARD_INFERENCE_ADDR": "x",
            "VISIONYARD_MODEL_REPOSITORY": "x",
            "VISIONYARD_STACK_ID": "x",
            "OTHER_S3_BUCKET": "x",
            **NEEDED,
        },
    )
    assert found == [("VISIONYARD_HEARTBEATS_S", "VISIONYARD_HEARTBEAT_S"), ("VISIONYARD_S3_BUKET", "VISIONYARD_S3_BUCKET")]


def test_help_lists_every_variable_with_default_and_description(environment, capsys):
    environment(VISIONYARD_S3_SECRET_KEY="very-secret")
    with pytest.raises(SystemExit) as caught:
        parse_command_line(RoomSettings, "dataset", ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name, field in RoomSettings.model_fields.items():
        assert f"  {variable_of(name)}  (" in text
        assert field.description, name
        assert field.description in text
    assert "VISIONYARD_LISTEN  (default: 127.0.0.1:50051)" in text
    assert "VISIONYARD_S3_SECURE  (default: false)" in text
    assert "VISIONYARD_S3_SECRET_KEY  (required)" in text
    assert "very-secret" not in text


def test_a_wrong_command_line_or_environment_ends_with_2(environment, capsys):
    environment(VISIONYARD_S3_REGIO="x")
    with pytest.raises(SystemExit) as caught:
        parse_command_line(RoomSettings, "dataset", ["--port", "1"])
    assert caught.value.code == 2
    assert "'--port'" in capsys.readouterr().err
    assert parse_command_line(RoomSettings, "dataset", []).s3_endpoint == "127.0.0.1:9000"
    assert capsys.readouterr().err == "visionyard.dataset: the variable VISIONYARD_S3_REGIO is not read; was VISIONYARD_S3_REGION meant?\n"
    environment(VISIONYARD_LISTEN="x")
    with pytest.raises(SystemExit) as caught:
        parse_command_line(RoomSettings, "dataset", [])
    assert caught.value.code == 2
    assert "visionyard.dataset: VISIONYARD_LISTEN: 'x' is not of the form host:port\n" in capsys.readouterr().err


def test_addresses():
    assert split_address("[::1]:50051") == ("::1", 50051)
    assert split_address("minio:9000") == ("minio", 9000)
    for wrong in ("minio", ":1", "a b:1", "::1:5", "x:-1", "x:99999"):
        with pytest.raises(ValueError, match="host:port"):
            split_address(wrong)
