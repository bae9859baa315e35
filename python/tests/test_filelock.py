"""`FileLock`: what people know of the filelock package, beside that package, between processes, threads and forks."""

import inspect
import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

import tallyfold
from tallyfold.filelock import FileLock, FileLockError, Timeout

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.json.lock")


def in_child(function, *arguments):
    """What a function returns in a forked child (a small number)."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            code = int(function(*arguments))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_free(path):
    """Whether another object gets the lock at once."""
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True


def test_it_is_taken_by_with_by_decorator_and_by_acquire(path):
    lock = FileLock(path)
    with lock as entered:
        assert entered is lock and lock.is_locked and not is_free(path)
    assert not lock.is_locked and is_free(path)

    @lock
    def inside():
        return lock.is_locked, is_free(path)

    assert inside() == (True, False) and is_free(path)
    with lock.acquire() as proxied:
        assert proxied is lock and lock.lock_counter == 1
    assert lock.lock_counter == 0 and is_free(path)
    with pytest.raises(ZeroDivisionError), lock:
        1 / 0
    assert is_free(path)
    assert os.path.exists(path) and tallyfold.FileLock is FileLock


def test_it_is_re_entrant_and_released_as_often_or_by_force(path):
    lock = FileLock(path)
    with lock, lock:
        lock.acquire()
        assert lock.lock_counter == 3
        lock.release()
        assert lock.lock_counter == 2 and not is_free(path)
    assert lock.lock_counter == 0 and is_free(path)
    for _ in range(3):
        lock.acquire()
    lock.release(force=True)
    assert lock.lock_counter == 0 and is_free(path)
    lock.release()
    assert lock.lock_counter == 0
    # What is dropped is free.
    lock.acquire()
    del lock
    assert is_free(path)


def test_a_timeout_is_every_error_that_was_caught_before_and_names_the_holder(path):
    with FileLock(path):
        for fails in (
            lambda: FileLock(path, timeout=0.05).acquire(),
            lambda: FileLock(path).acquire(timeout=0),
            lambda: FileLock(path).acquire(blocking=False),
            lambda: FileLock(path, blocking=False).acquire(timeout=30),
            lambda: FileLock(path, 0.01).__enter__(),
        ):
            with pytest.raises(Timeout) as caught:
                fails()
            for kind in (TimeoutError, OSError, FileLockError, tallyfold.LockTimeout, tallyfold.TallyfoldError):
                assert isinstance(caught.value, kind)
            assert caught.value.lock_file == path and caught.value.holder in (os.getpid(), None)
            assert path in str(caught.value) and "nothing was written" in str(caught.value)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(again), str(again), again.lock_file) == (Timeout, str(caught.value), path)
    # Longer than the wait is without a look at Python's signals.
    with FileLock(path), pytest.raises(Timeout, match="no lock within 0.7 s"):
        FileLock(path, timeout=0.7).acquire()
    lock = FileLock(path, timeout="2.5")
    assert lock.timeout == 2.5
    lock.timeout = 0
    lock.blocking = False
    with pytest.raises(Timeout), FileLock(path):
        lock.acquire()
    assert lock.lock_counter == 0 and not lock.is_locked


def test_its_arguments_are_those_of_the_filelock_package():
    known = inspect.signature(FileLock.__init__).parameters
    assert list(known)[:5] == ["self", "lock_file", "timeout", "mode", "thread_local"]
    filelock = pytest.importorskip("filelock")
    theirs = inspect.signature(filelock.BaseFileLock.__init__).parameters
    for name in list(known)[1:]:
        assert theirs[name].default == known[name].default and theirs[name].kind == known[name].kind, name
    for name in ("acquire", "release"):
        ours = inspect.signature(getattr(FileLock, name)).parameters
        for parameter in inspect.signature(getattr(filelock.BaseFileLock, name)).parameters.values():
            if parameter.name in ("self", "cancel_check"):
                continue
            assert ours[parameter.name].default == parameter.default, parameter
    for name in ("is_locked", "lock_counter", "lock_file", "timeout", "blocking", "poll_interval", "mode", "is_singleton"):
        assert isinstance(getattr(FileLock, name), property) == isinstance(getattr(filelock.BaseFileLock, name), property)


def test_a_mode_is_that_of_a_lock_file_that_is_made_and_the_umask_else(tmp_path):
    before = os.umask(0o027)
    try:
        for name, given, mode in [("a", {}, 0o640), ("b", {"mode": 0o600}, 0o600), ("c", {"mode": 0o666}, 0o666)]:
            path = tmp_path / "deep" / "er" / name
            with FileLock(path, **given) as lock:
                assert stat.S_IMODE(path.stat().st_mode) == mode
                assert lock.has_explicit_mode == bool(given)
        with FileLock(tmp_path / "deep" / "er" / "a", mode=0o600):
            assert stat.S_IMODE((tmp_path / "deep" / "er" / "a").stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_what_is_no_lock_file_is_an_os_error(tmp_path):
    (tmp_path / "link").symlink_to("elsewhere")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(OSError) as caught:
            FileLock(path, timeout=0).acquire()
        assert not isinstance(caught.value, TimeoutError)
    assert not (tmp_path / "elsewhere").exists()


def test_one_object_for_a_path_if_asked(tmp_path):
    a = FileLock(tmp_path / "a", is_singleton=True)
    assert FileLock(tmp_path / "a", is_singleton=True) is a and a.is_singleton
    assert FileLock(tmp_path / "b", is_singleton=True) is not a
    assert FileLock(tmp_path / "a") is not a
    with pytest.raises(ValueError, match="other arguments"):
        FileLock(tmp_path / "a", timeout=3, is_singleton=True)
    with a, FileLock(tmp_path / "a", is_singleton=True):
        assert a.lock_counter == 2


def test_threads_have_locks_of_their_own_or_share_one(path):
    def elsewhere(function):
        found = []
        thread = threading.Thread(target=lambda: found.append(function()))
        thread.start()
        thread.join(60)
        return found[0]

    own = FileLock(path)
    assert own.is_thread_local()
    with own:
        assert elsewhere(lambda: (own.is_locked, own.lock_counter)) == (False, 0)
        assert elsewhere(lambda: pytest.raises(Timeout, own.acquire, 0).type) is Timeout
    common = FileLock(path, thread_local=False)
    with common:
        assert elsewhere(lambda: common.acquire(0).lock.lock_counter) == 2
        assert elsewhere(lambda: common.release()) is None
        assert common.lock_counter == 1
    assert is_free(path)


@pytest.mark.parametrize("common", [True, False])
def test_threads_exclude_each_other(path, common):
    lock, inside, most = FileLock(path), 0, 0

    def work():
        nonlocal inside, most
        mine = lock if common else FileLock(path)
        for _ in range(25):
            with mine:
                inside += 1
                most = max(most, inside)
                os.stat(path)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join(120) for thread in threads]
    assert (most, inside) == (1, 0)


def test_a_forked_child_neither_holds_nor_unlocks_what_its_parent_has(path):
    lock = FileLock(path)
    with lock:
        def child():
            before = (lock.is_locked, lock.lock_counter)
            lock.release(force=True)
            return before == (False, 0) and not is_free(path)

        assert in_child(child) == 1
        assert lock.is_locked and in_child(is_free, path) == 0
    assert in_child(is_free, path) == 1
    # It may take its own.
    assert in_child(lambda: lock.acquire(1).lock.lock_counter) == 1
    assert is_free(path)


def test_a_child_that_lives_on_does_not_keep_the_lock_of_its_parent(path):
    end_read, end_write = os.pipe()
    with FileLock(path):
        child = os.fork()
        if child == 0:
            os.close(end_write)
            os.read(end_read, 1)
            os._exit(0)
    assert is_free(path)
    os.close(end_read)
    os.close(end_write)
    os.waitpid(child, 0)


HOLD = """
import sys
{setup}
with {lock}:
    print("has it", flush=True)
    sys.stdin.readline()
"""


def holder(lock, setup):
    """A process that has a lock until it is told, or killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(lock=lock, setup=setup)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "has it\n"
    return process


def test_a_killed_holder_has_no_lock_and_a_living_one_is_named(path):
    process = holder(f"FileLock({path!r})", "from tallyfold.filelock import FileLock")
    with process:
        with pytest.raises(Timeout) as caught:
            FileLock(path, timeout=0.01).acquire()
        assert caught.value.holder in (process.pid, None)
        process.kill()
    with FileLock(path, timeout=60):
        pass


def test_who_waits_can_be_interrupted(path):
    class Called(Exception):
        pass

    def handler(*_):
        raise Called

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with FileLock(path):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Called):
                FileLock(path).acquire()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_free(path)


def test_other_threads_run_while_one_waits(path):
    waiting, got = threading.Event(), []

    def wait():
        waiting.set()
        with FileLock(path, timeout=120):
            got.append(True)

    with FileLock(path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(60)
        # This thread runs, so it comes to its end.
        assert sum(range(100_000)) > 0 and not got
    thread.join(120)
    assert got == [True]


def test_the_filelock_package_and_this_one_exclude_each_other(path):
    filelock = pytest.importorskip("filelock")
    with FileLock(path):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(path, timeout=0).acquire()
    with filelock.FileLock(path):
        with pytest.raises(Timeout):
            FileLock(path, timeout=0).acquire()
    process = holder(f"filelock.FileLock({path!r})", "import filelock")
    with process:
        assert not is_free(path)
        process.communicate("\n", timeout=60)
    process = holder(f"FileLock({path!r})", "from tallyfold.filelock import FileLock")
    with process:
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(path, timeout=0).acquire()
        process.communicate("\n", timeout=60)
    assert is_free(path)


def rounds(make, path, marker, n, overlaps):
    lock = make(path)
    for _ in range(n):
        with lock:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                overlaps.value += 1
                continue
            # Long enough for somebody else to come.
            time.sleep(0.001)
            os.unlink(marker)


class NoLock:
    def __init__(self, path):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def overlaps_of(makers, path, marker, n):
    overlaps = FORK.Value("i", 0)
    workers = [FORK.Process(target=rounds, args=(make, path, marker, n, overlaps)) for make in makers]
    [worker.start() for worker in workers]
    [worker.join(240) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * len(makers)
    return overlaps.value


def test_processes_with_either_package_are_never_inside_together(path, tmp_path):
    filelock = pytest.importorskip("filelock")
    marker = str(tmp_path / "inside")
    # What finds who is inside does find somebody.
    (tmp_path / "inside").touch()
    assert overlaps_of([NoLock], path, marker, 3) == 3
    os.unlink(marker)
    assert overlaps_of([FileLock, filelock.FileLock] * 3, path, marker, 40) == 0
