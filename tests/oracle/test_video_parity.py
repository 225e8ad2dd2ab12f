"""The tracker, scenario by scenario, against the official SAM2VideoPredictor; and the comparison
itself, which must see what is wrong.

Every scenario at nano size; at full size a click and four tracked frames.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_jax.presets import SAM2_1_HIERA_NANO, SAM2_1_HIERA_TINY

pytestmark = pytest.mark.oracle
# Not from convert.video_scenarios: tests are collected where the oracle is not installed.
NAMES = [
    *("1 click", "1 click, raw", "box, then clicks", "box, then clicks, raw", "box with click"),
    *("masks", "masks, raw", "3 objects", "correction lost", "correction kept"),
    *("correction kept, raw", "reverse", "reverse, kept", "22 prompts", "5 frames", "absence"),
    *("2.0", "2.0, 3 objects", "non-overlap", "3 of 6 prompts", "stride 2", "edits"),
]
Clip = Callable[[int], np.ndarray]


def _assert_accepted(errors: list[Any], stages: set[str]) -> None:
    assert {error.stage for error in errors} == stages
    wrong = [str(error) for error in errors if not error.accepted]
    assert not wrong, "\n".join(wrong[:20])


def test_every_scenario_is_tested(official) -> None:
    from convert.video_scenarios import SCENARIOS

    assert list(SCENARIOS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nano_equals_the_official_predictor(official, clip: Clip, name: str) -> None:
    from convert import verify_video
    from convert.video_compare import LIMITS
    from convert.video_scenarios import SCENARIOS

    scenario = SCENARIOS[name]
    pair = verify_video.random_pair(SAM2_1_HIERA_NANO, scenario)
    errors = list(verify_video.verify(pair, scenario, clip(scenario.frames)))
    _assert_accepted(errors, set(LIMITS))


def test_tiny_equals_the_official_predictor(official, clip: Clip) -> None:
    """At 1024 pixels, with released widths."""
    from convert import verify_video
    from convert.video_compare import LIMITS
    from convert.video_scenarios import SHORT

    pair = verify_video.random_pair(SAM2_1_HIERA_TINY, SHORT)
    errors = list(verify_video.verify(pair, SHORT, clip(SHORT.frames)))
    assert sum(error.stage == "mask logits" for error in errors) == 5
    _assert_accepted(errors, set(LIMITS))


def _official_pair(scenario: Any, frames: np.ndarray) -> list[Any]:
    """Two sessions of two official predictors with the same weights."""
    from convert import official_video, video_compare
    from convert.verify_video import live_weights

    config = scenario.config(SAM2_1_HIERA_NANO)
    live = live_weights(config)
    return [
        video_compare.their_side(
            official_video.video_predictor(config, live=live, **scenario.arguments), frames
        )
        for _ in range(2)
    ]


def test_two_official_runs_are_equal(official, clip: Clip) -> None:
    from convert.video_compare import compare
    from convert.video_scenarios import SCENARIOS

    scenario = SCENARIOS["3 objects"]
    errors = list(compare(scenario, *_official_pair(scenario, clip(scenario.frames))))
    assert len(errors) > 200
    assert all(error.value == 0 for error in errors)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("maskmem_tpos_enc", "mask logits"),
        ("obj_ptr_tpos_proj.weight", "mask logits"),
        ("no_obj_ptr", "pointer"),
        ("no_obj_embed_spatial", "mean memory"),
        ("memory_attention.layers.1.cross_attn_image.v_proj.weight", "mask logits"),
        ("memory_encoder.fuser.layers.0.gamma", "mean memory"),
    ],
)
def test_the_comparison_sees_a_wrong_weight(official, clip: Clip, name: str, stage: str) -> None:
    """What only the memory uses; most of it first acts on the second tracked frame."""
    import torch

    from convert.video_compare import compare
    from convert.video_scenarios import SCENARIOS

    scenario = SCENARIOS["1 click"]
    wrong, right = _official_pair(scenario, clip(scenario.frames))
    parameter = dict(wrong.predictor.named_parameters())[name]
    with torch.no_grad():
        parameter.copy_(parameter.roll(1, 0) if name == "maskmem_tpos_enc" else 0.7 * parameter)
    errors = [error for error in compare(scenario, wrong, right) if not error.accepted]
    assert stage in {error.stage for error in errors}
    assert not any("frame 0" in e.case for e in errors if e.stage in ("pixels", "mask logits"))


def test_the_comparison_sees_a_wrong_pointer_divisor(official, clip: Clip) -> None:
    """The age of a pointer is divided by the length of a short clip."""
    from convert.video_compare import compare
    from convert.video_scenarios import SHORT

    wrong, right = _official_pair(SHORT, clip(SHORT.frames))
    wrong.state["num_frames"] = 6
    errors = [error for error in compare(SHORT, wrong, right) if not error.accepted]
    assert {error.stage for error in errors} >= {"mask logits", "pointer"}


def test_other_questions_are_not_compared(official, clip: Clip) -> None:
    from convert.video_compare import Disagreement, compare, compare_memories
    from convert.video_scenarios import SCENARIOS

    scenario = SCENARIOS["5 frames"]
    one, other = _official_pair(scenario, clip(scenario.frames))
    list(compare(scenario, one, other))
    memories = one.memories(one.state)
    del memories[1, 3]
    with pytest.raises(Disagreement, match=r"\(1, 3\)"):
        list(compare_memories(memories, other.memories(other.state)))
    other.state["num_frames"] = 4
    with pytest.raises(Disagreement, match="one side ended"):
        list(compare(scenario, one, other))


def test_nan_is_not_accepted(official) -> None:
    from convert.video_compare import Error, worst

    nan, good = Error("pixels", "a", float("nan")), Error("pixels", "b", 0.0)
    assert not nan.accepted
    assert worst([good, nan])["pixels"] is nan and worst([nan, good])["pixels"] is nan


def test_the_command(official, media: Path, capsys) -> None:
    """With the trained weights of the project, and with random ones."""
    from convert import verify_video

    video = ["--video", str(media / "bedroom.mp4"), "--scenarios", "5 frames", "--markdown"]
    assert verify_video.main(["sam2.1-hiera-nano", *video]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### sam2.1-hiera-nano, bedroom.mp4")
    assert "| scenario | pixels | " in printed and "\n| 5 frames | " in printed
    assert verify_video.main(["--random", "sam2.1-hiera-nano", *video[:-1]]) == 0
    assert "limit" in capsys.readouterr().out


def test_the_command_refuses(official, media: Path, capsys) -> None:
    from convert import verify_video

    video, nano = ["--video", str(media / "bedroom.mp4")], ["--random", "sam2.1-hiera-nano"]
    for arguments, message in (
        (video, "give a checkpoint, or --random MODEL"),
        ([*video, "--random", "sam2.1-hiera-tinny"], "Did you mean 'sam2.1-hiera-tiny'?"),
        ([*video, "--random", "sam-vit-base"], "does not track"),
        ([*video, *nano, "--scenarios", "2 clicks"], "no scenario '2 clicks'; there are: 1 click;"),
        (["--video", "no.mp4", *nano], "no.mp4"),
    ):
        assert verify_video.main(arguments) == 2
        assert message in capsys.readouterr().err
