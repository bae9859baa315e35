"""What the README shows works as it stands there."""

import pathlib
import re
import subprocess
import sys

import pytest

PYTHON = pathlib.Path(__file__).parent.parent
EXAMPLES = [
    example
    for readme in (PYTHON / "README.md", PYTHON.parent / "README.md")
    for example in re.findall(r"```python\n(.*?)```", readme.read_text(), re.S)
]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_works_verbatim(number, tmp_path):
    example = EXAMPLES[number]
    if "optuna" in example:
        pytest.importorskip("optuna")
    for _ in range(2 if "optuna" not in example else 1):
        ended = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
    if number == 0:
        assert ended.stdout == "[1.0, 0.5, 0.3333333333333333, 1.0, 0.5, 0.3333333333333333]\n"


def test_there_are_examples():
    assert len(EXAMPLES) == 5
