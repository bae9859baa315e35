"""Of all who ask for a key, one computes it."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import tallyfold


@pytest.fixture
def cache(store):
    return store.cohort("cache", fold="latest")


def test_a_value_is_computed_once_and_read_after_that(cache):
    calls = []
    assert cache.once("k", lambda: calls.append(1) or {"a": (1, 2), "n": float("inf")}) == {"a": [1, 2], "n": float("inf")}
    assert cache.once("k", lambda: calls.append(2))["a"] == [1, 2]
    assert (calls, cache.last_seq) == ([1], 1)
    assert cache.once("none", lambda: None) is None and cache.once("none", lambda: 1) is None
    assert cache.once("odd", lambda: 1j, default=str) == "1j"


def test_what_the_function_raises_passes_through_and_the_next_one_computes(cache):
    class Failed(Exception):
        pass

    def fail():
        raise Failed("no luck")

    for wrong, error in ((fail, Failed), (lambda: {"a": object()}, TypeError), (lambda: sys.exit(3), SystemExit)):
        with pytest.raises(error):
            cache.once("k", wrong)
    assert cache.last_seq == 0 and cache.once("k", lambda: 7) == 7


def test_threads_wait_for_the_one_that_computes(cache):
    calls, values, barrier = [], [], threading.Barrier(6)

    def compute():
        calls.append(threading.get_ident())
        time.sleep(0.1)
        return len(calls)

    def ask():
        barrier.wait()
        values.append(cache.once("k", compute))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert values == [1] * 6 and len(calls) == 1


def ask_for_all(cache, log):
    for i in range(10):
        cache.once(f"k{i}", lambda: log.append(os.getpid(), f"k{i}"))


def test_of_many_processes_one_computes_each_key(store, cache):
    log = store.cohort("calls", fold="log")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=ask_for_all, args=(cache, log)) for _ in range(5)]
    [worker.start() for worker in workers]
    [worker.join(60) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 5
    assert [record.key for record in log.log()] == [f"k{i}" for i in range(10)]


def held(cache, started):
    def compute():
        started.send("computes")
        time.sleep(60)
        return "of the first"

    cache.once("k", compute)


def test_who_waits_too_long_is_told_who_computes_and_a_dead_one_is_taken_over(cache):
    context = multiprocessing.get_context("fork")
    started, starts = context.Pipe(duplex=False)
    worker = context.Process(target=held, args=(cache, starts))
    worker.start()
    try:
        assert started.poll(60)
        # Longer and shorter than who waits is kept from signals.
        for patience in (0.01, 0.7):
            with pytest.raises(tallyfold.LockTimeout, match=f"within {patience} s: .*still computes") as timeout:
                cache.with_timeout(patience).once("k", lambda: "of the second")
            assert timeout.value.holder in (None, worker.pid)
        assert cache.with_timeout(0.01).once("other", lambda: 1) == 1
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert cache.with_timeout(60).once("k", lambda: "of the second") == "of the second"
    finally:
        worker.kill()
        worker.join()


def test_ctrl_c_ends_who_waits(cache, store):
    ready, ended = threading.Event(), threading.Event()

    def compute():
        ready.set()
        ended.wait(60)
        return 1

    computing = threading.Thread(target=cache.once, args=("k", compute))
    computing.start()
    assert ready.wait(60)
    program = (
        "import signal, tallyfold\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"cache = tallyfold.Store({str(store.path)!r}).cohort('cache', timeout=600)\n"
        "print('asks', flush=True)\n"
        "cache.once('k', lambda: 2)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "asks\n"
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
        ended.set()
        computing.join()
    assert "KeyboardInterrupt" in said and cache.get("k") == 1


def test_what_is_computed_waits_for_the_append_lock_and_is_not_computed_again(store):
    cache = store.cohort("cache", fold="latest", lock="file", timeout=60)
    cache.append(1, "beside")
    calls = []

    def compute():
        lock = open(os.path.join(cache.path, "lock"), "r+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Longer than a slice of the wait.
        threading.Timer(0.8, lock.close).start()
        calls.append(1)
        return len(calls)

    assert cache.once("k", compute) == 1 == cache.get("k") and calls == [1]


def test_the_function_may_use_the_cohort_and_ask_for_other_keys(cache):
    def compute():
        cache.append(1, "beside")
        return cache.once("inner", lambda: 41) + 1

    assert cache.once("k", compute) == 42 and cache.state() == {"beside": 1, "inner": 41, "k": 42}


def test_the_child_of_a_function_that_forks_cannot_answer_for_its_parent(cache, tmp_path):
    told = tmp_path / "told"
    parent = os.getpid()

    def compute():
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            return "parent"
        return "child"

    try:
        value = cache.once("k", compute)
        if os.getpid() != parent:
            os._exit(1)
    except tallyfold.Invalid as e:
        if os.getpid() != parent:
            told.write_text(str(e))
            os._exit(0)
        raise
    assert value == "parent" == cache.get("k") and "fork" in told.read_text() and cache.last_seq == 1


def test_a_log_has_no_entries_to_compute(store):
    with pytest.raises(tallyfold.Invalid, match="log"):
        store.cohort("log", fold="log").once("k", lambda: 1)
