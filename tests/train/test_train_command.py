"""`python -m train`: what it says to words that it does not know."""

import subprocess
import sys
from pathlib import Path

import pytest

from train.__main__ import main
from train.processes import in_a_group

REPO = Path(__file__).resolve().parents[2]


def _say(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> tuple:
    monkeypatch.setattr(sys, "argv", ["train", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    caught = capsys.readouterr()
    return end.value.code, f"{caught.out}{caught.err}"


def test_help_lists_recipes_and_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code, said = _say("--help", monkeypatch, capsys)
    assert code == 0
    assert "python -m train debug" in said and "own_images " in said


@pytest.mark.parametrize("words", ["--help", "debug --help"])
def test_help_may_be_cut_off_by_its_reader(words: str) -> None:
    command = [sys.executable, "-m", "train", *words.split()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPO
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()  # before it has started
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("debgu", "did you mean debug"),
        ("debug --stesp 3", "steps"),
        ("debug --steps 0", "steps must be at least 1, got 0"),
        ("debug --images.batch -2", "images.batch must be at least 1, got -2"),
        ("debug --keep 0", "keep must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code, said = _say(words, monkeypatch, capsys)
    assert code not in (0, None)
    assert message in f"{code} {said}", (code, said)


@pytest.mark.parametrize(
    ("name", "value", "several"),
    [
        ("JAX_COORDINATOR_ADDRESS", "localhost:1234", True),
        ("SLURM_STEP_NUM_TASKS", "1", False),
        ("SLURM_STEP_NUM_TASKS", "2", True),
        ("TPU_WORKER_HOSTNAMES", "localhost", False),
        ("TPU_WORKER_HOSTNAMES", "a,b", True),
    ],
)
def test_one_of_several_processes_is_known_by_its_environment(
    name: str, value: str, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("JAX_COORDINATOR_ADDRESS", "SLURM_STEP_NUM_TASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    assert in_a_group() is several
