"""Programs for TPUs: what `python -m benchmarks.tpu` says of them, and that they still compile."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import tpu
from benchmarks.chips import CHIPS
from benchmarks.tpu_programs import Program, track, train
from sam_jax.models import abstract_params, build
from sam_jax.presets import preset
from sam_jax.sharding import make_mesh

CHIP = CHIPS["v5e"]
GB = 2**30


@pytest.fixture(scope="module")
def mesh():
    """Four chips, for the compiler."""
    pytest.importorskip("libtpu")
    return make_mesh(tpu.tpu_devices("v5e:2x2"))


@pytest.mark.tpu
def test_tracking_compiles_and_chips_do_not_talk(mesh):
    found = tpu.compile_for(mesh, CHIP, track(mesh, "sam2.1-hiera-nano", objects=2))
    assert not found.cost.collectives and not found.cost.unknown_loops
    assert found.bytes < GB and 0 < found.cost.seconds < 0.1


@pytest.mark.tpu
def test_a_training_step_compiles_and_chips_exchange_gradients_only(mesh):
    """As the recipe for clips has it, with few frames and corrections: each costs the compiler."""

    def smaller(recipe):
        prompts = replace(recipe.videos.prompts, corrections=1)
        return replace(recipe, videos=replace(recipe.videos, frames=2, prompts=prompts))

    program = train(mesh, "sam2.1-hiera-nano", batch=1, changes=smaller)
    found = tpu.compile_for(mesh, CHIP, program)
    shapes = jax.tree.leaves(abstract_params(build(preset("sam2.1-hiera-nano"))))
    parameters = sum(4 * x.size for x in shapes)
    exchanged = sum(c.bytes * often for c, often in found.cost.collectives.items())
    assert {c.kind for c in found.cost.collectives} == {"all-reduce"}
    # Once each, and a third more in parts that were not looked into; pictures would be far more.
    assert parameters <= exchanged < 1.5 * parameters
    assert found.bytes < GB


@pytest.mark.tpu
def test_programs_are_not_taken_from_a_cache(mesh):
    """jax would keep programs for chips that are not there, and could not load them."""
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    same = NamedSharding(mesh, P())
    try:
        for _ in range(2):
            jax.clear_caches()
            sine = jax.jit(jnp.sin, in_shardings=same, out_shardings=same)
            small = jax.ShapeDtypeStruct((8, 128), jnp.float32)
            program = Program("sine", (1, "sines"), sine.trace(small))
            assert tpu.compile_for(mesh, CHIP, program).bytes > 0
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


@pytest.mark.tpu
def test_what_does_not_fit_is_refused(mesh):
    same = NamedSharding(mesh, P())
    large = jax.ShapeDtypeStruct((1024, 1024, 8192), jnp.float32)  # 32 GB
    sine = jax.jit(jnp.sin, in_shardings=same, out_shardings=same)
    with pytest.raises(tpu.TooLarge, match=r"sine: does not fit.*15\.75G"):
        tpu.compile_for(mesh, CHIP, Program("sine", (1, "sines"), sine.trace(large)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("v5e:0x1", "sides are at least 1"),
        ("v5e:1x1 --what encode --batch 0", "--batch must be at least 1, got 0"),
        ("v5e:1x1 --what track --batch 2", "--batch is for --what train or encode"),
        ("v5e:1x1 --what encode --objects 3", "--objects is for --what track"),
        ("v5e:1x1 --what track --objects 1 0", "--objects must be at least 1, got"),
        ("v5e:1x1 --what track --objects", "--objects must be at least 1, got"),
        ("v5e:1x1 --what encode --remat none", "--remat is for --what train"),
        ("v5e:1x1 --markdown /gone/x.md", "--markdown /gone/x.md: there is no such folder"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_compiling(words, message, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tpu", "--topology", *words.split()])
    with pytest.raises(SystemExit, match=message):
        tpu.main()


def test_other_chips_and_no_compiler_are_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tpu", "--topology", "v3:2x2"])
    with pytest.raises(SystemExit, match="v5e, v5p, v6e"):
        tpu.main()

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tpu, "version", missing)
    with pytest.raises(ValueError, match="make tpu"):
        tpu.tpu_devices("v5e:2x2")


@pytest.mark.parametrize("most", [1, 2, 7, 30])
def test_the_largest_batch_is_found_with_few_programs(most):
    tried = []

    def report(batch):
        tried.append(batch)
        if batch > most:
            raise tpu.TooLarge(f"{batch}")
        fixed, each = 2 * GB, (CHIP.memory - 2.3 * GB) / most
        memory = SimpleNamespace(temp_size_in_bytes=batch * each)
        text = SimpleNamespace(text=str(batch))
        return SimpleNamespace(memory=memory, bytes=fixed + batch * each, program=text)

    found = tpu.largest(report, CHIP, lambda _: None)
    assert found.program.text == str(most)
    assert len(tried) <= 5


def test_one_that_is_too_large_alone_is_refused():
    def report(batch):
        raise tpu.TooLarge("1")

    with pytest.raises(tpu.TooLarge):
        tpu.largest(report, CHIP, lambda _: None)
