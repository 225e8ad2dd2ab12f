import jax
import pytest

from sam_jax.ops.formulation import for_cpu, for_tpu, tracing_for


def test_what_is_traced_for_an_absent_platform(monkeypatch) -> None:
    assert for_cpu() == (jax.default_backend() == "cpu")
    with tracing_for("tpu"):
        assert for_tpu() and not for_cpu()
        with tracing_for("cpu"):
            assert for_cpu()
        assert not for_cpu()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not for_cpu() and not for_tpu()
    with pytest.raises(KeyError), tracing_for("cpu"):
        raise KeyError
    assert not for_cpu()
