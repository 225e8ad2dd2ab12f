from pathlib import Path

import jax
import pytest

from sam_jax.cli import main, segment
from sam_jax.cli.compilation_cache import cache_folder, enable_compilation_cache


@pytest.fixture
def updates(monkeypatch) -> dict:
    """What is written into jax's configuration, which stays as it is."""
    written = {}
    monkeypatch.setattr(jax.config, "update", written.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return written


def test_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("SAM_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/sam_jax/xla")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/sam_jax/xla"
    monkeypatch.setenv("SAM_JAX_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    for off in ("off", "0", ""):
        monkeypatch.setenv("SAM_JAX_CACHE", off)
        assert cache_folder() is None


def test_every_program_is_kept(updates, monkeypatch):
    monkeypatch.setenv("SAM_JAX_CACHE", "/elsewhere")
    enable_compilation_cache()
    assert updates == {
        "jax_compilation_cache_dir": "/elsewhere",
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }


def test_off_and_jax_own_folder_are_respected(updates, monkeypatch):
    enable_compilation_cache()  # SAM_JAX_CACHE=off
    monkeypatch.setenv("SAM_JAX_CACHE", "/elsewhere")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/jax")
    enable_compilation_cache()
    assert updates == {}


def test_segment_turns_it_on_unless_told_otherwise(fake, monkeypatch):
    calls = []
    monkeypatch.setattr(segment, "enable_compilation_cache", lambda: calls.append(1))
    assert main(["segment", "a.png", "--point", "1,2", "--no-cache"]) == 0
    assert calls == []
    assert main(["segment", "a.png", "--point", "1,2"]) == 0
    assert calls == [1]
