"""What an import job is asked for: the job's ``spec``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from visionyard.kit.names import ResourceName, VersionName


@dataclass(frozen=True)
class Derivation:
    """How a version is made of others.

    Attributes:
        operation: ``merge``, ``filter``, ``remap``, ``split``, ``subset`` or ``publish``.
        sources: The versions, with their numbers.
        parameters: What else it is given, as JSON; by operation:
            ``merge``: ``class_names``; ``filter``: ``classes``, ``drop_empty``; ``remap``: ``class_names``, ``single_class``;
            ``split``: ``ratios``, ``seed``, ``group_pattern``, ``group_similar``; ``subset``: ``size``, ``seed``.
    """

    operation: str
    sources: tuple[VersionName, ...]
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Derivation:
        """Reads what :meth:`to_json` wrote."""
        sources = tuple(VersionName.parse(name, "datasets") for name in document["sources"])
        return cls(document["operation"], sources, document["parameters"])

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {"operation": self.operation, "sources": [str(name) for name in self.sources], "parameters": self.parameters}


@dataclass(frozen=True)
class ImportSpec:
    """What to import, and how.

    Attributes:
        dataset: What gets a version.
        upload: The archive, ``projects/{project}/uploads/{upload}``; None where it is fetched, or the version is made of others.
        source_name: Its name at the client.
        format: See :data:`visionyard.dataset.formats.detect.FORMATS`; empty: found out.
        split_ratios: Of train, val and, as a third, test; empty: see :class:`SplitRequest`.
        seed: Of a drawn split.
        task: See :data:`visionyard.dataset.tasks.TASKS`; empty: found out.
        images_upload: A second archive, of images; None where there is none.
        strict: Whether a finding that is an error refuses the source.
        fix: Whether to mend what can be mended safely.
        dry_run: Whether to look only.
        append: Whether to add to the dataset's newest version.
        derivation: How the version is made of others; None for an archive.
        source_url: Where the archive is fetched from; empty where it is uploaded.
        datumaro_format: The format, as Datumaro calls it, that Datumaro is to read; empty: none.
    """

    dataset: ResourceName
    upload: ResourceName | None
    source_name: str = ""
    format: str = ""
    split_ratios: tuple[float, ...] = ()
    seed: int = 0
    task: str = ""
    images_upload: ResourceName | None = None
    strict: bool = False
    fix: bool = False
    dry_run: bool = False
    append: bool = False
    derivation: Derivation | None = None
    source_url: str = ""
    datumaro_format: str = ""

    @property
    def uploads(self) -> tuple[ResourceName, ...]:
        """The archives, which go when the job has ended."""
        return tuple(upload for upload in (self.upload, self.images_upload) if upload is not None)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ImportSpec:
        """Reads what :meth:`to_json` wrote, also an earlier version of it."""
        derivation = document.get("derivation")
        return cls(
            dataset=ResourceName.parse(document["dataset"], "datasets"),
            upload=_upload(document["upload"]),
            source_name=document["source_name"],
            format=document["format"],
            split_ratios=tuple(document["split_ratios"]),
            seed=document["seed"],
            task=document.get("task", ""),
            images_upload=_upload(document.get("images_upload", "")),
            strict=document.get("strict", False),
            fix=document.get("fix", False),
            dry_run=document.get("dry_run", False),
            append=document.get("append", False),
            derivation=Derivation.from_json(derivation) if derivation else None,
            source_url=document.get("source_url", ""),
            datumaro_format=document.get("datumaro_format", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {
            "dataset": str(self.dataset),
            "upload": str(self.upload or ""),
            "source_name": self.source_name,
            "format": self.format,
            "split_ratios": list(self.split_ratios),
            "seed": self.seed,
            "task": self.task,
            "images_upload": str(self.images_upload or ""),
            "strict": self.strict,
            "fix": self.fix,
            "dry_run": self.dry_run,
            "append": self.append,
            "derivation": self.derivation.to_json() if self.derivation else None,
            "source_url": self.source_url,
            "datumaro_format": self.datumaro_format,
        }

    def origin(self, base: VersionName | None = None, fetched: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """How the version came to be, as its document tells it.

        Args:
            base: The version that was added to.
            fetched: What is known of a source that was fetched.
        """
        if self.derivation is not None:
            return self.derivation.to_json()
        told = {
            "source_name": self.source_name,
            "format": self.format,
            "datumaro_format": self.datumaro_format,
            "task": self.task,
            "split_ratios": list(self.split_ratios),
            "seed": self.seed,
            "fix": self.fix,
            "fetched": dict(fetched or {}),
        }
        return {
            "operation": "append" if base else "import",
            "sources": [str(base)] if base else [],
            "parameters": {key: value for key, value in told.items() if value},
        }


def _upload(name: str) -> ResourceName | None:
    return ResourceName.parse(name, "uploads") if name else None
