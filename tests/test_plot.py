import builtins

import numpy as np
import pytest

from sam_jax.io.overlay import COLORS, FOREGROUND_COLOR

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from sam_jax import plot  # noqa: E402

GREY = np.full((60, 80, 3), 100, np.uint8)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_masks_keep_the_colour_of_their_number():
    both = np.stack([square(5, 5, 25, 25), square(40, 20, 70, 50)])
    together = plot.show_masks(GREY, both, ids=[1, 2]).images[0].get_array()
    alone = plot.show_masks(GREY, both[1:], ids=[2]).images[0].get_array()
    np.testing.assert_array_equal(alone[35, 55], together[35, 55])
    first = plot.show_masks(GREY, both[1:], ids=[1]).images[0].get_array()
    assert (first[35, 55] != alone[35, 55]).any()
    numbers = plot.show_masks(GREY, both[::-1], ids=np.array([2, 1]))  # of numpy, too
    np.testing.assert_array_equal(numbers.images[0].get_array(), together)
    assert [text.get_text() for text in numbers.texts] == ["2", "1"]


def test_masks_are_labelled_where_they_are():
    ax = plot.show_masks(GREY, square(40, 20, 70, 50)[None], ids=["cup"])
    (text,) = ax.texts
    assert text.get_text() == "cup"
    x, y = text.get_position()
    assert 54 <= x <= 55 and 34 <= y <= 35


def test_the_label_of_a_mask_in_pieces_is_on_one_of_them():
    ax = plot.show_masks(GREY, square(0, 0, 9, 9)[None] | square(50, 30, 60, 40), ids=[1])
    x, y = ax.texts[0].get_position()
    assert (square(0, 0, 9, 9) | square(50, 30, 60, 40))[int(y), int(x)]


def test_a_picture_without_masks_is_the_picture():
    ax = plot.show_masks(GREY, np.zeros((0, 60, 80), bool), ids=())
    np.testing.assert_array_equal(ax.images[0].get_array(), GREY)


def test_the_given_axes_are_used():
    ax = plt.figure().subplots()
    assert plot.show_masks(GREY, square(0, 0, 9, 9)[None], ax=ax) is ax
    assert plot.show_prompts(ax, points=[[3, 4]], labels=[1]) is ax
    assert plot.show_timeline([{1: 0.5}], ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_prompts_lie_on_the_pixels_they_name():
    ax = plot.show_masks(GREY, np.zeros((0, 60, 80), bool))
    plot.show_prompts(ax, points=[[30, 20], [50, 40]], labels=[1, 0], boxes=[10, 5, 70, 55])
    clicks = [line.get_xydata()[0].tolist() for line in ax.lines]
    assert clicks == [[30, 20], [50, 40]]
    assert ax.lines[0].get_color() == tuple(value / 255 for value in FOREGROUND_COLOR)
    assert ax.patches[0].get_bbox().extents.tolist() == [9.5, 4.5, 69.5, 54.5]


def test_the_best_candidate_is_bold():
    masks = np.stack([square(0, 0, 9, 9), square(0, 0, 30, 30), square(9, 9, 20, 20)])
    ious = np.array([0.5, 0.9, 0.7], np.float32)
    panels = plot.show_candidates(GREY, masks, ious, points=[[5, 5]], labels=[1])
    assert [panel.get_title() for panel in panels] == [f"predicted IoU {iou:.2f}" for iou in ious]
    assert [panel.title.get_fontweight() for panel in panels] == ["normal", "bold", "normal"]
    assert all(len(panel.lines) == 1 for panel in panels)


def test_a_timeline_has_a_bar_where_an_object_is_seen():
    frames = [{1: 0.5}, {1: 1.0, 2: 0.8}, {2: 0.8}, {1: 0.25}]
    ax = plot.show_timeline(frames)
    spans = [tuple(bar.get_paths()[0].get_extents().intervalx.tolist()) for bar in ax.collections]
    assert spans == [(0, 2), (3, 4), (1, 3)]  # object 1 twice, then object 2
    line = ax.patches[0].get_data()
    np.testing.assert_allclose(line.values, [0, -0.4, np.nan, 0.2])  # row 0, upwards is negative
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2"]
    assert ax.collections[2].get_facecolor()[0, :3].tolist() == [v / 255 for v in COLORS[1]]


def test_a_timeline_in_seconds():
    assert plot.show_timeline([{1: 0.5}] * 30, fps=10).get_xlim() == (0, 3)


def test_a_timeline_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no object is seen in these 2 frames"):
        plot.show_timeline([{}, {}])


def test_the_extra_is_named_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sam_jax\[plot\]'"):
        plot.show_masks(GREY, np.zeros((0, 60, 80), bool))
