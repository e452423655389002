"""Tests for segnet_jax/evaluation/missing_input.py, and for runs on images of two modalities."""

import json

import numpy as np
import pytest

from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.from_config import DATASETS
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.evaluation.missing_input import evaluate_missing
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.tiny_config import make_tiny_config


class ScenesWithDepth:
    """Drawn scenes with a fourth channel that is nearer the further down a pixel lies."""

    name, modalities = "scenes with depth", (3, 1)

    def __init__(self, split, size, length, seed):
        self._scenes = SyntheticScenes(split, size, length, seed)
        self.split, self.class_table = split, self._scenes.class_table

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, index):
        example = self._scenes[index]
        height, width = example["label"].shape
        depth = np.linspace(255, 0, height * width).reshape(height, width, 1).astype(np.uint8)
        return {**example, "image": np.concatenate([example["image"], depth], axis=-1)}

    def shape(self, index):
        return self._scenes.shape(index)


def flat_config():
    config = make_tiny_config()
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.model.pairs = 1
    config.data.train_scenes = 8
    config.data.eval_scenes = 5
    config.train.duration = "4 steps"
    config.train.eval_every = "0 steps"
    config.optimizer.learning_rate = 0.5
    config.eval.missing_pixels = (0.0, 0.5, 1.0)
    return config


@pytest.fixture(scope="module")
def masked_run(tmp_path_factory):
    config = flat_config()
    config.masking.pixels = (0.0, 0.8)
    config.masking.block = 2
    workdir = tmp_path_factory.mktemp("masked")
    train_and_evaluate(config, workdir)
    return workdir


def test_evaluate_missing_gives_the_accuracy_by_the_share_of_missing_pixels(masked_run):
    workdir = masked_run
    rows = evaluate_missing(workdir, {"eval.pictures": 2})
    assert [(row["missing_pixels"], row["missing_modality"]) for row in rows] == [(0.0, None), (0.5, None), (1.0, None)]
    plain = evaluate_checkpoint(workdir)
    whole = {key: value for key, value in plain.items() if key not in ("boundary_f1", "smoothness")}
    assert rows[0] == {"missing_pixels": 0.0, "missing_modality": None, **whole}
    # Nothing is left of the input: all logits are 0, and every pixel is given the first class.
    sky, pixels = rows[2]["classes"][0]["pixels"], rows[2]["pixels"]
    assert rows[2]["global_accuracy"] == pytest.approx(sky / pixels)
    assert rows[1]["global_accuracy"] not in (rows[0]["global_accuracy"], rows[2]["global_accuracy"])
    assert all(row["pixels"] == pixels for row in rows), "what is missing from the input still has a label"
    (path,) = (workdir / "eval").glob("val-*-missing.json")
    stored = json.loads(path.read_text())
    assert (stored["missing_block"], stored["split"], stored["evaluations"]) == (1, "val", rows)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def with_depth(monkeypatch):
    """Puts `ScenesWithDepth` in the place of the drawn scenes."""

    def build(config, split):
        data = config.data
        return ScenesWithDepth(
            split, data.scene_size, data.train_scenes if split == "train" else data.eval_scenes, config.seed
        )

    monkeypatch.setitem(DATASETS, "synthetic", (build, ()))


def test_evaluate_missing_leaves_out_each_modality(with_depth, tmp_path):
    config = flat_config()
    config.augment.brightness = 0.2
    config.masking.modality = 0.5
    state = train_and_evaluate(config, tmp_path)
    assert state.params["conv1"]["kernel"].shape == (7, 7, 4, 4)
    trained = load_trained(tmp_path)
    assert trained.modalities == (3, 1)
    rows = evaluate_missing(tmp_path, {"eval.missing_pixels": (0.0,), "eval.pictures": 1})
    assert [row["missing_modality"] for row in rows] == [None, 0, 1]
    assert len({row["global_accuracy"] for row in rows}) == 3


def test_evaluate_missing_refuses_other_modalities_than_those_of_the_run(masked_run, with_depth):
    with pytest.raises(InputError, match=r"scenes with depth have modalities of \(3, 1\) channels.*had \(3,\)"):
        evaluate_missing(masked_run)


def test_train_and_evaluate_refuses_to_mask_the_only_modality(tmp_path):
    config = flat_config()
    config.masking.modality = 0.5
    with pytest.raises(InputError, match="the only modality"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
