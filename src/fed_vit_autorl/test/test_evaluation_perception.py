from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.data.classes import SEMANTIC_CLASSES
from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.evaluation.perception import (
    Perceived,
    PerceptionEvaluator,
    fairness,
    left_out,
    robustness,
    setting_of,
)
from fed_vit_autorl.evaluation.segmentation import Confusion, mean_iou

W, H = 64, 48
BLACK = np.zeros((H, W, 3), np.uint8)
BOX = np.array([[10, 10, 30, 30]], np.float32)
LEFT = np.zeros((H, W), np.uint8)
LEFT[:, : W // 2] = 1


def sample(source="vehicle_1", domain="noon", labelled=True, **labels) -> Sample:
    known = {"boxes": BOX, "classes": np.zeros(1, np.int64), "free_space": LEFT} | labels
    return Sample(
        np.full((H, W, 3), 200, np.uint8),
        CameraModel.nominal(W, H),
        labels=Labels.unknown(H, W, **known) if labelled else None,
        source=source,
        domain=domain,
    )


def oracle(sample: Sample) -> Perceived:
    """Sees everything on bright images, nothing on dark ones."""
    if sample.image.mean() < 100:
        return Perceived(BOX[:0], np.zeros(0, np.float32), np.zeros(0, np.int64), {"free_space": np.zeros((H, W))})
    masks = {"free_space": LEFT.astype(np.float32)}
    return Perceived(BOX, np.ones(1, np.float32), np.zeros(1, np.int64), masks)


def test_iou_over_a_set_adds_pixels_before_it_divides():
    confusion = Confusion(2)
    confusion.add(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [255, 0]], np.uint8))
    confusion.add(np.array([[1, 0], [0, 0]]), np.array([[1, 1], [255, 255]], np.uint8))
    # class 1: 2 hits, predicted 3, labelled 3 -> 2/4; class 0: 1 hit, predicted 2, labelled 2 -> 1/3
    assert confusion.iou == pytest.approx((1 / 3, 1 / 2))
    assert mean_iou(confusion, ("no", "yes"))["miou"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert confusion.accuracy == pytest.approx(3 / 5)


def test_a_class_that_is_not_labelled_does_not_count_in_the_mean():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 2]]), np.array([[0, 0]], np.uint8))
    assert mean_iou(confusion, "abc")["miou"] == pytest.approx(0.5)


def test_a_prediction_of_another_size_is_an_error():
    with pytest.raises(ValueError, match="prediction"):
        Confusion(2).add(np.zeros((2, 2)), np.zeros((3, 2), np.uint8))


def test_a_perfect_model_scores_one_and_what_is_not_labelled_has_no_key():
    result = PerceptionEvaluator().evaluate(oracle, [sample(), sample()])
    assert (result["map"], result["map50"], result["free_space_iou"]) == pytest.approx((1, 1, 1))
    assert not {"lane_iou", "miou"} & set(result)
    assert set(result["latency_ms"]) == {"p50", "p95", "p99", "max"}


def test_groups_are_counted_apart():
    dark = Sample(
        np.zeros((H, W, 3), np.uint8), CameraModel.nominal(W, H), labels=sample().labels, source="v2", domain="night"
    )
    result = PerceptionEvaluator().evaluate(oracle, [sample(), dark])
    assert result["by_source"]["vehicle_1"]["map50"] == pytest.approx(1)
    assert result["by_source"]["v2"]["map50"] == 0
    assert result["by_domain"]["night"]["free_space_iou"] == 0
    assert result["free_space_iou"] == pytest.approx(0.5)


def test_masks_and_scores_of_a_coarser_grid_are_compared_at_the_labels_size():
    semantic = np.zeros((len(SEMANTIC_CLASSES), H // 4, W // 4), np.float32)
    semantic[3, :, : W // 8] = 1
    semantic[0, :, W // 8 :] = 1
    coarse = Perceived(BOX, np.ones(1, np.float32), np.zeros(1, np.int64), {"free_space": semantic[3]}, semantic)
    label = np.where(LEFT == 1, 3, 0).astype(np.uint8)
    result = PerceptionEvaluator().evaluate(lambda _: coarse, [sample(semantic=label)])
    assert result["free_space_iou"] == pytest.approx(1)
    assert result["miou"] == pytest.approx(1)
    assert result["semantic_per_class"]["road"] == pytest.approx(1)


def test_semantic_labels_alone_are_per_class_of_the_semantic_classes():
    label = np.full((H, W), 3, np.uint8)
    image = Sample(
        np.zeros((H, W, 3), np.uint8), CameraModel.nominal(W, H), labels=Labels.unknown(H, W, semantic=label)
    )
    road = np.eye(len(SEMANTIC_CLASSES), dtype=np.float32)[3][:, None, None] * np.ones((1, 6, 8), np.float32)
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    result = PerceptionEvaluator().evaluate(lambda _: Perceived(*nothing, semantic=road), [image])
    assert (result["miou"], result["per_class"]["road"]) == (1, 1)
    assert "map" not in result


def test_fairness_is_the_gap_between_settings():
    groups = {"urban": {"map50": 0.5}, "suburban": {"map50": 0.7}, "rural": {"map50": float("nan")}}
    assert fairness(groups) == {"map50": {"urban": 0.5, "suburban": 0.7, "gap": pytest.approx(0.2)}}


@pytest.mark.parametrize(
    ("source", "domain", "setting"),
    [
        ("grid_7/ego_0", "noon", "urban"),
        ("v1", "suburban_dusk", "suburban"),
        ("random_2/e", "fog", "rural"),
        ("a", "b", ""),
    ],
)
def test_a_sample_tells_the_setting_that_it_is_from(source, domain, setting):
    assert setting_of(sample(source, domain)) == setting


def test_robustness_tells_what_is_kept():
    def darken(clean: Sample, _random) -> Sample:
        return Sample(clean.image // 4, clean.camera, labels=clean.labels)

    found = robustness(oracle, [sample()], {"dark": darken, "none": lambda clean, _: clean})
    assert found["dark"]["kept"]["map50"] == 0
    assert found["none"]["kept"]["free_space_iou"] == pytest.approx(1)


def test_figures_without_each_part_are_those_of_the_others():
    seen, missed = [sample(), sample()], [replace(sample(), image=BLACK)]
    whole, without = left_out(oracle, [seen, missed])
    assert (whole["samples"], without[0]["samples"], without[1]["samples"]) == (3, 1, 2)
    assert whole["map50"] == pytest.approx(PerceptionEvaluator().evaluate(oracle, seen + missed)["map50"])
    assert (without[0]["map50"], without[1]["map50"]) == pytest.approx((0, 1))
    # a third of what is labelled as free was seen black
    assert (whole["free_space_iou"], without[1]["free_space_iou"]) == pytest.approx((2 / 3, 1))


def test_no_labels_or_no_samples_is_said():
    with pytest.raises(ValueError, match="vehicle_1 has no labels"):
        PerceptionEvaluator().evaluate(oracle, [sample(labelled=False)])
    with pytest.raises(ValueError, match="no samples"):
        PerceptionEvaluator().result()
