"""The help of what runs as `python -m`."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "usage"),
    [
        ("benchmarks.__main__", "usage: python -m benchmarks [-h]"),
        ("benchmarks.batch", "usage: python -m benchmarks.batch [-h]"),
        ("benchmarks.train", "usage: python -m benchmarks.train [-h]"),
        ("benchmarks.demo", "usage: python -m benchmarks.demo [-h]"),
        ("convert.verify", "usage: python -m convert.verify [-h] CHECKPOINT"),
    ],
)
def test_help_is_readable(module, usage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{module}.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(module).main()
    text = capsys.readouterr().out
    assert text.startswith(usage)
    if module == "convert.verify":
        assert "(default: docs/media/coffee.jpg)" in text
        assert "None" not in text
