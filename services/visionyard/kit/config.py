"""Typed configuration from the environment: every variable begins with ``VISIONYARD_`` and says what it is for.

A room subclasses :class:`ServiceSettings` (or :class:`JobServiceSettings` where it runs jobs) in its ``config.py``, gives ``listen`` and
``metrics_listen`` its own defaults and adds its fields, each with a description::

    class DatasetSettings(JobServiceSettings):
        listen: Address = listen_field(50051)
        metrics_listen: Address = metrics_listen_field(9101)
        upload_limit_bytes: int = Field(100 * GIB, ge=1, description="The largest upload taken, in bytes.")

The store's address and keys have no defaults: a service that guessed them would, sooner or later, write into the wrong bucket.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "VISIONYARD_"
EXIT_USAGE = 2
"""Exit code of a service whose configuration or command line is wrong."""
_TYPO_CUTOFF = 0.9
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_MAX_PORT = 65535
_QUOTA_BYTES = 10_000_000_000


def split_address(address: str) -> tuple[str, int]:
    """Takes ``host:port`` apart; an IPv6 host stands in brackets, which are taken off.

    Raises:
        ValueError: it is not of that form.
    """
    match = _ADDRESS.match(address)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"{address!r} is not of the form host:port")
    return match["host"].strip("[]"), int(match["port"])


def _check_address(value: str) -> str:
    split_address(value)
    return value


def _check_bucket(value: str) -> str:
    if not _BUCKET.match(value):
        raise ValueError(f"{value!r} is not a bucket's name: use 3 to 63 lower-case letters, digits, '-' or '.'")
    return value


def _check_s3_endpoint(value: str) -> str:
    if "://" in value:
        raise ValueError(f"{value!r} has a scheme: write host:port only, and set {PREFIX}S3_SECURE=true for https")
    return _check_address(value)


Address = Annotated[str, AfterValidator(_check_address)]
"""``host:port``."""
S3Endpoint = Annotated[str, AfterValidator(_check_s3_endpoint)]
"""``host:port`` of an object store, without a scheme."""


def listen_field(port: int) -> Any:
    """The field ``listen`` of a room, on loopback at ``port`` by default."""
    return Field(
        f"127.0.0.1:{port}",
        description="Where gRPC listens, host:port; port 0 takes any free one. There is no authentication: keep it private.",
    )


def metrics_listen_field(port: int) -> Any:
    """The field ``metrics_listen`` of a room, on loopback at ``port`` by default."""
    return Field(f"127.0.0.1:{port}", description="Where Prometheus finds /metrics over HTTP, host:port; port 0 takes any free one.")


def quota_field() -> Any:
    """The field ``project_quota_bytes`` of a room that takes bytes in; see :mod:`visionyard.kit.quota`."""
    return Field(
        _QUOTA_BYTES,
        ge=0,
        description="The most bytes that one project may hold in the bucket; 0 for no limit. The same for the dataset and the training service.",
    )


class ServiceSettings(BaseSettings):
    """What every service reads from its environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    listen: Address = listen_field(0)
    metrics_listen: Address = metrics_listen_field(0)
    s3_endpoint: S3Endpoint = Field(description="The object store, host:port without a scheme.")
    s3_bucket: Annotated[str, AfterValidator(_check_bucket)] = Field(
        "visionyard", description="The bucket that holds everything; made where it is missing."
    )
    s3_access_key: str = Field(min_length=1, description="The store's access key.")
    s3_secret_key: SecretStr = Field(min_length=1, description="The store's secret key.")
    s3_region: str = Field("us-east-1", min_length=1, description="The store's region; most self-hosted stores take any.")
    s3_secure: bool = Field(default=False, description="Whether the store is spoken to over https.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What is logged: DEBUG, INFO, WARNING or ERROR.")
    work_dir: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionyard",
        description="A folder for scratch files and caches; nothing in it needs a backup.",
    )
    max_request_bytes: int = Field(8 * 1024 * 1024, ge=64 * 1024, le=1024**3, description="The largest request message taken, in bytes.")
    unary_timeout_s: float = Field(120.0, gt=0, le=3600, description="The deadline of a unary call that came without one, in seconds.")
    drain_s: float = Field(20.0, ge=0, le=3600, description="How long calls in flight may take to finish after SIGTERM, in seconds.")
    health_interval_s: float = Field(2.0, gt=0, le=60, description="Seconds between two looks at whether the service is ready.")

    def secrets(self) -> list[str]:
        """The values that no log may show."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


class JobServiceSettings(ServiceSettings):
    """What the services that run jobs read besides; their workers read the same."""

    lease_s: float = Field(15.0, ge=1, le=600, description="A worker whose heartbeat is older than this is taken for dead, in seconds.")
    heartbeat_s: float = Field(2.0, gt=0, le=60, description="Seconds between two heartbeats of a worker; well below VISIONYARD_LEASE_S.")
    stop_workers: bool = Field(
        default=False,
        description="Whether workers are told to give their job back when the service stops; true where they could not outlive it, as in a container.",
    )

    @model_validator(mode="after")
    def _beats_well_within_the_lease(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError(f"{PREFIX}HEARTBEAT_S ({self.heartbeat_s}) must be at most half of {PREFIX}LEASE_S ({self.lease_s})")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def variable_of(name: str) -> str:
    """The variable that sets a field: ``s3_endpoint`` -> ``VISIONYARD_S3_ENDPOINT``."""
    return PREFIX + name.upper()


def load_settings(settings_type: type[Settings]) -> Settings:
    """Reads the environment.

    Raises:
        ValueError: a variable is missing or not valid; the message names each, a line each, and never shows a value of a secret.
    """
    try:
        return settings_type()
    except ValidationError as error:
        raise ValueError("\n".join(_complaint(settings_type, problem) for problem in error.errors(include_url=False))) from None


def _complaint(settings_type: type[ServiceSettings], problem: Mapping[str, Any]) -> str:
    location = problem["loc"]
    if not location:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(location[0])
    field = settings_type.model_fields[name]
    if problem["type"] == "missing":
        return f"{variable_of(name)} is not set: {_decapitalised(field.description or '')}"
    return f"{variable_of(name)}: {_decapitalised(str(problem['msg']).removeprefix('Value error, '))}"


def _decapitalised(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def likely_typos(settings_type: type[ServiceSettings], environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables that this service does not read but that look like one that it does: pairs of (found, meant).

    Others' variables stand in the same environment, so only very similar names count.
    """
    known = [variable_of(name) for name in settings_type.model_fields]
    found = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_TYPO_CUTOFF)
            found += [(name, close[0])] if close else []
    return found


def print_help(settings_type: type[ServiceSettings], service: str) -> None:
    """Prints what the service is and every variable that it reads, with its default and what it is for."""
    lines = [
        f"usage: python -m visionyard.{service} [--help]",
        "",
        f"Runs Visionyard's {service} service until SIGTERM. It takes no options; these variables of the environment configure it:",
        "",
    ]
    for name, field in settings_type.model_fields.items():
        lines += [f"  {variable_of(name)}  ({_default_text(field)})", f"      {field.description}"]
    sys.stdout.write("\n".join(lines) + "\n")


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, SecretStr):
        return "default: hidden"
    if isinstance(default, bool):
        return f"default: {str(default).lower()}"
    return "default: none" if default is None or default == "" else f"default: {default}"


def parse_command_line(settings_type: type[Settings], service: str, arguments: Sequence[str] | None = None) -> Settings:
    """What a service's ``__main__`` calls first: answers ``--help``, else reads the settings.

    Args:
        settings_type: The room's settings.
        service: The room's name, as in ``python -m visionyard.<service>``.
        arguments: The command line without the program; the process's own unless a test gives one.

    Raises:
        SystemExit: 0 after --help; 2 for arguments that it does not take and for settings that are not valid, told on stderr.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(word in {"-h", "--help"} for word in words):
        print_help(settings_type, service)
        raise SystemExit(0)
    if words:
        _say(service, f"it takes no arguments, but was given {words[0]!r}; see --help")
        raise SystemExit(EXIT_USAGE)
    for found, meant in likely_typos(settings_type, os.environ):
        _say(service, f"the variable {found} is not read; was {meant} meant?")
    try:
        return load_settings(settings_type)
    except ValueError as error:
        for line in str(error).splitlines():
            _say(service, line)
        raise SystemExit(EXIT_USAGE) from None


def _say(service: str, line: str) -> None:
    sys.stderr.write(f"visionyard.{service}: {line}\n")
