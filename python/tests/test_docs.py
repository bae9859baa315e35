"""What the documents show of Python works as it stands there.

A guide is a story: its blocks are run in one process and one directory, from the first to the last. The blocks of a README stand each
for itself, and are run twice, as a reader does who tries them again. A block below `<!-- file: NAME -->` is that file.
"""

import configparser
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
READMES = [ROOT / "README.md", ROOT / "python" / "README.md"]
GUIDES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")])
BLOCK = re.compile(r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\S+)\n(?P<text>.*?)^```$", re.S | re.M)
#: What an example may need that need not be installed.
OPTIONAL = ("optuna", "numpy", "pandas", "polars", "pyarrow", "filelock", "torch")


def blocks(document):
    """Its blocks: the kind, the text, the file, and the line of the document that the text begins in."""
    text = document.read_text()
    for block in BLOCK.finditer(text):
        yield block["kind"], block["text"], block["file"], text.count("\n", 0, block.start("text")) + 1


def name(document):
    return str(document.relative_to(ROOT))


def run(script, directory):
    for module in OPTIONAL:
        if re.search(rf"^\s*(import|from) {module}\b", script, re.M):
            pytest.importorskip(module)
    return subprocess.run([sys.executable, script_file(script, directory)], cwd=directory, capture_output=True, text=True, timeout=120)


def script_file(script, directory):
    """Beside the directory that the example writes in, for what it makes there is its own."""
    path = directory.parent / f"{directory.name}.py"
    path.write_text(script)
    return path


EXAMPLES = [
    pytest.param(text, id=f"{name(readme)}:{line}")
    for readme in READMES
    for kind, text, _, line in blocks(readme)
    if kind == "python"
]
STORIES = [pytest.param(guide, id=name(guide)) for guide in GUIDES if any(kind == "python" for kind, *_ in blocks(guide))]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works_verbatim_and_once_more(example, tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    for _ in range(2 if "optuna" not in example else 1):
        ended = run(example, directory)
        assert ended.returncode == 0, ended.stderr


def test_the_first_example_of_the_package_prints_the_points_of_both_times(tmp_path):
    example = next(text for kind, text, *_ in blocks(READMES[1]) if kind == "python")
    directory = tmp_path / "here"
    directory.mkdir()
    assert run(example, directory).stdout == "[1.0, 0.5, 0.3333333333333333]\n"
    assert run(example, directory).stdout == "[1.0, 0.5, 0.3333333333333333, 1.0, 0.5, 0.3333333333333333]\n"


@pytest.mark.parametrize("guide", STORIES)
def test_a_guide_works_from_its_first_block_to_its_last(guide, tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    # In the lines where they stand in the document, so that a failure names its place there.
    script, at = [], 1
    for kind, text, file, line in blocks(guide):
        if file is not None:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(text)
        elif kind == "python":
            script += ["\n" * (line - at), text]
            at = line + text.count("\n")
    ended = run("".join(script), directory)
    assert ended.returncode == 0, f"{name(guide)}\n{ended.stderr}"


@pytest.mark.parametrize("document", [pytest.param(document, id=name(document)) for document in [*READMES, *GUIDES]])
def test_what_is_for_other_programs_parses(document):
    for kind, text, _, line in blocks(document):
        where = f"{name(document)}:{line}"
        if kind == "toml":
            assert pytest.importorskip("tomllib").loads(text), where
        elif kind == "yaml":
            assert pytest.importorskip("yaml").safe_load(text), where
        elif kind == "ini":
            parser = configparser.ConfigParser(strict=False, interpolation=None)
            parser.read_string(text, where)
            assert parser.sections(), where


def test_there_are_examples_and_stories():
    assert len(EXAMPLES) >= 5
    assert {name(ROOT / "docs" / "format.md")} <= {story.id for story in STORIES}
