"""Every command of README.md and docs/*.md is run, or at least read by the program it is for.

What is run is small: the model that ships, and pictures of docs/media. The rest needs weights,
data, devices or hours that a test has not; a flag that was renamed is found all the same.
"""

import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from pathlib import Path

import pytest
import tyro

sys.path.insert(0, str(Path(__file__).parent))
from blocks import PAGES, REPO, Command, commands

# Other tests may have imported what is run here as a program.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
ALL = [command for page in PAGES for command in commands(page)]
# Words of the pages that stand for something.
MEANT = {"RECIPE": "own_images", "MODEL": "sam2.1-hiera-nano", "$model": "sam2.1-hiera-tiny"}
# Commands that are run, by test_run below -> what is changed to make them small.
RUN = {
    "sam-jax segment docs/media/chelsea.jpg --box 150,92,200,140 --box 300,110,340,155": {},
    "sam-jax segment photo.jpg --point 500,375 --model sam2.1-hiera-large --output out": {
        "sam2.1-hiera-large": "sam2.1-hiera-nano"
    },
    "sam-jax track docs/media/clip.mp4 --box 0:105,27,199,100 --output tracked.mp4": {
        "--output": "--max-frames 3 --output"
    },
}
# What the others begin with -> why they are read only. The first that fits counts.
NOT_RUN = {
    "make |pip ": "installs, or is the tests themselves",
    "gcloud |srun ": "needs a cluster",
    r"\.oracle/|python -m convert\.(verify|golden)": "needs the official code: make oracle",
    "python -m benchmarks": "measures for minutes; tests/benchmarks has its parts",
    r"python -m train\b": "needs data and hours; tests/train runs small ones",
    r"python -m convert\b": "needs checkpoints; tests/convert writes some",
    "python docs/pictures.py": "half a minute of what the notebooks do",
    "python docs/run_exported.py": "needs exported programs; tests/export makes them",
    "python examples/": "test_examples.py runs it",
    "sam-jax demo": "serves until it is stopped; tests/demo starts it",
    "sam-jax (models|everything|batch|export)": "takes minutes; tests/cli, batch and export run it",
    "sam-jax (segment|track)( |$)": "a user's files or other weights; tests/cli runs it",
}


class Read(Exception):
    """The program has understood its arguments."""


@pytest.fixture
def stop_when_read(monkeypatch):
    """Programs end by `Read` once they have read their arguments."""
    cli = tyro.cli

    def read(*args, **kwargs):
        cli(*args, **kwargs)  # ends the program if there is anything that it does not know
        raise Read

    monkeypatch.setattr(tyro, "cli", read)


def innermost(line: str) -> str:
    """The command that machines of a cluster run."""
    if line.startswith("gcloud"):
        return shlex.split(line)[-1].partition("&& ")[2]
    return line[line.index("python") :] if line.startswith("srun") else line


def run_python(words: list[str], monkeypatch) -> None:
    """Python's own command line: a module or a file, and its arguments."""
    if words[0] == "-m":
        module, arguments = words[1], words[2:]
        if not arguments:  # named, not called
            assert importlib.util.find_spec(module), f"there is no module {module}"
            return
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    monkeypatch.setattr(ArgumentParser, "parse_args", argparse_read(ArgumentParser.parse_args))
    monkeypatch.setattr(sys, "argv", [str(REPO / words[0]), *words[1:]])
    runpy.run_path(str(REPO / words[0]), run_name="__main__")


def argparse_read(parse_args):
    def read(parser, *args, **kwargs):
        parse_args(parser, *args, **kwargs)
        raise Read

    return read


def check_pip(words: list[str]) -> None:
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        assert extra in extras, f"there is no extra {extra}"


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert words[0] in targets, f"make has no target {words[0]}"


@pytest.mark.parametrize("command", ALL, ids=str)
@pytest.mark.usefixtures("stop_when_read")
def test_a_program_understands(command: Command, monkeypatch, capsys) -> None:
    for line in innermost(command.line).split(" && "):
        program, *words = [MEANT.get(word, word) for word in shlex.split(line)]
        if program == "make":
            check_make(words)
        elif program == "pip":
            check_pip(words)
        else:
            try:
                if program == "sam-jax":
                    from sam_jax.cli import _run

                    _run(words if len(words) > 1 else [*words, "--help"])
                else:
                    assert program.endswith("python"), f"who reads {line!r}?"
                    run_python(words, monkeypatch)
            except Read:
                pass
            except SystemExit as ended:  # of --help, and of a wrong word
                usage = len(words) == 2 and words[0] == "-m"  # python -m train: lists recipes
                assert not ended.code or usage, capsys.readouterr()
    capsys.readouterr()


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_is_run_or_there_is_a_reason(command: Command) -> None:
    assert command.line in RUN or any(re.match(start, command.line) for start in NOT_RUN)


def test_the_check_can_fail(stop_when_read, monkeypatch, capsys) -> None:
    for words in (
        ["-m", "train", "own_images", "--stepps", "3"],
        ["-m", "convert", "a.pt", "b.pt", "--too", "official"],
        ["examples/camera_loop.py", "0", "--boks", "1,2,3,4"],
    ):
        with pytest.raises(SystemExit) as ended:
            run_python(words, monkeypatch)
        assert ended.value.code == 2
    with pytest.raises(AssertionError, match=r"no module train\.bild"):
        run_python(["-m", "train.bild"], monkeypatch)
    with pytest.raises(AssertionError, match="no extra plott"):
        check_pip(["install", "sam_jax[plott]"])
    with pytest.raises(AssertionError, match="no target documentation"):
        check_make(["documentation"])


@pytest.mark.parametrize("line", RUN)
def test_run(line: str, tmp_path, monkeypatch, capsys) -> None:
    from PIL import Image

    from sam_jax.cli import main

    assert line in [command.line for command in ALL], "no page has this command any more"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_JAX_CACHE", "off")
    (tmp_path / "docs").symlink_to(REPO / "docs")
    with Image.open(REPO / "docs" / "media" / "coffee.jpg") as photo:
        photo.resize((750, 500)).save("photo.jpg")
    for old, new in RUN[line].items():
        assert old in line
        line = line.replace(old, new)
    assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    if "--output" in line:
        assert Path(line.partition("--output ")[2].split()[0]).exists()
