import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_jax.ops import rle

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - height // 2, x - width // 2) < radius


# Strings, areas and boxes computed by pycocotools 2.0.11.
GOLDEN = {
    "empty": (np.zeros((3, 4), bool), "<", 0, (0, 0, 0, 0)),
    "full": (np.ones((1200, 1800), bool), "0P\\mQ2", 2160000, (0, 0, 1800, 1200)),
    "checkerboard": (np.indices((3, 4)).sum(0) % 2 == 1, "111000000000", 6, (0, 0, 4, 3)),
    "disc": (
        disc(30, 40, 11),
        "g99c04M2N2N2O0O2O0000000000000001N101N2N2N3LU8",
        373,
        (10, 5, 21, 21),
    ),
    "small disc, large picture": (
        disc(1200, 1800, 5),
        "fbjP15ZU12N2O00000001N2NkWhP1",
        69,
        (896, 596, 9, 9),
    ),
    "diagonal stripes": (
        np.indices((50, 36)).sum(0) // 17 % 2 == 0,
        "0a0a0?000A@M`03AL?4BK>5CJ=6DI<7EH;8FG:9GF9:HE8;ID7<JC6=KB5>LA4?M@3`0?00000A@M`03A",
        None,
        (0, 0, 36, 50),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_strings_areas_and_boxes(name):
    mask, text, area, box = GOLDEN[name]
    code = rle.encode(mask)
    assert code["size"] == list(mask.shape)
    assert code["counts"] == text if area is not None else code["counts"].startswith(text[:60])
    assert rle.area(code) == mask.sum() == (mask.sum() if area is None else area)
    assert rle.bounding_box(code) == box
    np.testing.assert_array_equal(rle.decode(code), mask)


@given(MASKS, st.booleans())
def test_decode_inverts_encode(mask, compress):
    code = rle.encode(mask, compress=compress)
    np.testing.assert_array_equal(rle.decode(code), mask)
    assert rle.area(code) == mask.sum()
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if mask.any() else (0, 0, 0, 0)
    assert rle.bounding_box(code) == box


def test_uncompressed_counts_run_down_the_columns():
    mask = np.array([[1, 0], [1, 1], [0, 1]], bool)
    assert rle.encode(mask, compress=False) == {"size": [3, 2], "counts": [0, 2, 2, 2]}


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30))
def test_strings_hold_any_counts(counts):
    text = rle._to_string(np.array(counts))
    np.testing.assert_array_equal(rle._from_string(text), counts)


def test_bytes_are_read_as_pycocotools_writes_them():
    assert rle.area({"size": [3, 4], "counts": b"0<"}) == 12


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"size": [3, 4]}, "an RLE is an object with size and counts"),
        ({"size": [3, 4], "counts": [3, 4]}, "runs add up to 7, not to the size 3 x 4"),
        ({"size": [3, 4], "counts": [13, -1]}, "runs add up to 12, not to the size 3 x 4"),
        ({"size": [3, 4], "counts": [12, *[2**62] * 4]}, "not to the size 3 x 4"),  # wraps around
        ({"size": [3, 4], "counts": ""}, "runs add up to 0, not to the size 3 x 4"),
        ({"size": [3, 4], "counts": 12}, "size and counts of an RLE must be lists of numbers"),
        ({"size": [3, 4], "counts": {"a": 1}}, "must be lists of numbers, got .*'a'"),
        ({"size": [3, 4], "counts": [2**70]}, "must be lists of numbers"),
        ({"size": 12, "counts": [12]}, "must be lists of numbers"),
        ({"size": ["a", 4], "counts": [12]}, "must be lists of numbers"),
        ({"size": [3, 4], "counts": "<P"}, "not a compressed RLE string: '<P'"),
        ({"size": [3, 4], "counts": " <"}, "not a compressed RLE string: ' <'"),
        ({"size": [3, 4], "counts": "é<"}, "not a compressed RLE string"),
        ({"size": [3, 4], "counts": "P" * 13 + "0"}, "a number of more than 12 digits"),
    ],
)
def test_refused(code, message):
    with pytest.raises(ValueError, match=message):
        rle.decode(code)
