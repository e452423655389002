"""Tests for the networks in weights/."""

import json

import pytest

import segnet_jax
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.image_files import read_mask
from segnet_jax.models.segnet import SegNet
from tests.helpers.paths import ROOT

FOLDER = ROOT / "weights"
WEIGHTS = FOLDER / "segnet_camvid.safetensors"


def test_delivered_network_is_the_whole_segnet_in_eight_bits_with_its_scores():
    trained = segnet_jax.from_pretrained(WEIGHTS).trained
    assert isinstance(trained.model, SegNet)
    assert (trained.model.width_multiplier, trained.class_table) == (1.0, CAMVID11)
    assert 29_000_000 < WEIGHTS.stat().st_size < 31_000_000, "a byte for each of 29.4 million parameters"
    scores = json.loads((FOLDER / "config.json").read_text())["scores"]
    assert scores == dict(trained.scores)
    card = (FOLDER / "README.md").read_text()
    for name, key in (("global accuracy", "global_accuracy"), ("mean IoU", "mean_iou"), ("boundary F1", "boundary_f1")):
        assert f"| {name}" in card
        assert f"| {100 * scores[key]:.1f} % |" in card


@pytest.mark.ci
def test_delivered_network_finds_most_of_a_validation_image(camvid_root):
    found = segnet_jax.from_pretrained(WEIGHTS).predict(camvid_root / "val" / "0016E5_08101.png")
    labels = read_mask(camvid_root / "valannot" / "0016E5_08101.png")
    assert (found.labels == labels)[labels < 11].mean() > 0.8
