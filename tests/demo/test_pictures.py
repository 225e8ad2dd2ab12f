"""The routes of the picture tab against the predictor that they stand for."""

import io
import json
import resource
import time
import tomllib
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import sam_jax
from sam_jax.config import WordsConfig
from sam_jax.demo.app import create_app
from sam_jax.demo.masks import display_size, runs, shrunk
from sam_jax.demo.search import Search, first_step
from sam_jax.demo.settings import SHIPPED
from sam_jax.demo.warm import Warmth
from sam_jax.io.images import read_image
from sam_jax.ops import rle

REPO = Path(__file__).resolve().parents[2]
CLICK = {"x": 90.0, "y": 300.0, "label": 1}
TINY = {"size": [9, 9], "counts": [0, 81]}


@pytest.fixture
def tab(server):
    with server.tab() as opened:
        yield opened


@pytest.fixture(scope="session")
def predictor(demo_model):
    """The official face, with the first sample set."""
    made = sam_jax.ImagePredictor(demo_model)
    made.set_image(read_image(SHIPPED[0].path))
    return made


def open_sample(tab, sample=0):
    answer = tab.post("/api/picture/sample", json={"sample": sample})
    assert answer.status_code == 200, answer.text
    return answer.json()


def predict(tab, picture, **prompt):
    return tab.post("/api/picture/predict", json={"picture": picture["picture"], **prompt})


def export(tab, picture, kind, *objects):
    return tab.post(
        "/api/picture/export",
        json={"picture": picture["picture"], "kind": kind, "objects": list(objects)},
    )


def wanted(name="cup", **fields):
    return {"name": name, "color": [1, 2, 3], **fields}


def test_candidates_are_the_predictors_best_first(tab, predictor):
    picture = open_sample(tab)
    assert picture["size"] == picture["shown"] == [768, 768]
    found = predict(tab, picture, clicks=[CLICK], multimask=True).json()["candidates"]
    masks, ious, _ = predictor.predict([[90, 300]], [1])
    assert [one["candidate"] for one in found] == np.argsort(-ious).tolist()
    for one in found:
        assert one["iou"] == pytest.approx(ious[one["candidate"]], abs=1e-3)
        assert np.mean(rle.decode(one["mask"]) != masks[one["candidate"]]) < 1e-3


@pytest.mark.parametrize("candidate", [0, 2])
def test_the_chosen_candidate_is_refined(tab, predictor, candidate):
    picture = open_sample(tab)
    clicks = [CLICK, {"x": 300.0, "y": 420.0, "label": 0}]
    start = {"clicks": [CLICK], "candidate": candidate}
    (found,) = predict(tab, picture, clicks=clicks, start=start).json()["candidates"]
    _, _, low = predictor.predict([[90, 300]], [1])
    points, labels = [[90, 300], [300, 420]], [1, 0]
    before = low[candidate][None]
    masks, ious, _ = predictor.predict(points, labels, None, before, multimask_output=False)
    assert found["iou"] == pytest.approx(ious[0], abs=1e-3)
    assert np.mean(rle.decode(found["mask"]) != masks[0]) < 1e-4
    plain, _, _ = predictor.predict(points, labels, multimask_output=False)
    assert np.mean(plain[0] != masks[0]) > 5e-4
    saved = export(tab, picture, "png", wanted(prompt={"clicks": clicks, "start": start}))
    pixels = np.asarray(Image.open(io.BytesIO(saved.content)))
    assert np.mean((pixels > 0) != masks[0]) < 1e-4


def test_box_exclusion_and_mask(tab, predictor):
    picture = open_sample(tab)
    box = [10.0, 60.0, 320.0, 500.0]
    (found,) = predict(tab, picture, box=box, clicks=[CLICK | {"label": 0}]).json()["candidates"]
    masks, _, _ = predictor.predict([[90, 300]], [0], box=np.array(box), multimask_output=False)
    assert np.mean(rle.decode(found["mask"]) != masks[0]) < 1e-3
    painted = np.zeros((768, 768), bool)
    painted[200:400, 20:250] = True
    (found,) = predict(tab, picture, mask=runs(painted)).json()["candidates"]
    assert found["mask"]["size"] == [768, 768]


def test_large_pictures_are_shown_smaller_and_kept_whole(tab):
    pixels = np.asarray(Image.open(SHIPPED[0].path).resize((1600, 1200)))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    tab.headers["x-file-name"] = "m%C3%BCll%20eimer.png"
    picture = tab.post("/api/picture", content=file.getvalue()).json()
    assert picture["name"] == "müll eimer.png"
    assert picture["size"] == [1200, 1600] and picture["shown"] == [768, 1024]
    shown = tab.get(f"/api/picture/{picture['picture']}/shown")
    assert Image.open(io.BytesIO(shown.content)).size == (1600, 1200)
    prompt = {"clicks": [{"x": 1500.0, "y": 1100.0, "label": 1}]}
    assert predict(tab, picture, **prompt).json()["candidates"][0]["mask"]["size"] == [768, 1024]
    saved = export(tab, picture, "png", wanted(prompt=prompt))
    assert Image.open(io.BytesIO(saved.content)).size == (1600, 1200)


def test_png_masks(tab, predictor):
    picture = open_sample(tab)
    prompt = {"clicks": [CLICK], "multimask": True}
    one = export(tab, picture, "png", wanted(prompt=prompt, candidate=1))
    masks, _, _ = predictor.predict([[90, 300]], [1])
    saved = np.asarray(Image.open(io.BytesIO(one.content)))
    assert set(np.unique(saved)) <= {0, 255} and np.mean((saved > 0) != masks[1]) < 1e-3
    assert "Painted_scene_1_cup.png" in one.headers["content-disposition"]
    both = export(tab, picture, "png", wanted(prompt=prompt), wanted("../../evil", prompt=prompt))
    names = zipfile.ZipFile(io.BytesIO(both.content)).namelist()
    assert names == ["001_cup.png", "002_evil.png"]


def test_coco_and_overlay(tab, server):
    picture = open_sample(tab)
    prompt = {"clicks": [CLICK], "box": [10.0, 60.0, 320.0, 500.0]}
    square = np.zeros((768, 768), bool)
    square[5:9, 7:10] = True
    found = {"rle": rle.encode(square)["counts"], "iou": 0.5}
    things = [wanted(prompt=prompt), wanted("lid", **found), wanted("cup", **found)]
    data = export(tab, picture, "coco", *things).json()
    assert data["images"][0]["file_name"] == "Painted scene 1"
    assert data["categories"] == [{"id": 1, "name": "cup"}, {"id": 2, "name": "lid"}]
    assert [entry["category_id"] for entry in data["annotations"]] == [1, 2, 1]
    assert data["annotations"][1]["bbox"] == [7, 5, 3, 4]
    assert (rle.decode(data["annotations"][1]["segmentation"]) == square).all()
    drawn = export(tab, picture, "overlay", *things)
    pixels = np.asarray(Image.open(io.BytesIO(drawn.content)).convert("RGB"))
    assert pixels.shape == (768, 768, 3)
    assert (pixels != read_image(SHIPPED[0].path)).any()
    session = server.demo.sessions.find(tab.headers["x-session"])
    assert not list(session.folder.iterdir())  # files that were made are removed


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ({}, "nothing is prompted"),
        ({"clicks": [CLICK | {"x": 769.0}]}, "outside the image of 768 x 768"),
        ({"box": [5.0, 5.0, 5.0, 9.0]}, "empty or inverted"),
        ({"clicks": [CLICK] * 29}, "clicks"),
        ({"clicks": [CLICK | {"label": 2}]}, "label"),
        ({"clicks": [CLICK], "start": {"candidate": 0}}, "nothing is prompted"),
        ({"clicks": [CLICK], "start": {"clicks": [CLICK], "candidate": 3}}, "candidate"),
        ({"mask": TINY, "start": {"clicks": [CLICK], "candidate": 0}}, "exclude each other"),
        ({"text": "a cup"}, "has 'a', which is none of the"),
        ({"mask": {"size": [9, 9], "counts": [81]}}, "the picture shown is [768, 768]"),
        ({"mask": {"size": [768, 768], "counts": [768 * 768]}}, "paint where"),
        ({"mask": {"size": [768, 768], "counts": [5]}}, "runs add up to 5"),
    ],
)
def test_prompts_that_make_no_sense(tab, prompt, told):
    answer = predict(tab, open_sample(tab), **prompt)
    assert answer.status_code in (400, 422) and told in answer.json()["error"]


def test_exports_that_make_no_sense(tab):
    picture = open_sample(tab)
    overflowing = rle.encode(np.zeros((1, 1), bool))["counts"] + "`ooooooooooO" * 64
    for objects, told in (
        ([], "no objects are prompted"),
        ([wanted()], "neither a prompt nor a mask"),
        ([wanted(prompt={"clicks": [CLICK]}, candidate=2)], "no candidate 2"),
        ([wanted(rle="04")], "runs add up to"),
        ([wanted(rle=overflowing)], "not to the size 768 x 768"),
        ([wanted(rle="\x00")], "not a compressed RLE"),
    ):
        answer = export(tab, picture, "png", *objects)
        assert answer.status_code == 400 and told in answer.json()["error"], answer.text


def test_tabs_do_not_see_each_other(server, tab):
    picture = open_sample(tab)
    with server.tab() as other:
        assert predict(other, picture, clicks=[CLICK]).status_code == 409
        assert other.get(f"/api/picture/{picture['picture']}/shown").status_code == 409
        open_sample(other, 1)
        assert predict(other, picture, clicks=[CLICK]).status_code == 409
        assert predict(tab, picture, clicks=[CLICK]).status_code == 200
    earlier = picture
    open_sample(tab, 1)
    answer = predict(tab, earlier, clicks=[CLICK])
    assert answer.status_code == 409 and "another picture" in answer.json()["error"]
    assert tab.post("/api/picture/sample", json={"sample": 2}).status_code == 404  # a video


def test_a_picture_that_goes_meanwhile_is_told(server):
    with server.tab() as tab:
        data = server.demo.settings.samples[0].path.read_bytes()
        opened = tab.post("/api/picture", content=data, headers={"x-file-name": "a.jpg"}).json()
        server.demo.sessions.find(tab.headers["x-session"]).slots["picture"].path.unlink()
        answer = tab.get(f"/api/picture/{opened['picture']}/shown")
        assert (answer.status_code, answer.json()["error"][:13]) == (409, "a.jpg is gone")


def test_encoded_pictures_are_bounded(serve):
    with serve(memory=2_500_000) as server:  # of which half for features, 512 KB each
        opened = []
        for _ in range(5):
            with server.tab() as first:
                open_sample(first)
        assert len(server.demo.features) == 0  # gone with their tabs
        tabs = [server.tab() for _ in range(6)]
        clients = [one.__enter__() for one in tabs]
        opened = [open_sample(client) for client in clients]
        assert len(server.demo.features) == 2 and server.demo.features.nbytes <= 1_250_000
        for client, picture in zip(clients, opened, strict=True):  # encoded again where need be
            assert predict(client, picture, clicks=[CLICK]).status_code == 200
        for one in tabs:
            one.__exit__(None, None, None)


def test_twenty_tabs_do_not_exhaust_memory(server):
    large = io.BytesIO()
    pixels = Image.open(SHIPPED[0].path).resize((1600, 1600))  # 7.7 MB, decoded
    pixels.save(large, "JPEG")
    tabs = [server.tab() for _ in range(21)]
    clients = [one.__enter__() for one in tabs]

    def use(client):
        picture = client.post("/api/picture", content=large.getvalue()).json()
        prompt = {"clicks": [CLICK], "multimask": True}
        assert predict(client, picture, **prompt).status_code == 200

    use(clients[0])
    before = resident()
    for client in clients[1:]:
        use(client)
    assert len(server.demo.features) >= 20  # all are kept, 0.5 MB each
    assert resident() - before < 100_000_000  # not the 154 MB of their pixels
    for one in tabs:
        one.__exit__(None, None, None)


def resident():
    """Bytes of memory that this process, with the server, has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


LOOSE = {"points_per_side": 8, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}


def everything(tab, picture, **options):
    """What the answer's lines say."""
    body = {"picture": picture["picture"], **LOOSE, **options}
    answer = tab.post("/api/picture/everything", json=body)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_everything_is_the_generators(tab, demo_model):
    *steps, last = everything(tab, open_sample(tab))
    assert steps == [{"done": i + 1, "total": 4} for i in range(4)]  # of 16 clicks
    generator = sam_jax.AutomaticMaskGenerator(demo_model, **LOOSE, output_mode="coco_rle")
    records = generator.generate(read_image(SHIPPED[0].path))
    assert len(last["found"]) == len(records) > 1 and last["notes"] == []
    for one, record in zip(last["found"], records, strict=True):
        mask = rle.decode({"size": [768, 768], "counts": one["rle"]})
        assert (mask == rle.decode(one["mask"])).all()
        assert np.mean(mask != rle.decode(record["segmentation"])) < 1e-3
        assert one["iou"] == pytest.approx(record["predicted_iou"], abs=1e-3)


def test_the_warm_up_compiles_everything(demo_model):
    from sam_jax.predictors.search import _find

    first_step(demo_model)
    before = _find._cache_size()
    Search(demo_model, lambda: read_image(SHIPPED[0].path), LOOSE).step()
    assert _find._cache_size() == before


def test_everything_refuses(tab):
    body = {"picture": open_sample(tab)["picture"], "points_per_side": 65}
    refused = tab.post("/api/picture/everything", json=body)
    assert refused.status_code == 422 and "points_per_side" in refused.json()["error"]


@pytest.fixture
def steps(monkeypatch):
    """The steps that searches take, each of at least 50 ms."""
    taken, step = [], Search.step

    def slow(search):
        taken.append(search)
        time.sleep(0.05)
        return step(search)

    monkeypatch.setattr(Search, "step", slow)
    return taken


@contextmanager
def searching(tab, picture):
    """A search that has begun, as its lines."""
    body = {"picture": picture["picture"], **LOOSE, "points_per_side": 24}
    with tab.stream("POST", "/api/picture/everything", json=body) as answer:
        lines = (json.loads(line) for line in answer.iter_lines())
        assert next(lines) == {"done": 1, "total": 36}
        yield lines


def test_other_tabs_are_answered_while_everything_runs(server, tab, steps):
    with server.tab() as other:
        picture = open_sample(other, 1)
        with searching(tab, open_sample(tab)) as lines:
            for _ in range(3):
                assert predict(other, picture, clicks=[CLICK]).status_code == 200
            assert len(steps) < 20  # a click waits for a step, not for all
            assert "found" in list(lines)[-1]
    assert len(steps) == 37


@pytest.mark.parametrize("how", ["session", "connection", "picture", "search"])
def test_everything_stops_with_who_asked(server, tab, steps, how):
    picture = open_sample(tab)
    with server.tab() as other:
        if how == "connection":
            with searching(tab, picture):
                pass
        else:
            with searching(tab, picture) as lines:
                if how == "session":
                    tab.delete("/api/session")
                elif how == "picture":
                    open_sample(tab, 1)
                else:
                    assert "found" in everything(tab, picture)[-1]
                told = {"picture": (409, "another picture"), "search": (409, "another search")}
                status, error = told.get(how, (410, "has ended"))
                *_, last = lines
                assert last["status"] == status and error in last["error"]
        first = [step for step in steps if step is steps[0]]
        assert len(first) < 20
        # What comes now is behind a step that was under way.
        assert predict(other, open_sample(other), clicks=[CLICK]).status_code == 200
        time.sleep(0.2)
        assert len([step for step in steps if step is steps[0]]) <= len(first) + 2
    if how != "session":
        assert "everything" not in server.demo.sessions.find(tab.headers["x-session"]).slots


def test_the_masks_of_everything_count_as_memory(serve):
    with serve(memory=10_000_000) as server, server.tab() as tab:
        picture = open_sample(tab)
        body = {"picture": picture["picture"], **LOOSE, "points_per_side": 32}
        refused = tab.post("/api/picture/everything", json=body)
        assert refused.status_code == 503 and "no memory left" in refused.json()["error"]
        assert "found" in everything(tab, picture, points_per_side=4)[-1]


def test_clicking_compiles_nothing(tab, server):
    from sam_jax.predictors.image import _predict

    picture = open_sample(tab)
    before = _predict._cache_size()
    for count in (1, 2, 5, 12):
        for multimask in {count == 1, False}:
            prompt = {"clicks": [CLICK] * count, "multimask": multimask}
            assert predict(tab, picture, **prompt).status_code == 200
    assert predict(tab, picture, box=[1.0, 1.0, 90.0, 90.0]).status_code == 200
    start = {"clicks": [CLICK], "candidate": 1}
    for count in (2, 3, 7):
        answer = predict(tab, picture, clicks=[CLICK] * count, start=start)
        assert answer.status_code == 200
    assert _predict._cache_size() == before


def test_words_of_a_model_that_takes_text(small_tracker, monkeypatch):
    monkeypatch.setattr(Warmth, "run", lambda *arguments: None)
    words = WordsConfig(("a", "cat", "red"), width=24, depth=1, context=8)
    with TestClient(create_app(small_tracker(words=words)), base_url="http://127.0.0.1") as client:
        assert client.get("/api/info").json()["text"] is True
        client.headers["x-session"] = client.post("/api/session").json()["session"]
        picture = open_sample(client)
        found = predict(client, picture, text=" a red cat ", multimask=True).json()["candidates"]
        assert len(found) == 3
        refused = predict(client, picture, text="a zebra")
        assert refused.status_code == 400 and "zebra" in refused.json()["error"]


def test_the_page_and_the_samples_are_package_data():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["sam_jax"]
    demo = REPO / "sam_jax" / "demo"
    shipped = {path for pattern in patterns for path in (REPO / "sam_jax").glob(pattern)}
    files = {path for path in demo.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} <= shipped
    assert {sample.path for sample in SHIPPED} <= shipped


def test_sizes_of_what_is_shown():
    assert display_size(10, 20) == (10, 20)
    assert display_size(3000, 4000) == (768, 1024)
    assert display_size(1, 5000) == (1, 1024)
    mask = np.zeros((4, 8), bool)
    mask[:, 4:] = True
    assert (shrunk(mask, (2, 4)) == mask[::2, ::2]).all()
