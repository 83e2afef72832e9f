"""Writers that meet: of those that expect the same state one wins, and no update is lost."""

import multiprocessing
import os
import threading

from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Conflict
from visionyard.kit.objectstore.s3 import S3ObjectStore

ROUNDS = 5


def _race(settings, swap_etag, barrier, results):
    store = S3ObjectStore(settings, retry_for_s=30)
    store.ensure_bucket()
    data = str(os.getpid()).encode()
    for round_ in range(ROUNDS):
        for key, write in (
            (f"race/create-{round_}", lambda key: store.create(key, data)),
            (f"race/swap-{round_}", lambda key: store.compare_and_swap(key, data, swap_etag)),
        ):
            barrier.wait()
            try:
                write(key)
                results.put((key, os.getpid()))
            except Conflict:
                results.put((key, None))


def test_of_twelve_processes_one_wins(seaweed, s3_bucket, s3_store):
    swap_etag = {s3_store.put(f"race/swap-{round_}", b"before") for round_ in range(ROUNDS)}.pop()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(12), context.Queue()
    racers = [context.Process(target=_race, args=(seaweed.settings(s3_bucket), swap_etag, barrier, results)) for _ in range(12)]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=120) for _ in range(12 * ROUNDS * 2)]
    for racer in racers:
        racer.join(30)
    for key in {key for key, _ in outcomes}:
        (winner,) = [pid for each, pid in outcomes if each == key and pid is not None]
        assert s3_store.get(key).data == str(winner).encode()


def test_updates_from_many_threads_are_all_kept(store):
    documents = Documents(store)
    documents.create("p/count", {"n": 0})

    def add():
        for _ in range(5):
            documents.update("p/count", lambda body: {"n": body["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.read("p/count").body == {"n": 20}
