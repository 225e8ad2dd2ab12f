"""Protocols on tiny videos: what is shown to whom, what is scored, what is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sam_jax
from sam_jax import video
from sam_jax.predictors import editing, propagation
from sam_jax.predictors.image import ImagePredictor
from train.evaluate import protocols
from train.evaluate.clicks import click_picture
from train.evaluate.folders import read_mask, score_folders, write_frame
from train.evaluate.interactive import InteractiveOptions, interactive_predictor, interactive_video
from train.evaluate.tracking import NothingToTrack
from train.evaluate.vos import (
    Presence,
    VosOptions,
    shown_objects,
    track,
    vos_predictor,
    vos_video,
)


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Any]) -> Any:
    return small_tracker()


def test_clicks_are_scored_for_each_object(model: Any, two_boxes: Any) -> None:
    masks = [*two_boxes.masks(1).values()]
    predictor = ImagePredictor(model)
    ious = click_picture(predictor, two_boxes.image(1), masks)
    kinds = ["1 click", "1 click, best of three", "3 clicks", "5 clicks", "box"]
    assert [*ious] == kinds
    for values in ious.values():
        assert len(values) == 2 and all(0 <= value <= 1 for value in values)
    assert all(a <= b for a, b in zip(ious[kinds[0]], ious[kinds[1]], strict=True))


def test_first_click_is_the_predictor_s_answer_to_the_middle(model: Any, two_boxes: Any) -> None:
    predictor = ImagePredictor(model)
    ious = click_picture(predictor, two_boxes.image(0), [two_boxes.masks(0)[1]])
    # The box covers columns 10 to 39 and rows 10 to 33; the first of the deepest pixels.
    masks, scores, _ = predictor.predict([[21, 21]], [1])
    found, mask = masks[scores.argmax()] > 0, two_boxes.masks(0)[1]
    assert ious["1 click"] == [(found & mask).sum() / (found | mask).sum()]


def test_who_is_shown_when(two_boxes: Any) -> None:
    def frames(**options: Any) -> dict[int, list[int]]:
        return {i: [*masks] for i, masks in shown_objects(two_boxes, VosOptions(**options)).items()}

    assert frames() == {1: [0]}
    assert frames(track_appearing_later=True) == {1: [0], 2: [1]}
    assert frames(use_all_masks=True) == {1: [0, 1, 2, 3, 4], 2: [1, 2]}
    assert frames(track_appearing_later=True, objects=1) == {1: [0]}


def test_masks_cannot_be_given_as_clicks() -> None:
    with pytest.raises(ValueError, match="start is box, not mask"):
        VosOptions(start="box", use_all_masks=True)


@pytest.mark.parametrize("start", ["mask", "box", "1-click", "3-clicks"])
def test_vos_equals_the_predictor(model: Any, two_boxes: Any, start: Any) -> None:
    """What `vos` tracks, the public predictor without post-processing tracks."""
    options = VosOptions(start=start)
    predictor = vos_predictor(model, options)
    shown = shown_objects(two_boxes, options)
    found = [*track(predictor, two_boxes, shown, options)]
    assert [tracked.frame for tracked in found] == [0, 1, 2, 3, 4]

    by_hand = sam_jax.VideoPredictor(
        predictor.model, fill_hole_area=0, binarize_mask_from_pts_for_mem_enc=False
    )
    state = by_hand.init_state(np.stack([two_boxes.image(t) for t in range(5)]))
    mask = two_boxes.masks(0)[1]
    if start == "mask":
        by_hand.add_new_mask(state, 0, 1, mask)
    elif start == "box":
        by_hand.add_new_points_or_box(state, 0, 1, box=[10, 10, 39, 33])
    else:
        by_hand.add_new_points_or_box(state, 0, 1, [[21, 21]], [1])
    if start == "3-clicks":
        return  # the others depend on the answers
    for tracked, (_, _, logits) in zip(found, by_hand.propagate_in_video(state), strict=True):
        assert np.array_equal(tracked.masks[1], logits[0, 0] > 0)


def test_without_postprocessing_there_is_no_stability_fallback(model: Any) -> None:
    assert model.config.decoder.stability_fallback
    assert not vos_predictor(model, VosOptions()).model.config.decoder.stability_fallback
    kept = vos_predictor(model, VosOptions(postprocess=True)).model
    assert kept.config.decoder.stability_fallback


def write_truth(video: Any, folder: Path, layout: Any) -> None:
    numbers = {i for t in range(len(video)) for i in video.masks(t)}
    for t in range(len(video)):
        empty = dict.fromkeys(sorted(numbers), np.zeros((video.height, video.width), bool))
        masks = empty | dict(video.masks(t))
        write_frame(folder / video.name, video.frame_name(t), masks, layout=layout)


@pytest.mark.parametrize("per_object_png", [False, True])
def test_written_predictions_score_as_in_memory(
    model: Any, two_boxes: Any, tmp_path: Path, per_object_png: bool
) -> None:
    options = VosOptions(track_appearing_later=True, per_object_png=per_object_png)
    predictor = vos_predictor(model, options)
    result = vos_video(predictor, two_boxes, options, tmp_path / "found")
    write_truth(two_boxes, tmp_path / "truth", "sav" if per_object_png else "davis")
    assert score_folders(tmp_path / "truth", tmp_path / "found")["two"] == result.scores
    assert result.scores.keys() == {1, 2}
    # Frame 0 shows object 1, frame 1 object 2; the rest of the frames tell who is there.
    counts = result.presence
    assert (counts.present, counts.absent) == (4 + 1, 0 + 2)


def test_objects_that_appear_later_are_absent_before(model: Any, two_boxes: Any) -> None:
    options = VosOptions(track_appearing_later=True, per_object_png=True)
    shown = shown_objects(two_boxes, options)
    first = next(iter(track(vos_predictor(model, options), two_boxes, shown, options)))
    assert first.masks[1].any() and not first.masks[2].any()


def test_every_object_gets_a_picture_where_each_has_its_own(
    model: Any, two_boxes: Any, tmp_path: Path
) -> None:
    """Object 2 is not on the first frame, hence not tracked, and so predicted to be absent."""
    options = VosOptions(per_object_png=True)
    scores = vos_video(vos_predictor(model, options), two_boxes, options, tmp_path).scores
    assert (scores[2].j, scores[2].f) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert not read_mask(tmp_path / "two" / "002" / "00001.png").any()


def test_a_video_without_objects_is_skipped_and_named(
    model: Any, boxes: Callable[..., Any], two_boxes: Any
) -> None:
    empty = boxes("empty", [{}, {1: (5, 5, 20, 20)}, {}])
    with pytest.raises(NothingToTrack, match=r"empty shows no object.*--track-appearing-later"):
        vos_video(vos_predictor(model, VosOptions()), empty, VosOptions())
    results = protocols.run_vos(model, [empty, two_boxes], VosOptions())
    assert len(results.skipped) == 1 and "empty shows no object" in results.skipped[0]
    assert {row["video"] for row in results.objects} == {"two"}


def test_presence_is_counted_by_kind() -> None:
    counts = Presence(8, 6, 2, 2) + Presence(2, 2, 0, 0)
    assert counts.shares() == {
        "object score right": 10 / 12,
        "present objects found present": 0.8,
        "absent objects found absent": 1.0,
    }
    assert Presence().shares() == {}


def test_frames_without_annotation_are_tracked_and_not_scored(
    model: Any, boxes: Callable[..., Any]
) -> None:
    places = [{1: (10 + 3 * t, 10, 30, 24)} for t in range(7)]
    sparse = boxes("sparse", [place if t % 2 == 0 else None for t, place in enumerate(places)])
    result = vos_video(vos_predictor(model, VosOptions()), sparse, VosOptions())
    assert result.presence.present == 3
    assert result.scores.keys() == {1}


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_first_interactive_round_equals_vos_from_clicks(
    model: Any, two_boxes: Any, mode: Any
) -> None:
    options = InteractiveOptions(mode=mode, rounds=3)
    rounds = interactive_video(interactive_predictor(model, options), two_boxes, options)
    vos = VosOptions(start="3-clicks", per_object_png=True, track_appearing_later=True)
    scores = vos_video(vos_predictor(model, vos), two_boxes, vos).scores
    assert {i: found[0] for i, found in rounds.items()} == scores
    assert all(len(found) == 3 for found in rounds.values())


class Recorder:
    """A predictor that always answers what it is told, and notes the calls."""

    def __init__(self, answers: dict[int, np.ndarray]) -> None:
        self.answers, self.calls = answers, []

    def init_state(self, reader: Any) -> None:
        return None

    def add_new_points_or_box(self, session: Any, t: int, number: int, **prompt: Any) -> Any:
        self.calls.append((t, prompt["clear_old_points"]))
        return t, [number], np.where(self.answers[t], 1.0, -1.0)[None, None]

    def propagate_in_video(self, session: Any, start_frame_idx: int) -> Any:
        self.calls.append(("from", start_frame_idx))
        for t in range(start_frame_idx, len(self.answers)):
            yield t, [1], np.where(self.answers[t], 1.0, -1.0)[None, None]


@pytest.fixture
def clumsy(boxes: Callable[..., Any]) -> tuple[Recorder, Any]:
    """A box that stays, found well on frames 0 and 3, a bit worse on 2 and badly on 1 and 4."""
    video = boxes("still", [{1: (10, 10, 20, 20)}] * 5)
    heights = (20, 10, 18, 20, 6)
    answers = {}
    for t, height in enumerate(heights):
        answers[t] = np.zeros((72, 96), bool)
        answers[t][10 : 10 + height, 10:30] = True
    return Recorder(answers), video


def test_offline_corrects_the_worst_frame_and_tracks_all_again(clumsy: Any) -> None:
    recorder, video = clumsy
    options = InteractiveOptions(mode="offline", rounds=8, clicks=2)
    scores = interactive_video(recorder, video, options)[1]
    # Frame 0 is right after one click. The worst is frame 4, then 1, then 2; the rest is right.
    clicks = [(0, True), ("from", 0)]
    for t in (4, 1, 2):
        clicks += [(t, True), (t, False), ("from", 0)]
    assert recorder.calls == clicks
    assert len(scores) == 8


def test_online_corrects_the_next_bad_frame_and_goes_on_from_it(clumsy: Any) -> None:
    recorder, video = clumsy
    options = InteractiveOptions(mode="online", rounds=8, clicks=1)
    interactive_video(recorder, video, options)
    assert recorder.calls == [
        *[(0, True), ("from", 0)],
        *[(1, True), ("from", 1)],
        *[(4, True), ("from", 4)],
    ]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"clicks": 0}, {"threshold": 75}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=f"{next(iter(wrong))} .* got {next(iter(wrong.values()))}"
    ):
        InteractiveOptions(**wrong)


def test_videos_compile_nothing_after_the_first(model: Any, boxes: Callable[..., Any]) -> None:
    videos = [boxes(str(k), [{1: (k + 3 * t, 9, 30, 24)} for t in range(3 + k)]) for k in range(3)]
    parts = (video.jit_encode, propagation._step, editing.answer_mask, editing.remember)

    def compiled() -> list[int]:
        return [part._cache_size() for part in parts]

    protocols.run_vos(model, videos[:1], VosOptions())
    before = compiled()
    protocols.run_vos(model, videos[1:], VosOptions())
    assert compiled() == before and all(before)
