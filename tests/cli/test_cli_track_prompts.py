from pathlib import Path

import pytest

from sam_jax.cli.track_prompts import ObjectPrompt, parse_track_prompts


def test_prompts_go_to_their_frame_and_object():
    prompts = parse_track_prompts(
        ["0:210,350", "0:10.5, 20,0", "12:3,4@2", " 40 :5,6,0@2"],
        ["0:1,2,30,40", "12:1,2,3,4.5@03"],
        ["7:C:\\masks\\a@b.png@4", "7:me@home.png", "8:mask@2@1"],
    )
    assert prompts.on(0) == {
        1: ObjectPrompt([[210.0, 350.0], [10.5, 20.0]], [1, 0], [1.0, 2.0, 30.0, 40.0])
    }
    assert prompts.on(12) == {
        2: ObjectPrompt([[3.0, 4.0]], [1]),
        3: ObjectPrompt(box=[1.0, 2.0, 3.0, 4.5]),
    }
    assert prompts.on(40) == {2: ObjectPrompt([[5.0, 6.0]], [0])}
    assert prompts.on(7) == {
        1: ObjectPrompt(mask=Path("me@home.png")),
        4: ObjectPrompt(mask=Path("C:\\masks\\a@b.png")),
    }
    assert prompts.on(8) == {1: ObjectPrompt(mask=Path("mask@2"))}
    assert prompts.on(3) == {}
    assert (prompts.first, prompts.last, prompts.objects) == (0, 40, [1, 2, 3, 4])
    assert [prompts.count_for(i) for i in prompts.objects] == [3, 2, 1, 1]
    assert [(frame, number) for frame, number, _ in prompts.masks()] == [(7, 1), (7, 4), (8, 1)]


@pytest.mark.parametrize(
    ("points", "boxes", "masks", "message"),
    [
        ([], [], [], "nothing to track: give --point FRAME:X,Y or --box FRAME:X0,Y0,X1,Y1 or --m"),
        (["500,375"], [], [], "--point '500,375' must be FRAME:X,Y or FRAME:X,Y,LABEL, such as 0:"),
        (["0:"], [], [], "--point '0:' must be FRAME:X,Y"),
        (["0:@2"], [], [], "--point '0:@2' must be FRAME:X,Y"),
        (["0:500"], [], [], "--point '0:500' must be FRAME:X,Y or FRAME:X,Y,LABEL, such as 0:500"),
        (["0:1,2,1,1"], [], [], "--point '0:1,2,1,1' must be FRAME:X,Y"),
        (
            ["-1:5,6"],
            [],
            [],
            "--point '-1:5,6' has the frame '-1': it is a number, and 0 is the fi",
        ),
        (["1.5:5,6"], [], [], "has the frame '1.5'"),
        ([":5,6"], [], [], "has the frame ''"),
        (["1e3:5,6"], [], [], "has the frame '1e3'"),
        (["9" * 5000 + ":5,6"], [], [], "it is a number, and 0 is the first"),
        (["²:5,6"], [], [], "has the frame '²'"),
        (["0:5,6@0"], [], [], "--point '0:5,6@0' has the object '0': objects are numbered from 1"),
        (["0:5,6@-1"], [], [], "has the object '-1'"),
        (["0:5,6@dog"], [], [], "has the object 'dog'"),
        (["0:5,6@"], [], [], "has the object ''"),
        (["0:5,6@1@2"], [], [], "--point '0:5,6@1@2' has a coordinate that is not a number"),
        (["0:a,6"], [], [], "--point '0:a,6' has a coordinate that is not a number"),
        (["0:nan,6"], [], [], "--point '0:nan,6' has a coordinate that is not finite"),
        (["0:-3,6"], [], [], "--point '0:-3,6' has a negative coordinate"),
        (["0:5,6,7"], [], [], "--point '0:5,6,7' has the label '7'"),
        ([], ["0:1,2,3"], [], "--box '0:1,2,3' must be FRAME:X0,Y0,X1,Y1, such as 0:75,275,850,6"),
        ([], ["0:5,2,3,4"], [], "--box '0:5,2,3,4' is empty or inverted"),
        ([], ["0:1,2,3,4", "0:1,2,3,5"], [], "--box '0:1,2,3,5' is the second box of object 1 on"),
        ([], [], ["mask.png"], "--mask 'mask.png' must be FRAME:FILE, such as 0:mask.png"),
        ([], [], ["C:\\m.png"], "--mask 'C:\\\\m.png' has the frame 'C'"),
        ([], [], ["0:@2"], "--mask '0:@2' must be FRAME:FILE"),
        ([], [], ["0:m.png@0"], "--mask '0:m.png@0' has the object '0'"),
        (
            [],
            [],
            ["0:m", "0:n@1"],
            "--mask '0:n@1' is the second mask of object 1 on frame 0: give",
        ),
        (["3:1,2@5"], [], ["3:m@5"], "--mask '3:m@5' comes beside clicks or a box for object 5 on"),
        ([], ["3:1,2,3,4"], ["3:m"], "a mask says all, so drop the others, or give another object"),
        (["0:1,2,0@2", "0:1,2"], [], [], "object 2 has only clicks on what does not belong to it"),
    ],
)
def test_refused(points, boxes, masks, message):
    with pytest.raises(ValueError) as error:
        parse_track_prompts(points, boxes, masks)
    assert message in str(error.value)


def test_a_correction_may_be_only_negative():
    prompts = parse_track_prompts(["0:1,2,0", "5:3,4"], [], [])
    assert prompts.on(0)[1].labels == [0]


def test_prompts_must_lie_inside_the_frames():
    prompts = parse_track_prompts(["3:20,10@2"], ["4:0,0,20,10"], [])
    prompts.check_inside(20, 10, "a.mp4")  # the right and bottom edges belong to it
    with pytest.raises(ValueError) as error:
        prompts.check_inside(19, 10, "a.mp4")
    assert str(error.value) == (
        "--point 3:20,10@2 is outside a.mp4, whose frames are 19 x 10 (width x height)"
    )
    prompts = parse_track_prompts([], ["4:0,0,20,10.5"], [])
    with pytest.raises(ValueError, match=r"--box 4:0,0,20,10\.5 is partly outside a\.mp4, whose"):
        prompts.check_inside(20, 10, "a.mp4")


def test_prompts_must_be_on_frames_that_are_read():
    prompts = parse_track_prompts(["0:1,2", "12:3,4"], [], [])
    for count, every in ((13, 1), (None, 3), (20, 6)):
        prompts.check_frames(count, every, "a.mp4")
    with pytest.raises(ValueError, match=r"frame 12, but a\.mp4 has 12 frames: 0 to 11"):
        prompts.check_frames(12, 1, "a.mp4")
    with pytest.raises(
        ValueError,
        match=r"frame 12, but with --every 5 only the frames 0, 5, 10, .*: choose 10 or 15",
    ):
        prompts.check_frames(None, 5, "a.mp4")
