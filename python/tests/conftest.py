import os
import shutil
import subprocess
from pathlib import Path

import pytest

import tallyfold


@pytest.fixture
def store(tmp_path):
    return tallyfold.Store(tmp_path / "store")


@pytest.fixture(scope="session")
def command():
    """Runs the command as a user would, and returns what it prints: `command(*args, store=…)`. TALLYFOLD_COMMAND names another one."""
    built = [Path(__file__).parents[2] / "target" / profile / "tallyfold" for profile in ("debug", "release")]
    built = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    path = os.environ.get("TALLYFOLD_COMMAND") or (built[-1] if built else shutil.which("tallyfold"))
    if path is None:
        pytest.skip("the command is not built here: `cargo build` makes it")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYFOLD_")}

    def run(*args, store, code=0):
        done = subprocess.run([path, *map(str, args), "--store", store], capture_output=True, env=environment, timeout=120)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return run
