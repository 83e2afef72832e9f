"""How the formats that people name are asked for."""

import asyncio
from types import SimpleNamespace

import pytest

from visionyard.client.imports import AsyncImportJobs
from visionyard.client.references import References
from visionyard.dataset.v1 import import_job_pb2


@pytest.mark.parametrize(
    ("named", "format_", "datumaro"),
    [
        ("", "UNSPECIFIED", ""),
        ("auto", "UNSPECIFIED", ""),
        ("voc", "VOC", ""),
        ("datumaro:kitti_detection", "UNSPECIFIED", "kitti_detection"),
    ],
)
def test_a_format_is_the_services_or_datumaros(named, format_, datumaro):
    asked = []

    async def unary(_service, _method, request):
        asked.append(request.import_job.spec)
        return SimpleNamespace(import_job=None)

    jobs = AsyncImportJobs(SimpleNamespace(unary=unary), References("p"), None)
    asyncio.run(jobs.create("set", "projects/p/uploads/u", source_format=named))
    [spec] = asked
    assert (spec.format, spec.datumaro_format) == (import_job_pb2.SourceFormat.Value(f"SOURCE_FORMAT_{format_}"), datumaro)


def test_an_unknown_one_is_no_format():
    jobs = AsyncImportJobs(SimpleNamespace(), References("p"), None)
    for named in ("kitti", "datumaro:"):
        with pytest.raises(ValueError, match="SOURCE_FORMAT"):
            asyncio.run(jobs.create("set", "projects/p/uploads/u", source_format=named))
