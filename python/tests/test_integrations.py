"""Callbacks: that of Hugging Face as its own handler calls it, that of Lightning beside a stand-in for what it is made of."""

import argparse
import pickle
import subprocess
import sys
import types

import pytest

import tallyfold
import tallyfold.integrations


class Arguments:
    """What a callback uses of `TrainingArguments`, which need torch."""

    def to_dict(self):
        return {"learning_rate": 0.1, "optimizer": object}


@pytest.fixture
def trainer():
    """The events of a training, sent by the handler of Hugging Face itself."""
    pytest.importorskip("transformers")
    from transformers import TrainerControl, TrainerState
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

    def train(callback, losses, main=True):
        handler = CallbackHandler([DefaultFlowCallback, callback], None, None, None, None)
        arguments, state, control = Arguments(), TrainerState(is_world_process_zero=main), TrainerControl()
        handler.call_event("on_init_end", arguments, state, control)
        handler.call_event("on_train_begin", arguments, state, control)
        for loss in losses:
            state.global_step += 10
            handler.on_log(arguments, state, control, {"loss": loss, "epoch": 0.5})
        handler.on_train_end(arguments, state, control)
        return lambda logs: handler.on_log(arguments, state, control, logs)

    return train


def points(store, cohort="metrics"):
    return [(record.key, record.value) for record in store.cohort(cohort).log()]


def test_the_trainer_of_hugging_face_logs_points_with_its_steps(store, trainer):
    trainer(tallyfold.integrations.TrainerCallback(store, run_id="r", tags=["t"]), [0.5, float("inf")])
    assert points(store) == [
        ("r", {"loss": 0.5, "epoch": 0.5, "step": 10}),
        ("r", {"loss": float("inf"), "epoch": 0.5, "step": 20}),
    ]
    about = store.cohort("metrics.runs").get("r")
    assert (about["status"], about["tags"], about["summary"]["loss"]) == ("finished", ["t"], float("inf"))
    assert about["config"] == {"learning_rate": 0.1, "optimizer": "<class 'object'>"}


def test_what_is_evaluated_after_the_training_goes_on_with_its_run(store, trainer):
    log = trainer(tallyfold.integrations.TrainerCallback(store, resume="never", config={"lr": 1}), [0.5])
    log({"eval_loss": 0.4})
    run_id = points(store)[0][0]
    assert points(store)[1] == (run_id, {"eval_loss": 0.4, "step": 10})
    about = store.cohort("metrics.runs").get(run_id)
    assert about["config"] == {"lr": 1} and about["summary"]["loss"] == 0.5


def test_only_the_main_process_of_a_training_logs(store, trainer, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    trainer(tallyfold.integrations.TrainerCallback(store), [0.5], main=False)
    assert store.cohorts() == []
    monkeypatch.setenv("RANK", "0")
    trainer(tallyfold.integrations.TrainerCallback(store), [0.5])
    assert points(store)[0][1] == {"loss": 0.5, "epoch": 0.5, "step": 10}


def test_a_run_that_is_given_is_not_finished(store, trainer):
    with tallyfold.init(store, run_id="mine", config={"mine": 1}) as run:
        callback = tallyfold.integrations.TrainerCallback(run=run)
        trainer(callback, [0.5])
        assert callback.run is run and run.runs.get("mine")["status"] == "running"
        run.log({"after": 1})
    assert [key for key, _ in points(store)] == ["mine", "mine"] and run.config == {"mine": 1}
    with pytest.raises(ValueError, match="not both"):
        tallyfold.integrations.TrainerCallback(store, run=run)


class rank_zero_only:
    """As Lightning's: the function on rank zero, nothing elsewhere."""

    rank = 0

    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner):
        return types.MethodType(self, instance) if instance is not None else self

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs) if rank_zero_only.rank == 0 else None


class StandIn:
    """What Lightning's `Logger` gives to those made of it, and what they have to have."""

    save_dir = None

    def __init_subclass__(cls):
        for name in ("name", "version", "log_metrics", "log_hyperparams"):
            assert name in vars(cls)

    def save(self):
        raise NotImplementedError

    def finalize(self, status):
        raise NotImplementedError


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def lightning(request, monkeypatch):
    """Lightning pulls torch in, so what is called here is what its documentation says that it calls."""
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    made = {request.param: types.ModuleType(request.param)}
    for part, thing in (("loggers", {"Logger": StandIn}), ("utilities", {"rank_zero_only": rank_zero_only})):
        made[f"{request.param}.{part}"] = types.ModuleType(f"{request.param}.{part}")
        vars(made[f"{request.param}.{part}"]).update(thing)
    if "." in request.param:
        made["lightning"] = types.ModuleType("lightning")
    for name, module in made.items():
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "tallyfold._lightning", raising=False)
    yield tallyfold.integrations.Logger
    rank_zero_only.rank = 0
    sys.modules.pop("tallyfold._lightning", None)
    vars(tallyfold).pop("_lightning", None)


def test_a_logger_of_lightning_logs_metrics_and_hyperparameters(store, lightning):
    logger = lightning(store, "training", run_id="r")
    assert (logger.name, logger.version, logger.save_dir) == ("training", "r", None) and store.cohorts() == []
    logger.log_hyperparams({"lr": 0.1, "loss": print})
    logger.log_hyperparams(argparse.Namespace(depth=3))
    logger.log_metrics({"loss": 0.5}, step=7)
    logger.log_metrics({"loss": 0.25})
    logger.save()
    about = store.cohort("training.runs").get("r")
    assert about["config"] == {"lr": 0.1, "loss": "<built-in function print>", "depth": 3} and about["status"] == "running"
    logger.finalize("success")
    assert store.cohort("training.runs").get("r")["status"] == "finished"
    assert points(store, "training") == [("r", {"loss": 0.5, "step": 7}), ("r", {"loss": 0.25})]


def test_a_logger_that_is_used_after_its_end_goes_on_with_its_run(store, lightning):
    logger = lightning(store)
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.finalize("success")
    logger.log_metrics({"test": 1}, step=1)
    assert store.cohort("metrics.runs").get(logger.version)["status"] == "running"
    logger.finalize("failed")
    about = store.cohort("metrics.runs").get(logger.version)
    assert (about["status"], about["summary"]) == ("failed", {"loss": 0.5, "test": 1})
    assert {key for key, _ in points(store)} == {logger.version} == {logger.experiment.id}


def test_a_logger_writes_on_rank_zero_alone_and_begins_nothing_elsewhere(store, lightning):
    rank_zero_only.rank = 1
    logger = lightning(store, run_id="r")
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.save()
    logger.finalize("success")
    assert store.cohorts() == [] and logger.version == "r"


def test_a_logger_that_is_pickled_goes_on_with_its_run(store, lightning):
    logger = lightning(store, resume="never")
    logger.log_metrics({"loss": 0.5}, step=1)
    again = pickle.loads(pickle.dumps(logger._held))
    again.run().log({"loss": 0.25}, step=2)
    assert again.id == logger.version and [key for key, _ in points(store)] == [again.id] * 2


def test_nothing_is_imported_before_it_is_asked_for():
    program = (
        "import sys, tallyfold.integrations\n"
        "assert not {'transformers', 'lightning', 'pytorch_lightning', 'torch'} & set(sys.modules)\n"
        "sys.modules.update(transformers=None, lightning=None, pytorch_lightning=None)\n"
        "for name in ('TrainerCallback', 'Logger'):\n"
        "    try:\n"
        "        getattr(tallyfold.integrations, name)\n"
        "    except ImportError:\n"
        "        print('missing', name)\n"
        "assert not hasattr(tallyfold.integrations, 'Other')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("missing TrainerCallback\nmissing Logger\n", "")
