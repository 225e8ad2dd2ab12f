"""Every scenario reaches what it is for: the official predictor takes these branches, and not by a
hair. What is compared in test_video_parity would otherwise be less than it seems."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sam_jax.presets import SAM2_1_HIERA_NANO

pytestmark = pytest.mark.oracle


@dataclasses.dataclass(frozen=True)
class Played:
    """What happened in a scenario.

    Attributes:
      predictor: the official one.
      steps: what was done, frame, object ids, thresholded masks [n H W] and logits [n] at a pixel.
      calls: runs of the mask decoder.
      memories: what is stored at the end.
    """

    predictor: Any
    steps: list[tuple[str, int, list[Any], np.ndarray]]
    calls: list[Any]
    memories: dict[Any, Any]

    def masks(self, label: str) -> dict[int, np.ndarray]:
        """Of the first object, by frame."""
        return {frame: masks[0] for said, frame, _, masks in self.steps if said == label}


@pytest.fixture(scope="module")
def play(official, clip: Callable[[int], np.ndarray]) -> Callable[..., Played]:
    """`play(name, **options)`: a scenario, officially, perhaps with other options."""
    from convert import official_video
    from convert.verify_video import live_weights
    from convert.video_compare import their_side
    from convert.video_scenarios import SCENARIOS

    known: dict[Any, Played] = {}

    def run(name: str, **options: Any) -> Played:
        key = (name, *sorted(options.items()))
        if key not in known:
            scenario = SCENARIOS[name]
            config = scenario.config(SAM2_1_HIERA_NANO)
            predictor = official_video.video_predictor(
                config, live=live_weights(config), **{**scenario.arguments, **options}
            )
            side = their_side(predictor, clip(scenario.frames))
            with official_video.on_cpu(), official_video.listen(predictor) as calls:
                steps = [
                    (label, frame, list(ids), np.asarray(masks)[:, 0] > 0)
                    for label, frame, ids, masks in scenario.run(predictor, side.state)
                ]
            known[key] = Played(predictor, steps, calls, side.memories(side.state))
        return known[key]

    return run


def test_no_choice_is_near_its_boundary(official, play) -> None:
    """Noise moves an object's score by up to 1e-3 and an IoU by 1e-4: see the parity table."""
    from convert.video_scenarios import SCENARIOS

    for name in SCENARIOS:
        for call in play(name).calls:
            where = f"{name}: {call}"
            assert abs(call.object_logit) > 1e-2, where
            assert call.stability is None or abs(call.stability - 0.98) > 2e-3, where
            if len(call.iou) > 1:
                *_, second, best = sorted(call.iou)
                assert best - second > 5e-4, where


def test_objects_come_and_go(official, play) -> None:
    for name in ("1 click", "absence", "2.0", "3 objects"):
        played = play(name)
        present = np.array([call.object_logit > 0 for call in played.calls])
        assert 0.1 < present.mean() < 0.95, name
        assert np.sum(present[1:] != present[:-1]) >= 4, name
    forward = play("absence").masks("forward")
    seen = [forward[frame].any() for frame in sorted(forward)]
    lost = seen.index(False)
    assert any(seen[:lost]) and any(seen[lost:])  # absent, and back again
    memories = play("absence").memories
    gone = [memory for memory in memories.values() if memory.object_logit <= 0]
    assert gone and all((memory.logits == -1024).all() for memory in gone)
    pointer = play("absence").predictor.no_obj_ptr[0].numpy()
    assert all(np.array_equal(memory.pointer, pointer) for memory in gone)


def test_the_best_of_three_masks_changes(official, play) -> None:
    for name in ("1 click", "absence", "2.0", "3 objects"):
        best = [call.iou.argmax() for call in play(name).calls if len(call.iou) == 3]
        assert np.bincount(best, minlength=3).min() >= 2, name


def test_single_masks_are_stable_or_not(official, play) -> None:
    played = [play(name) for name in ("box, then clicks", "box with click", "non-overlap")]
    stable = [c.stability >= 0.98 for p in played for c in p.calls if c.stability is not None]
    assert True in stable and False in stable
    raw = play("box, then clicks, raw").calls
    assert [call.points for call in raw[:4]] == [2, 3, 4, 0]
    assert all(len(call.iou) == 1 and call.stability is None for call in raw[:3])


def test_holes_are_filled(official, play) -> None:
    """With 0.1, and only where that is switched on."""
    for name, filled in (("1 click", True), ("1 click, raw", False)):
        memories = play(name).memories.values()
        assert any((memory.logits == np.float32(0.1)).any() for memory in memories) == filled


def test_binarising_changes_the_memory_of_a_prompted_frame(official, play) -> None:
    soft = play("1 click", binarize_mask_from_pts_for_mem_enc=False).memories[1, 0]
    hard = play("1 click").memories[1, 0]
    assert np.array_equal(soft.logits, hard.logits)
    assert np.abs(soft.features - hard.features).mean() > 1e-2 * np.abs(hard.features).max()


def test_an_empty_mask_is_an_absent_object(official, play) -> None:
    for name in ("masks", "masks, raw"):
        memories = play(name).memories
        assert memories["nobody", 0].object_logit == -10 and memories["boy", 0].object_logit == 10
        assert len({obj for obj, _ in memories}) == 3


def test_an_object_is_tracked_before_its_prompt(official, play) -> None:
    """Where it has no pointer, and pure float32 fails but for the cast of `official_video`."""
    import torch

    played = play("3 objects")
    frames = sorted(frame for label, frame, ids, _ in played.steps if label == "propagate")
    assert frames == list(range(13))
    assert any(ids == [1, 2, 30] for *_, ids, _ in played.steps)
    assert played.steps[-1][2] == [1, 30]
    assert (30, 2) in played.memories and (2, 4) not in played.memories

    played.predictor.memory_attention._forward_pre_hooks.clear()
    with pytest.raises(RuntimeError, match=r"same dtype|BFloat16"), torch.inference_mode():
        played.predictor.memory_attention(
            curr=[torch.zeros(256, 1, 128)],
            curr_pos=[torch.zeros(256, 1, 128)],
            memory=torch.zeros(256, 1, 32, dtype=torch.bfloat16),
            memory_pos=torch.zeros(256, 1, 32),
            num_obj_ptr_tokens=0,
        )


def test_a_correction_is_lost_or_kept(official, play) -> None:
    lost, kept = play("correction lost"), play("correction kept")
    before, corrected = lost.masks("propagate")[6], lost.masks("prompt 1")[6]
    assert np.mean(before != corrected) > 1e-3
    assert np.array_equal(lost.masks("again")[6], before)
    assert not lost.memories[1, 6].prompted and kept.memories[1, 6].prompted
    assert np.array_equal(kept.masks("again")[6], kept.masks("prompt 1")[6])
    after = kept.masks("again")
    assert any(np.mean(after[f] != lost.masks("again")[f]) > 1e-3 for f in (7, 8, 9))


def test_reverse_visits_frames_backwards(official, play) -> None:
    played = play("reverse, kept")
    back = [frame for label, frame, *_ in played.steps if label == "back"]
    assert back == [7, 6, 5, 4, 3, 2, 1, 0]
    again = [frame for label, frame, *_ in played.steps if label == "back again"]
    assert again == [9, 8, 7, 6, 5, 4]
    assert played.memories[1, 3].prompted


def test_more_prompts_than_a_bank_has_by_default(official, play) -> None:
    prompted = [memory.prompted for memory in play("22 prompts").memories.values()]
    assert len(prompted) == 26 and sum(prompted) == 22


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("3 of 6 prompts", {"max_cond_frames_in_attn": -1}),
        ("stride 2", {"memory_temporal_stride_for_eval": 1}),
        ("correction kept", {"add_all_frames_to_correct_as_cond": False}),
    ],
)
def test_the_option_matters(official, play, name: str, options: dict[str, Any]) -> None:
    masks = [np.stack([m[0] for *_, m in p.steps]) for p in (play(name), play(name, **options))]
    different = np.mean(masks[0] != masks[1], axis=(1, 2))
    assert np.sum(different > 1e-3) >= 3


def test_masks_overlap_unless_forbidden(official, play) -> None:
    free, exclusive = play("non-overlap", non_overlap_masks=False), play("non-overlap")
    assert max(masks.sum(0).max() for *_, masks in free.steps) > 1
    assert max(masks.sum(0).max() for *_, masks in exclusive.steps) == 1


def test_prompts_are_taken_back(official, play) -> None:
    played = play("edits")
    assert not played.steps[3][3][1].any()  # object 2 has nothing left on frame 0
    assert {obj for obj, _ in played.memories} == {"new"}
    assert sorted(frame for _, frame in played.memories) == [8, 9, 10, 11, 12]


def test_frames_are_prepared_as_the_official_loader_does(official, clip, tmp_path) -> None:
    """Through lossless pictures that only pretend to be JPEG files."""
    import torch
    from PIL import Image
    from sam2.utils.misc import load_video_frames

    from convert import official_video

    frames = clip(2)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{i}.jpg", format="PNG")
    images, height, width = load_video_frames(
        str(tmp_path), 256, offload_video_to_cpu=True, compute_device=torch.device("cpu")
    )
    assert (height, width) == (540, 960)
    assert torch.equal(official_video.preprocessed(frames, 256), images)


def test_bad_frames(official) -> None:
    from convert import official_video

    for frames in (np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"frames must be uint8 \[t h w 3\], got"):
            official_video.init_state(None, frames)


def test_connected_components(official) -> None:
    """Corners connect; areas are of the component a pixel is in."""
    import torch

    from convert import official_video

    mask = torch.tensor([[[[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]]]).bool()
    labels, areas = official_video._connected_components(mask)
    assert areas[0, 0].tolist() == [[2, 0, 0, 2], [0, 2, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert ((labels > 0) == mask).all() and len(labels.unique()) == 4


def test_a_video_that_is_too_short(official, media) -> None:
    from convert.video_scenarios import read_clip

    with pytest.raises(ValueError, match=r"has 2 frames at a step of 100; 3 are needed"):
        read_clip(media / "bedroom.mp4", 3, every=100)
