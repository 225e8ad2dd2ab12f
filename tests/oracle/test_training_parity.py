"""Losses, and what a training step computes before them, against the official training code.

The official model's dropout is off here, and the simulated user of both clicks on the first wrong
pixel; all else is as it trains.
"""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.oracle
WEIGHTS = {"loss_mask": 20.0, "loss_dice": 1.0, "loss_iou": 1.0, "loss_class": 1.0}
OURS = {"loss_mask": "mask", "loss_dice": "dice", "loss_iou": "iou", "loss_class": "object"}


@pytest.fixture(autouse=True)
def _importable(official, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the official training code imports for a name only, and what needs more packages."""
    stubs = {
        "training.trainer": {"CORE_LOSS_KEY": "core_loss"},
        "training.utils.data_utils": {"BatchedVideoDatapoint": SimpleNamespace},
    }
    for name, content in stubs.items():
        stub = ModuleType(name)
        vars(stub).update(content)
        monkeypatch.setitem(sys.modules, name, stub)


def _official_loss(l1: bool) -> Any:
    from training.loss_fns import MultiStepMultiMasksAndIous

    return MultiStepMultiMasksAndIous(
        WEIGHTS, supervise_all_iou=True, iou_use_l1_loss=l1, pred_obj_scores=True
    )


@pytest.mark.parametrize("l1", [True, False])
def test_losses_equal_the_official_ones_on_random_tensors(official, l1: bool) -> None:
    import jax
    import jax.numpy as jnp
    import torch

    from train.config import LossWeights
    from train.losses import prediction_losses

    rng, n, weights = np.random.default_rng(0), 6, LossWeights(iou_error="l1" if l1 else "mse")
    logits = rng.normal(0, 4, (n, 4, 40, 40)).astype(np.float32)
    iou, score = rng.random((n, 4), np.float32), rng.normal(0, 3, n).astype(np.float32)
    target = rng.random((n, 40, 40)) < 0.3
    target[2] = False
    for several in (True, False):
        masks = slice(1, 4) if several else slice(0, 1)
        ours = prediction_losses(
            weights,
            *map(jnp.asarray, (logits, iou, score, target)),
            ambiguous=jnp.full(n, several),
        )
        outputs = {
            "multistep_pred_multimasks_high_res": [torch.tensor(logits[:, masks])],
            "multistep_pred_ious": [torch.tensor(iou[:, masks])],
            "multistep_object_score_logits": [torch.tensor(score[:, None])],
        }
        theirs = _official_loss(l1)([outputs], torch.tensor(target)[None])
        mean = jax.tree.map(lambda x: x.sum() / n, ours)
        for name, attribute in OURS.items():
            assert float(getattr(mean, attribute)) == pytest.approx(
                float(theirs[name]), rel=1e-5, abs=1e-6
            )
        assert float(mean.total(weights)) == pytest.approx(float(theirs["core_loss"]), rel=1e-5)


def _first_wrong(masks: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [n 2] and labels [n]: the first pixel that was missed, else that was too much."""
    points, labels = [], []
    for mask, seen in zip(masks, predicted, strict=True):
        missed, extra = mask & ~seen, seen & ~mask
        region = missed if missed.any() else extra
        y, x = np.unravel_index(region.argmax(), mask.shape)
        points.append((x, y))
        labels.append(int(missed.any()))
    return np.array(points, np.float32), np.array(labels, np.int32)


@pytest.mark.parametrize("by_mask", [True, False])
def test_a_clip_costs_what_it_costs_officially(
    official, monkeypatch: pytest.MonkeyPatch, small_tracker: Callable[..., Any], by_mask: bool
) -> None:
    """Forward through 4 frames of 3 objects, one of which leaves; 3 corrections on the first."""
    import jax
    import jax.numpy as jnp
    import torch

    from convert import official_video
    from sam_jax.checkpoint.names import from_official
    from sam_jax.checkpoint.strict import flatten, merge
    from sam_jax.models import abstract_params, build
    from sam_jax.types import Model
    from train import user
    from train.config import LossWeights, Prompting
    from train.rollout import rollout
    from train.step import encode
    from train.types import Batch

    config, t, n = small_tracker().config, 4, 3
    size = config.image_size
    theirs = official.build_sam2(
        config,
        seed=3,
        changes={
            "_target_": "training.model.sam2.SAM2Train",
            "prob_to_use_pt_input_for_train": 0.0 if by_mask else 1.0,
            "prob_to_use_box_input_for_train": 0.0,
            "num_frames_to_correct_for_train": 1,
            "num_init_cond_frames_for_train": 1,
            "num_correction_pt_per_frame": 3,
            "add_all_frames_to_correct_as_cond": True,
        },
    )
    live = official_video.Live(seed=3, sharper=3.0, object_head=(5.0, (0.5,)))
    official_video.make_live(theirs, live)
    module = build(config)
    places = flatten(abstract_params(module))
    given = from_official(official.state_dict(theirs))
    params = merge(
        abstract_params(module), {p: np.asarray(a) for p, a in given.items() if p in places}
    )
    model = Model(jax.tree.map(jnp.asarray, params), module)

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (t, 1, size, size, 3), np.uint8)
    masks = np.zeros((t, n, size, size), bool)
    for f in range(t):
        masks[f, 0, 15 + 3 * f : 45 + 3 * f, 22:75] = True
        masks[f, 1, 56:82, 8 + 2 * f : 34 + 2 * f] = True
        masks[f, 2, 4:22, 4:22] = f < 2

    def click(gt_masks: Any, pred_masks: Any, method: str) -> tuple[Any, Any]:
        truth = gt_masks[:, 0].numpy().astype(bool)
        seen = np.zeros_like(truth) if pred_masks is None else pred_masks[:, 0].numpy()
        points, labels = _first_wrong(truth, seen)
        return torch.tensor(points)[:, None], torch.tensor(labels)[:, None]

    def our_click(key: Any, masks: Any, predicted: Any) -> tuple[Any, Any]:
        shapes = (
            jax.ShapeDtypeStruct((len(masks), 2), jnp.float32),
            jax.ShapeDtypeStruct((len(masks),), jnp.int32),
        )
        return jax.pure_callback(
            lambda *x: _first_wrong(*(np.asarray(a).reshape(n, size, size) for a in x)),
            shapes,
            masks,
            predicted,
            vmap_method="sequential",
        )

    from training.model import sam2 as trained

    monkeypatch.setattr(trained, "get_next_point", click)
    monkeypatch.setattr("train.clicks.click_on_error", our_click)
    monkeypatch.setattr(user, "click_on_error", our_click)

    theirs.train()
    for part in theirs.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_p"):
            part.dropout_p = 0.0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.tensor(images[:, 0]) / 255 - mean) / std).permute(0, 3, 1, 2)
    datapoint = SimpleNamespace(
        flat_img_batch=pixels,
        masks=torch.tensor(masks),
        num_frames=t,
        flat_obj_to_img_idx=torch.arange(t)[:, None].expand(t, n),
    )
    theirs.requires_grad_(True)
    outputs = theirs(datapoint)
    # A mask that was given has a constant loss upstream and none here.
    first = 1 if by_mask else 0
    expected = _official_loss(l1=True)(outputs[first:], torch.tensor(masks[first:]))
    expected["core_loss"].backward()

    weights = LossWeights()
    prompting = Prompting(
        point_share=0.0 if by_mask else 1.0,
        box_share=0.0,
        first_frames=1,
        corrected_frames=1,
        corrections=3,
        from_truth=0.0,
    )
    batch = Batch(jnp.asarray(images), jnp.asarray(masks), jnp.ones(n, bool))

    @jax.jit
    def ours(model: Model) -> tuple[Any, Any]:
        key = jax.random.key(0)

        def loss(params: Any) -> tuple[Any, Any]:
            tuned = Model(params, module)
            losses = rollout(
                tuned,
                encode(tuned, batch.images, key),
                batch,
                key,
                prompting=prompting,
                weights=weights,
                remat=False,
                locating=jnp.array(False),
            )
            return losses.total(weights), losses

        grads, losses = jax.grad(loss, has_aux=True)(model.params)
        return losses, grads

    found, grads = ours(model)
    for name, attribute in OURS.items():
        assert float(getattr(found, attribute)) == pytest.approx(
            float(expected[name].detach()), rel=1e-3
        )
    wanted = {
        name: np.zeros(x.shape, np.float32) if x.grad is None else x.grad.numpy()
        for name, x in theirs.named_parameters()
    }
    wanted = {path: x for path, x in from_official(wanted).items() if path in flatten(grads)}
    assert len(wanted) > 150
    scale = np.sqrt(sum(np.sum(np.square(x)) for x in wanted.values()))
    error = np.sqrt(sum(np.sum((flatten(grads)[p] - x) ** 2) for p, x in wanted.items()))
    # Seen: 1.4e-3 with masks, where more is read from memories that are rounded to bfloat16 here;
    # 1.3e-5 with clicks.
    assert error < (1e-2 if by_mask else 1e-4) * scale
