from pathlib import Path

import pytest

from sam_jax.cli.prompts import parse_prompts


def test_clicks_and_one_box_are_one_object():
    prompts = parse_prompts(["500,375", "10.5, 20,0", "0,0,1"], ["1,2,3,4.5"], Path("m.png"))
    assert prompts.points == [[500, 375], [10.5, 20], [0, 0]]
    assert prompts.labels == [1, 0, 1]
    assert prompts.boxes == [[1, 2, 3, 4.5]]
    assert prompts.mask == Path("m.png")


def test_several_boxes_are_several_objects():
    assert parse_prompts([], ["0,0,1,1", "2,2,3,3"], None).boxes == [[0, 0, 1, 1], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ("points", "boxes", "mask", "message"),
    [
        ([], [], None, "nothing to segment: give --point X,Y or --box X0,Y0,X1,Y1 or --mask FILE"),
        (["500"], [], None, "--point '500' must be X,Y or X,Y,LABEL, such as 500,375"),
        (["1,2,1,1"], [], None, "--point '1,2,1,1' must be X,Y or X,Y,LABEL"),
        (["1;2"], [], None, "--point '1;2' must be X,Y"),
        (["a,2"], [], None, "--point 'a,2' has a coordinate that is not a number"),
        (["1,"], [], None, "--point '1,' has a coordinate that is not a number"),
        (["nan,2"], [], None, "--point 'nan,2' has a coordinate that is not finite"),
        (["inf,2"], [], None, "--point 'inf,2' has a coordinate that is not finite"),
        (["-3,4"], [], None, "--point '-3,4' has a negative coordinate: 0,0 is the top left"),
        (["1,2,7"], [], None, "--point '1,2,7' has the label '7': 1 is on the object, 0 is not"),
        ([], ["1,2,3"], None, "--box '1,2,3' must be X0,Y0,X1,Y1"),
        ([], ["1,2,3,x"], None, "--box '1,2,3,x' has a coordinate that is not a number"),
        ([], ["-1,2,3,4"], None, "--box '-1,2,3,4' has a negative coordinate"),
        (
            [],
            ["5,2,3,4"],
            None,
            "--box '5,2,3,4' is empty or inverted: it is left,top,right,bottom",
        ),
        ([], ["1,4,3,2"], None, "--box '1,4,3,2' is empty or inverted"),
        ([], ["1,2,1,4"], None, "--box '1,2,1,4' is empty or inverted"),
        ([], ["1,2,3,2"], None, "--box '1,2,3,2' is empty or inverted"),
        (["1,2"], ["0,0,1,1"] * 2, None, "2 boxes are 2 objects, and --point cannot say which"),
        ([], ["0,0,1,1"] * 3, Path("m"), "3 boxes are 3 objects, and --mask cannot say which"),
    ],
)
def test_refused(points, boxes, mask, message):
    with pytest.raises(ValueError) as error:
        parse_prompts(points, boxes, mask)
    assert message in str(error.value)


def test_prompts_must_lie_inside_the_image():
    prompts = parse_prompts(["20,10"], ["0,0,20,10"], None)
    prompts.check_inside(20, 10, "a.jpg")  # the right and bottom edges belong to it
    with pytest.raises(ValueError, match=r"--point 20,10 is outside a\.jpg, which is 19 x 10 \(wi"):
        prompts.check_inside(19, 10, "a.jpg")
    box = parse_prompts([], ["0,0,20,10.5"], None)
    with pytest.raises(ValueError, match=r"--box 0,0,20,10\.5 is partly outside a\.jpg, which is"):
        box.check_inside(20, 10, "a.jpg")
