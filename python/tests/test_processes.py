"""Many processes: forked, spawned, killed, pooled."""

import multiprocessing
import os
import signal
import time

import pytest

import tallyfold


def log_some(cohort, worker, n):
    for i in range(n):
        cohort.append({"worker": worker, "i": i, "loss": 1.0 / (i + 1)}, f"w{worker}")


def log_for_ever(cohort):
    i = 0
    while True:
        cohort.append({"i": i}, "victim")
        i += 1


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_eight_workers_log_while_another_tails(store, method):
    context = multiprocessing.get_context(method)
    cohort = store.cohort("metrics", fold="log")
    # So that what is handed over is attached already.
    cohort.append({"worker": -1})
    tail = cohort.log(from_seq=2, follow=True, timeout=30)
    workers = [context.Process(target=log_some, args=(cohort, worker, 50)) for worker in range(8)]
    [worker.start() for worker in workers]
    seen = [next(tail) for _ in range(400)]
    [worker.join(60) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert [record.seq for record in seen] == list(range(2, 402))
    for worker in range(8):
        assert [record.value["i"] for record in seen if record.value["worker"] == worker] == list(range(50))


@pytest.mark.parametrize("lock", ["memory", "file"])
def test_a_worker_killed_in_mid_log_stops_nobody_and_loses_nothing(store, lock):
    try:
        cohort = store.cohort("metrics", fold="log", lock=lock)
    except tallyfold.UnsafeFileSystem as e:
        pytest.skip(str(e))
    cohort.append({"i": "first"})
    for _ in range(5):
        victim = multiprocessing.get_context("fork").Process(target=log_for_ever, args=(cohort,))
        victim.start()
        before = cohort.last_seq
        deadline = time.monotonic() + 60
        while cohort.last_seq < before + 20 and time.monotonic() < deadline:
            cohort.append({"i": "beside"})
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        cohort.append({"i": "after"})
    seqs = [record.seq for record in cohort.log()]
    assert seqs == list(range(1, cohort.last_seq + 1)) and not cohort.verify()["damaged"]


def test_a_session_that_forks_goes_on_in_both(store):
    cohort = store.cohort("notebook", fold="latest")
    cohort.append("parent", "before")
    child = os.fork()
    if child == 0:
        try:
            cohort.append(cohort.get("before"), "child")
            cohort.detach()
        finally:
            os._exit(0)
    cohort.append("parent", "beside")
    assert os.waitpid(child, 0)[1] == 0
    assert cohort.state() == {"before": "parent", "beside": "parent", "child": "parent"}


def count(cohort, key):
    return cohort.update(key, lambda old: (old or 0) + 1)


def test_a_pool_of_workers_shares_a_pickled_handle(store):
    cohort = store.cohort("counts", fold="latest")
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        seqs = pool.starmap(count, [(cohort, f"k{i % 3}") for i in range(60)])
    assert sorted(seqs) == list(range(1, 61))
    assert cohort.state() == {"k0": 20, "k1": 20, "k2": 20}
