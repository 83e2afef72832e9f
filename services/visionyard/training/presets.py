"""Presets: ways to train that a project keeps under names, ``projects/{project}/presets/{preset}.json``. All calls block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.kit.pagination import paginate
from visionyard.training.arguments import ArgumentTable
from visionyard.training.limits import check_limits
from visionyard.training.processes import MOST_GPUS
from visionyard.training.spec import ARGUMENT_OF_FIELD, TrainingSpec, check_arguments, check_tensorboard
from visionyard.training.task_metrics import check_metric_name

COLLECTION = "presets"
_SUFFIX = ".json"


@dataclass(frozen=True)
class Preset:
    """How to train, as far as it is said.

    Attributes:
        name: ``projects/{project}/presets/{preset}``.
        epochs: 0 where it is not said; so are the next two.
        batch_size: Images a step.
        image_size_px: The image's side in pixels.
        overrides: Other training arguments by Ultralytics' names.
        best_metric: What chooses the best epoch; empty where it is not said.
        tensorboard: Whether event files are written.
        gpus: How many processes train together on each machine; 0 where it is not said.
        time_limit_s: How long a training may take, in seconds; 0 where it is not said.
        update_time: When it was last changed, by the store's clock.
        etag: Stands for this very state of it.
    """

    name: ResourceName
    epochs: int = 0
    batch_size: int = 0
    image_size_px: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    best_metric: str = ""
    tensorboard: bool = False
    gpus: int = 0
    time_limit_s: float = 0.0
    update_time: datetime | None = None
    etag: str = ""

    def body(self) -> dict[str, Any]:
        """Its document."""
        kept = ("epochs", "batch_size", "image_size_px", "best_metric", "tensorboard", "gpus", "time_limit_s")
        return {**{name: getattr(self, name) for name in kept}, "overrides": dict(self.overrides)}

    @classmethod
    def from_document(cls, name: ResourceName, document: Document) -> Preset:
        """Reads its document."""
        return cls(name, **document.body, update_time=document.last_modified, etag=document.etag)

    def fill(self, spec: TrainingSpec, *, without_tensorboard: bool = False) -> TrainingSpec:
        """What a job does that leaves to the preset what it does not say itself, by whichever name: ``batch_size`` or the override ``batch``.

        Its time limit is not in it: that comes with the job's scheduling.
        """
        own = {argument for field_, argument in ARGUMENT_OF_FIELD.items() if getattr(spec, field_)} | set(spec.overrides)
        numbers = {
            field_: getattr(self, field_) for field_, argument in ARGUMENT_OF_FIELD.items() if argument not in own and getattr(self, field_)
        }
        overrides = {name: value for name, value in self.overrides.items() if name not in own}
        return replace(
            spec,
            **numbers,
            overrides={**overrides, **spec.overrides},
            best_metric=spec.best_metric or self.best_metric,
            tensorboard=spec.tensorboard or (self.tensorboard and not without_tensorboard),
            gpus=spec.gpus or self.gpus,
        )


class Presets:
    """The presets of all projects.

    Args:
        store: The bucket.
        table: Gives the installed Ultralytics' arguments.
    """

    def __init__(self, store: ObjectStore, table: Callable[[], ArgumentTable]) -> None:
        self._store = store
        self._documents = Documents(store)
        self._table = table

    def save(self, preset: Preset) -> Preset:
        """Keeps a preset in place of what has its name, if anything has; saving the same again changes nothing.

        Raises:
            YardError: INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE; ETAG_MISMATCH, another one than that of ``etag`` is there.
        """
        body = self._checked(preset).body()
        if not any(body.values()):
            raise invalid_field("preset", "says nothing: give at least one option that it is to hold")
        while True:
            found = self._find(preset.name)
            if preset.etag and (found is None or found.etag != preset.etag):
                raise _changed(preset.name)
            if found is not None and found.body == body:
                return Preset.from_document(preset.name, found)
            try:
                made = self._documents.create(_key(preset.name), body) if found is None else self._documents.swap(found, body)
            except Conflict:
                continue
            return Preset.from_document(preset.name, made)

    def _checked(self, preset: Preset) -> Preset:
        table = self._table()
        overrides = check_arguments(preset, table, "preset")
        if preset.best_metric:
            check_metric_name(preset.best_metric)
        if preset.tensorboard:
            check_tensorboard(table)
        if not 0 <= preset.gpus <= MOST_GPUS:
            raise invalid_field("preset.gpus", f"takes 0 to {MOST_GPUS}, not {preset.gpus}")
        check_limits(preset.time_limit_s, 0.0, None)
        return replace(preset, overrides=overrides)

    def get(self, name: ResourceName) -> Preset:
        """Reads one; raises YardError (PRESET_NOT_FOUND)."""
        found = self._find(name)
        if found is None:
            raise YardError(
                Reason.PRESET_NOT_FOUND,
                f"there is no preset {name.id!r} in project {name.project!r}: see `yard preset list`",
                {"name": str(name)},
            )
        return Preset.from_document(name, found)

    def _find(self, name: ResourceName) -> Document | None:
        try:
            return self._documents.read(_key(name))
        except NotFound:
            return None

    def delete(self, name: ResourceName) -> None:
        """Takes one away; raises YardError (PRESET_NOT_FOUND)."""
        self.get(name)
        self._store.delete(_key(name))

    def list(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[Preset], str]:
        """A page of a project's presets, by id, and the next page's token; raises YardError (INVALID_FIELD, INVALID_PAGE_TOKEN)."""
        prefix = f"{project}/{COLLECTION}/"
        page = paginate(f"{project}/{COLLECTION}", page_size, page_token)
        keys = (entry.key for entry in self._store.list(prefix, delimiter="/") if not entry.is_prefix and entry.key.endswith(_SUFFIX))
        ids = sorted(id_ for id_ in (key[len(prefix) : -len(_SUFFIX)] for key in keys) if id_ > page.after)
        shown = ids[: page.size]
        names = [ResourceName(project.project, COLLECTION, id_) for id_ in shown]
        found = [(name, self._find(name)) for name in names]
        token = page.next_token(shown[-1]) if len(ids) > page.size else ""
        return [Preset.from_document(name, document) for name, document in found if document is not None], token


def _key(name: ResourceName) -> str:
    return f"{name}{_SUFFIX}"


def _changed(name: ResourceName) -> YardError:
    return YardError(
        Reason.ETAG_MISMATCH,
        f"the preset {name.id!r} is another one by now: read it again, and save it on top of that",
        {"name": str(name)},
    )
