"""The journal for Optuna: Optuna's own tests of a storage, and what they leave out."""

import math
import multiprocessing
import pickle

import pytest

optuna = pytest.importorskip("optuna")

from optuna.storages import JournalStorage  # noqa: E402
from optuna.testing.pytest_storages import StorageTestCase  # noqa: E402

from tallyfold.optuna import JournalBackend  # noqa: E402


@pytest.fixture
def backend(tmp_path):
    return JournalBackend(tmp_path / "store")


class TestStorage(StorageTestCase):
    @pytest.fixture
    def storage(self, backend):
        return JournalStorage(backend)


def test_log_numbers_are_dense_from_zero_and_batches_whole(backend):
    assert list(backend.read_logs(0)) == []
    backend.append_logs([{"op_code": 0, "n": 0}, {"op_code": 1, "n": 1}])
    backend.append_logs([])
    backend.append_logs([{"op_code": 2, "n": 2}])
    for start in (0, 1, 2, 3, 0, 3, 2):
        assert [log["n"] for log in backend.read_logs(start)] == [0, 1, 2][start:]
    backend.append_logs([{"n": 3}])
    assert [log["n"] for log in backend.read_logs(3)] == [3]


def test_what_json_cannot_write_comes_back_as_it_was(backend):
    log = {"value": math.inf, "low": -math.inf, "text": "NaN", "nested": [{"big": 2**80, "none": None, "s": "~Infinity"}]}
    backend.append_logs([log, {"nan": math.nan}])
    first, second = backend.read_logs(0)
    assert first == log and math.isnan(second["nan"])


def test_a_log_that_cannot_be_written_leaves_nothing_of_its_batch(backend):
    with pytest.raises(TypeError):
        backend.append_logs([{"n": 0}, {"n": object()}])
    assert list(backend.read_logs(0)) == []


def test_a_snapshot_never_goes_backwards(backend, tmp_path):
    assert backend.load_snapshot() is None
    other = JournalBackend(tmp_path / "store")
    backend.append_logs([{"n": 0}])
    list(other.read_logs(0))
    backend.append_logs([{"n": 1}])
    list(backend.read_logs(0))
    backend.save_snapshot(b"newer" * 1000)
    other.save_snapshot(b"older")
    assert other.load_snapshot() == b"newer" * 1000
    list(other.read_logs(1))
    backend.append_logs([{"n": 2}])
    list(other.read_logs(2))
    other.save_snapshot(b"newest\x00\xff")
    assert backend.load_snapshot() == b"newest\x00\xff"


def test_it_can_be_pickled(backend):
    backend.append_logs([{"n": 0}])
    list(backend.read_logs(0))
    again = pickle.loads(pickle.dumps(backend))
    again.append_logs([{"n": 1}])
    assert [log["n"] for log in backend.read_logs(1)] == [1]


def append_some(backend, worker):
    for i in range(200):
        backend.append_logs([{"worker": worker, "i": i}])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ten_processes_with_two_hundred_records_each_lose_nothing(backend, method):
    context = multiprocessing.get_context(method)
    backend.append_logs([{"worker": -1, "i": 0}])
    workers = [context.Process(target=append_some, args=(backend, worker)) for worker in range(10)]
    [worker.start() for worker in workers]
    [worker.join(120) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 10
    logs = list(backend.read_logs(1))
    assert len(logs) == 2000
    for worker in range(10):
        assert [log["i"] for log in logs if log["worker"] == worker] == list(range(200))


def optimize(path, name):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=name, storage=JournalStorage(JournalBackend(path)))
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=10)


def test_processes_that_optimize_one_study_number_its_trials_without_gaps(tmp_path):
    path = tmp_path / "store"
    study = optuna.create_study(study_name="s", storage=JournalStorage(JournalBackend(path)))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=optimize, args=(path, "s")) for _ in range(3)]
    [worker.start() for worker in workers]
    [worker.join(120) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 3
    trials = study.get_trials()
    assert sorted(trial.number for trial in trials) == list(range(30))
    assert all(trial.state.is_finished() for trial in trials)
