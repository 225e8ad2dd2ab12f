import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sam_jax.cli import main
from sam_jax.presets import PRESETS

REPO = Path(__file__).resolve().parents[2]


def exit_code(*args: str) -> int:
    try:
        return main(args)
    except SystemExit as stop:  # the parser's way out
        return stop.code


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sam-jax {version('sam_jax')}\n"


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_lists_the_commands(args, capsys):
    assert exit_code(*args) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "segment Segment what clicks, boxes or a mask point at" in text
    assert "everything Find the masks of everything" in text
    assert "export Write programs that run without this package" in text
    assert "demo Click on pictures, videos and a camera" in text
    assert "models List the models" in text


def test_help_of_segment_explains_and_has_examples(capsys):
    assert exit_code("segment", "--help") == 0
    text = capsys.readouterr().out
    for part in (
        "sam-jax segment truck.jpg --point 500,375 --output out",
        "--point X,Y[,0|1]",
        "--box X0,Y0,X1,Y1",
        "describe ONE object",
        "default: sam2.1-hiera-nano",
        "SAM_JAX_CACHE",
    ):
        assert part in text


def test_typing_mistakes_get_a_suggestion(capsys):
    assert exit_code("segment", "a.png", "--pont", "1,2") == 2
    assert "--point" in capsys.readouterr().err
    assert exit_code("segmnt", "a.png") == 2
    assert "segment" in capsys.readouterr().err
    assert exit_code("segment", "a.png", "--point", "1,2", "--format", "gif") == 2
    assert "rle" in capsys.readouterr().err


@pytest.mark.parametrize("args", [("--points-per-side", "1.5"), ("--point-per-side", "1")])
def test_mistakes_name_the_help_of_the_command(args, capsys):
    assert exit_code("everything", "a.png", *args) == 2
    assert "sam-jax everything --help" in capsys.readouterr().err


def test_help_does_not_import_jax():
    """The package's own __init__ is left out here: what it imports is not this command's doing."""
    program = f"""
import sys, types
package = types.ModuleType("sam_jax")
package.__path__ = [{str(REPO / "sam_jax")!r}]
sys.modules["sam_jax"] = package
from sam_jax.cli import main
try:
    main(["segment", "--help"])
except SystemExit as stop:
    assert stop.code == 0
slow = {{"jax", "flax", "scipy", "av"}} & set(sys.modules)
assert not slow, slow
"""
    result = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_the_installed_command_reports_bad_input_in_one_line(tmp_path):
    command = Path(sys.executable).with_name("sam-jax")
    if not command.exists():
        pytest.skip("sam-jax is not installed beside this Python")
    result = subprocess.run(
        [command, "segment", "nowhere.jpg", "--point", "1,2"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert result.stderr == "sam-jax: error: no such file: nowhere.jpg\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_help_may_be_cut_off_by_its_reader(monkeypatch, capsys):
    def cut_off(*args, **kwargs):
        raise BrokenPipeError

    monkeypatch.setattr("tyro.cli", cut_off)
    with open(os.devnull, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["segment", "--help"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("moment", ["tyro.cli", "sam_jax.cli.models.run"])
def test_ctrl_c_ends_quietly(moment, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(moment, interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr() == ("", "")


def test_weights_missing_from_the_package_are_not_promised(monkeypatch, capsys):
    from sam_jax import presets
    from sam_jax.checkpoint import hub

    nano = "sam2.1-hiera-nano"
    monkeypatch.setattr(presets, "PRESETS", {nano: PRESETS[nano]})
    monkeypatch.setattr(hub, "located", lambda name: None)
    assert main(["models"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith("missing from this installation: install sam_jax again")


def test_models_lists_names_sizes_and_places(monkeypatch, capsys):
    from sam_jax import presets
    from sam_jax.checkpoint import hub

    chosen = ["sam2.1-hiera-nano", "sam2.1-hiera-tiny", "sam-vit-base"]
    monkeypatch.setattr(presets, "PRESETS", {name: PRESETS[name] for name in chosen})
    monkeypatch.setattr(
        hub, "located", lambda name: Path("/here/x.safetensors") if "nano" in name else None
    )
    assert main(["models"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["MODEL", "PARAMETERS", "INPUT", "WEIGHTS"]
    nano, tiny = (line.split(maxsplit=6) for line in lines[:2])
    assert nano == ["sam2.1-hiera-nano", "4.0", "M", "256", "x", "256", "/here/x.safetensors"]
    assert tiny[:6] == ["sam2.1-hiera-tiny", "39.0", "M", "1024", "x", "1024"]
    assert "facebook/sam2.1-hiera-tiny" in tiny[6]
    words = lines[2].split()
    assert words[:7] == ["sam-vit-base", "(sam-vit-b)", "93.7", "M", "1024", "x", "1024"]
