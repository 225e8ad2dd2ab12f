import builtins
import importlib.util
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_jax import exchange
from sam_jax.instances import Instances

TWO = np.zeros((2, 40, 50), bool)
TWO[0, 5:20, 5:20] = True
TWO[1, 10:40, 30:45] = True
SCORES = np.array([0.75, 0.5], np.float32)


@pytest.fixture(scope="module")
def supervision():
    if importlib.util.find_spec("supervision") is None:
        pytest.skip("supervision is not installed: pip install 'sam_jax[supervision]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does without OpenCV
        import supervision
    return supervision


def same(a: Instances, b: Instances) -> None:
    np.testing.assert_array_equal(a.masks, b.masks)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (a.ids, a.names) == (b.ids, b.names)


@pytest.mark.parametrize(
    "found",
    [
        Instances(TWO),
        Instances(TWO, SCORES),
        Instances(TWO, SCORES, ids=(7, 3)),
        Instances(TWO, SCORES, names=("cup", "cat")),
    ],
)
def test_detections_and_back(supervision, found):
    detections = exchange.to_detections(found)
    assert isinstance(detections, supervision.Detections)
    same(exchange.from_detections(detections), found)


def test_detections_say_what_supervision_expects(supervision):
    found = Instances(TWO, SCORES, ids=(7, 3), names=("cup", "cat"))
    detections = exchange.to_detections(found)
    assert detections.xyxy.tolist() == [[5, 5, 20, 20], [30, 10, 45, 40]]
    assert detections.area.tolist() == [225, 450]
    assert detections.class_id.tolist() == [1, 0]
    assert detections[detections.class_id == 0].tracker_id.tolist() == [3]
    picture = supervision.MaskAnnotator().annotate(np.zeros((40, 50, 3), np.uint8), detections)
    assert picture[30, 40].any() and not picture[0, 0].any()


def test_no_detections(supervision):
    assert len(exchange.to_detections(Instances(TWO[:0], SCORES[:0]))) == 0


def test_an_id_that_is_no_number_is_refused(supervision):
    with pytest.raises(ValueError, match=r"'cup' cannot be a tracker_id.*under a number"):
        exchange.to_detections(Instances(TWO, ids=("cup", 1)))


def test_boxes_alone_are_prompts(supervision):
    boxes = supervision.Detections(xyxy=np.array([[1.0, 2, 3, 4]]))
    with pytest.raises(ValueError, match=r"predict\(box=detections.xyxy\)"):
        exchange.from_detections(boxes)


def test_the_extra_is_named_without_supervision(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == "supervision":
            raise ModuleNotFoundError("No module named 'supervision'", name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sam_jax\[supervision\]'"):
        exchange.to_detections(Instances(TWO))


def test_coco_and_back():
    pictures = {
        "a.jpg": Instances(TWO, SCORES, ids=(7, 3), names=("cup", "cat")),
        "empty.jpg": Instances(np.zeros((0, 8, 9), bool), SCORES[:0], names=()),
        "b.jpg": Instances(TWO[1:], SCORES[1:], names=("cup",)),
    }
    dataset = json.loads(json.dumps(exchange.to_coco(pictures)))
    back = exchange.from_coco(dataset)
    assert list(back) == list(pictures)
    for name, found in pictures.items():
        same(back[name], found)


def test_numbers_of_numpy_are_numbers_in_coco():
    found = Instances(TWO, SCORES, ids=tuple(np.array([7, 3])))
    dataset = json.loads(json.dumps(exchange.to_coco({"a.jpg": found})))
    assert [row["track_id"] for row in dataset["annotations"]] == [7, 3]


def test_pictures_of_one_name_are_refused():
    dataset = exchange.to_coco({"a.jpg": Instances(TWO), "b.jpg": Instances(TWO)})
    dataset["images"][1]["file_name"] = "a.jpg"
    with pytest.raises(ValueError, match=r"two pictures are called a.jpg"):
        exchange.from_coco(dataset)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))))
def test_any_masks_come_back_from_coco(masks):
    (found,) = exchange.from_coco(exchange.to_coco({"a.jpg": Instances(masks)})).values()
    np.testing.assert_array_equal(found.masks, masks)
    assert found.scores is None and found.names == ("object",) * len(masks)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_pycocotools_reads_it(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(exchange.to_coco({"a.jpg": Instances(TWO, SCORES)})))
    truth = coco.COCO(path)
    rows = truth.loadAnns(truth.getAnnIds())
    np.testing.assert_array_equal([truth.annToMask(row) for row in rows], TWO)
    assert [row["bbox"] for row in rows] == [[5, 5, 15, 15], [30, 10, 15, 30]]
    results = truth.loadRes(rows)  # the form that evaluation takes
    assert [row["score"] for row in results.loadAnns(results.getAnnIds())] == SCORES.tolist()


def test_a_picture_without_objects_needs_a_size():
    with pytest.raises(ValueError, match=r"a.jpg has no objects from which its size would follow"):
        exchange.to_coco({"a.jpg": Instances(np.zeros((0, 0, 0), bool))})


def test_polygons_are_refused():
    dataset = exchange.to_coco({"a.jpg": Instances(TWO)})
    dataset["annotations"][1]["segmentation"] = [[1, 1, 5, 1, 5, 5]]
    with pytest.raises(ValueError, match=r"annotation 2 of a.jpg is a polygon.*annToRLE"):
        exchange.from_coco(dataset)
