"""Bundles: files and a value, together or not at all."""

import os
import threading
import zlib

import pytest

import tallyfold


@pytest.fixture
def models(store):
    return store.cohort("models", fold="latest")


def staged(models):
    """What was begun and not committed."""
    try:
        return [name for name in os.listdir(models.path / "bundles") if name.startswith(".new-")]
    except FileNotFoundError:
        return []


def test_files_and_a_value_are_committed_together(models, tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"lr: 0.1\n")
    with models.bundle("run-1") as new:
        new.add_file("config.yaml", tmp_path / "config.yaml")
        new.add_bytes("metrics.json", b"{}")
        path = new.create("weights.bin")
        assert path.parent == new.path
        path.write_bytes(b"\x01\x02\x03")
        assert models.open_bundle("run-1") is None
        committed = new.commit({"auc": float("nan"), "lr": 0.1})
    bundle = models.open_bundle("run-1")
    assert (bundle.key, bundle.seq, bundle.version) == ("run-1", 1, committed.version)
    assert [(file.name, file.bytes) for file in bundle.files] == [("config.yaml", 8), ("metrics.json", 2), ("weights.bin", 3)]
    assert bundle.files[0].crc32 == zlib.crc32(b"lr: 0.1\n")
    assert bundle.file("weights.bin").read_bytes() == b"\x01\x02\x03" and bundle.file("config.yaml").parent == bundle.path
    assert bundle.value["lr"] == 0.1 and bundle.value["auc"] != bundle.value["auc"]
    assert bundle.unfinished is None and bundle.previous == [] and "run-1" in repr(bundle)
    bundle.verify()
    with pytest.raises(FileNotFoundError, match="no file \"x\".*weights.bin"):
        bundle.file("x")
    assert models.open_bundle("run-2") is None and staged(models) == []


@pytest.mark.parametrize("how", ["no commit", "an exception", "a value that is none"])
def test_a_block_that_ends_without_a_commit_leaves_nothing(models, how):
    with models.bundle("k") as new:
        new.add_bytes("x", b"old")
        new.commit(1)
    try:
        with models.bundle("k") as new:
            new.add_bytes("x", b"new")
            assert len(staged(models)) == 1
            if how == "an exception":
                raise RuntimeError("the training failed")
            if how == "a value that is none":
                new.commit({"a": [object()]})
    except RuntimeError as e:
        assert how == "an exception" and str(e) == "the training failed"
    except TypeError as e:
        assert how == "a value that is none" and str(e).startswith("value['a'][0]: object has no JSON value")
    else:
        assert how == "no commit"
    assert staged(models) == [] and models.last_seq == 1
    assert models.open_bundle("k").file("x").read_bytes() == b"old"
    with pytest.raises(tallyfold.Invalid, match="committed or given up"):
        new.add_bytes("y", b"")
    with pytest.raises(tallyfold.Invalid, match="committed or given up"):
        new.commit()


def test_as_many_older_versions_stay_as_are_to_be_kept(models):
    for i in range(4):
        with models.bundle("k", keep=2) as new:
            new.add_bytes("x", b"%d" % i)
            new.commit(i)
    bundle = models.open_bundle("k")
    versions = [bundle.version, *bundle.previous]
    assert versions == sorted(versions, reverse=True) and len(versions) == 3
    assert [(bundle.path.parent / version / "x").read_bytes() for version in versions] == [b"3", b"2", b"1"]
    assert (bundle.path.parent / "latest" / "x").read_bytes() == b"3"


def test_what_cannot_be_in_a_bundle_is_refused_with_its_name(models, tmp_path):
    with models.bundle("k") as new:
        new.add_bytes("x", b"")
        for act, kind in [
            (lambda: new.add_bytes("x", b""), tallyfold.Invalid),
            (lambda: new.create("a/b"), tallyfold.Invalid),
            (lambda: new.add_bytes("manifest.json", b""), tallyfold.Invalid),
            (lambda: new.add_file("y", tmp_path / "nowhere"), FileNotFoundError),
            (lambda: new.add_file("y", tmp_path), tallyfold.UnsafeFile),
            (lambda: new.add_bytes("y", "text"), TypeError),
        ]:
            with pytest.raises(kind):
                act()
        assert [file.name for file in new.commit().files] == ["x"]
    assert models.open_bundle("k").value is None


def test_a_file_that_is_changed_after_the_commit_is_corruption(models):
    with models.bundle("k") as new:
        new.add_bytes("x", b"abc")
        bundle = new.commit()
    os.chmod(bundle.file("x"), 0o600)
    bundle.file("x").write_bytes(b"abd")
    with pytest.raises(tallyfold.Corruption) as damage:
        bundle.verify()
    assert damage.value.path == str(bundle.file("x"))
    bundle.file("x").write_bytes(b"ab")
    with pytest.raises(tallyfold.Corruption, match="2 bytes, and 3 were committed"):
        models.open_bundle("k")


def test_threads_that_commit_at_once_each_leave_a_whole_bundle(models):
    def commit(i):
        with models.bundle("k", keep=8) as new:
            new.add_bytes("x", b"%d" % i)
            new.commit(i)

    threads = [threading.Thread(target=commit, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    bundle = models.open_bundle("k")
    assert bundle.file("x").read_bytes() == b"%d" % bundle.value
    assert len(bundle.previous) == 3 and models.last_seq == 4 and staged(models) == []


def test_the_child_of_a_fork_leaves_its_parents_bundle_alone(models):
    with models.bundle("k") as new:
        new.add_bytes("x", b"parent")
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(tallyfold.Invalid, match="fork"):
                    new.add_bytes("y", b"child")
                new.__exit__(None, None, None)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        new.commit()
    assert models.open_bundle("k").file("x").read_bytes() == b"parent"


def test_a_fold_that_makes_something_else_of_a_bundle_refuses_it(store):
    with pytest.raises(tallyfold.Invalid, match="sum"):
        store.cohort("sums", fold="sum").bundle("k")
