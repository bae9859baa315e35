"""What goes wrong for those who begin: a full disk, a directory they may not write, values that are none, forks, threads."""

import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import traceback

import pytest

import tallyfold

NOBODY = 65534


def in_child(act, uid=None):
    """Runs it in a forked child, as another user if so asked, and raises here what failed there."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            act()
            status = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(write)
    with open(read, "rb") as told:
        said = told.read().decode()
    assert os.waitpid(child, 0)[1] == 0, said


@pytest.mark.parametrize("lock", ["memory", "file"])
def test_a_full_disk_costs_no_record_and_passes_when_there_is_room(store, lock):
    try:
        c = store.cohort("c", fold="log", lock=lock)
    except tallyfold.UnsafeFileSystem as e:
        pytest.skip(str(e))

    def fill():
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
        acknowledged = []
        with pytest.raises(tallyfold.NoSpace) as full:
            for i in range(10_000):
                acknowledged.append(c.append({"i": i, "filling": "x" * 4000}, "k"))
        assert isinstance(full.value, OSError) and full.value.errno == 28 and str(c.path) in full.value.path
        with pytest.raises(tallyfold.NoSpace):
            c.append_batch([("k", "x" * 300_000)])
        assert [record.seq for record in c.log()] == acknowledged == list(range(1, c.last_seq + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert c.append("room", "k") == len(acknowledged) + 1
        c.detach()

    in_child(fill)
    assert c.log(c.last_seq).__next__().value == "room" and not c.verify()["damaged"]


def test_a_full_disk_leaves_the_old_bundle(store):
    models = store.cohort("models", fold="latest")
    with models.bundle("k") as new:
        new.add_bytes("x", b"old")
        new.commit()

    def fill():
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        with pytest.raises(tallyfold.NoSpace), models.bundle("k") as new:
            new.add_bytes("x", bytes(1 << 20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    in_child(fill)
    assert models.open_bundle("k").file("x").read_bytes() == b"old"
    assert [name for name in os.listdir(models.path / "bundles") if name.startswith(".")] == []


@pytest.fixture
def foreign():
    """A store that its reader may not write; and how to act as that reader."""
    # Where others than its maker may look, which is not so of pytest's directories.
    directory = tempfile.mkdtemp(prefix="tallyfold-foreign-")
    os.chmod(directory, 0o755)
    try:
        c = tallyfold.Store(os.path.join(directory, "store")).cohort("c", fold="latest")
        c.append({"n": 1}, "k")
        c.compact()
        c.append({"n": 2}, "k")
        c.detach()
        paths = [os.path.join(at, name) for at, names, files in os.walk(directory) for name in names + files]
        for path in [directory, *paths]:
            os.chmod(path, 0o555 if os.path.isdir(path) else 0o444)
        yield directory, NOBODY if os.geteuid() == 0 else None
    finally:
        for at, names, _ in os.walk(directory):
            for path in [at, *(os.path.join(at, name) for name in names)]:
                os.chmod(path, 0o755)
        shutil.rmtree(directory)


def test_a_directory_that_may_not_be_written_is_read_and_every_write_says_why(foreign):
    directory, uid = foreign

    def use():
        with pytest.raises(OSError) as refused:
            tallyfold.Store(os.path.join(directory, "other"))
        assert isinstance(refused.value, tallyfold.TallyfoldError)
        assert directory in str(refused.value) and "ermission denied" in str(refused.value)
        store = tallyfold.Store(os.path.join(directory, "store"), create=False)
        c = store.cohort("c")
        assert c.get("k") == {"n": 2} == c.previous().value and not c.verify()["damaged"]
        assert [record.seq for record in c.history()] == [1, 2]
        for write in (lambda: c.append(1, "k"), lambda: c.update("k", lambda old: 1), lambda: c.once("z", lambda: 1),
                      lambda: c.bundle("k"), c.compact, lambda: c.alter(durable=True), lambda: store.cohort("d", fold="log")):
            with pytest.raises(tallyfold.StoreError, match="ermission denied") as refused:
                write()
            assert refused.value.path.startswith(directory)
        assert c.once("k", lambda: 1) == {"n": 2}

    in_child(use, uid)


def test_a_wrong_type_deep_inside_is_told_with_its_place_and_nothing_is_written(store):
    c = store.cohort("c", fold="latest")
    wrong = {"runs": [{"metrics": {"model": (1, {"weights": object()})}}]}
    place = r"value\['runs'\]\[0\]\['metrics'\]\['model'\]\[1\]\['weights'\]: object has no JSON value"

    def commit():
        with c.bundle("k") as new:
            new.commit(wrong)

    for write in (lambda: c.append(wrong, "k"), lambda: c.append_batch([("a", 1), ("k", wrong)]),
                  lambda: c.update("k", lambda old: wrong), lambda: c.once("k", lambda: wrong), commit):
        with pytest.raises(TypeError, match=place):
            write()
    with pytest.raises(TypeError, match=r"value\['runs'\]\[1\]: .*complex"):
        c.append({"runs": [0, 1j]}, "k")
    assert c.last_seq == 0 and c.append({"ok": True}, "k") == 1


def test_an_update_whose_function_forks_counts_in_both(store):
    c = store.cohort("c", fold="latest")
    c.append(10, "n")
    parent, children = os.getpid(), []

    def change(old):
        if os.getpid() == parent and not children:
            child = os.fork()
            if child:
                children.append(child)
                assert os.waitpid(child, 0)[1] == 0
        return old + 1

    seq, status = None, 1
    try:
        seq = c.update("n", change)
        status = 0
    finally:
        if os.getpid() != parent:
            os._exit(0 if status == 0 and c.get("n") == 11 else 1)
    # The child came first, so the parent's function was asked once more.
    assert (seq, c.get("n"), len(children)) == (3, 12, 1)


def test_a_child_that_ends_inside_the_function_of_an_update_leaves_its_parent_in_peace(store):
    c = store.cohort("c", fold="latest")

    def change(old):
        child = os.fork()
        if child == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert c.update("n", change) == 1 and c.get("n") == 7


def test_threads_share_a_handle_while_one_of_them_compacts(store):
    c = store.cohort("c", fold="latest", segment_bytes=1 << 16)
    ended, failed = threading.Event(), []

    def watched(act):
        def run():
            try:
                act()
            except BaseException as e:
                failed.append(e)

        return run

    def compact():
        while not ended.is_set():
            assert c.compact()["done"] in ("folded", "nothing", "busy")

    def read():
        last = 0
        while not ended.is_set():
            view = c.view()
            state = view.state()
            assert view.seq >= last and sum(map(len, state.values())) == view.seq
            last = view.seq

    def write(worker):
        for i in range(150):
            c.update(f"w{worker}", lambda old, i=i: [*(old or []), i])

    workers = [threading.Thread(target=watched(lambda worker=worker: write(worker))) for worker in range(4)]
    others = [threading.Thread(target=watched(act)) for act in (compact, read)]
    [thread.start() for thread in workers + others]
    [thread.join() for thread in workers]
    ended.set()
    [thread.join() for thread in others]
    assert failed == [] and c.state() == {f"w{worker}": list(range(150)) for worker in range(4)}
    assert c.last_seq == 600 and not c.verify()["damaged"]


def end_badly(path):
    c = tallyfold.Store(path).cohort("c", fold="log")
    c.append({"n": 1})
    os._exit(3)


def test_a_process_that_ends_without_goodbye_loses_nothing(tmp_path):
    worker = multiprocessing.get_context("spawn").Process(target=end_badly, args=(str(tmp_path / "store"),))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 3
    c = tallyfold.Store(tmp_path / "store").cohort("c", fold="log")
    assert [record.value for record in c.log()] == [{"n": 1}] and c.append({"n": 2}) == 2
