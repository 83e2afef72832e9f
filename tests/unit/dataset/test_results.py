"""What is kept in memory of ended import jobs."""

from concurrent.futures import ThreadPoolExecutor

from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset import imports as module
from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.fetching.addresses import AllowList
from visionyard.dataset.imports import Imports
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.service import JobService


def ended_jobs(bench, count):
    version, context = bench.run(zipped(good_set()))
    service = JobService(bench.store, JobKind.IMPORT)
    pointers = {"version": str(version.name), "report_key": context.job.pointers["report_key"]}
    jobs = [service.create("default", context.job.spec, "") for _ in range(count)]
    for job in jobs:
        service.records.update(job.name, lambda current, _: current.changed(state=JobState.SUCCEEDED, pointers=pointers))
    return Imports(service, Catalogue(bench.store), bench.uploads, AllowList()), [job.name for job in jobs]


def test_reports_are_kept_up_to_so_many_bytes(bench, monkeypatch):
    imports, names = ended_jobs(bench, 6)
    finding = {"code": "c", "severity": "s", "file": "f" * 1000, "line": 1, "message": "m" * 500, "remedy": "r"}
    reads = []

    def read_report(key):
        reads.append(key)
        return {"findings": [dict(finding) for _ in range(100)]}

    monkeypatch.setattr(imports._catalogue, "read_report", read_report)
    one = module._size((None, read_report("")))
    assert 100 * 1500 < one < 100 * 3000
    monkeypatch.setattr(imports, "_results", module._Results(int(3.5 * one)))
    reads.clear()
    for name in (*names, *names[-3:]):
        assert imports.get(name).report["findings"]
    assert len(reads) == 6, "the last three are kept"
    imports.get(names[0])
    assert len(reads) == 7
    imports.get(names[-1])
    assert len(reads) == 7, "one that was asked for again stays"
    monkeypatch.setattr(imports, "_results", module._Results(one // 2))
    assert imports.get(names[0]).report["findings"], "one that is larger alone is told, not kept"
    assert imports._results.get(names[0]) is None


def test_threads_may_share_the_results():
    results = module._Results(50 * module._RESULT_BYTES)

    def work(start):
        for i in range(3000):
            results.put((start + i) % 97, (None, None))
            results.get(i % 97)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [None] * 8
    assert results._bytes == sum(size for size, _ in results._held.values()) <= 50 * module._RESULT_BYTES
