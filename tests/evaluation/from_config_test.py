"""Tests for segnet_jax/evaluation/from_config.py."""

import jax
import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.data.preprocessing import imagenet
from segnet_jax.errors import InputError
from segnet_jax.evaluation.from_config import CheckpointEvaluation, build_evaluator, build_settings
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.inference.from_config import build_crf
from segnet_jax.models.from_config import build_model
from tests.helpers.folder_files import save, write
from tests.helpers.tiny_config import config_with


def test_build_evaluator_refuses_stochastic_passes_without_dropout():
    config = config_with(model__name="segnet_basic", eval__samples=4)
    with pytest.raises(InputError, match="eval.samples=4 needs a network with dropout.*model.dropout_rate=0.5"):
        build_evaluator(config, build_model(config, 3), jax.devices()[:1], imagenet)
    config.model.dropout_rate = 0.5
    build_evaluator(config, build_model(config, 3), jax.devices()[:1], imagenet)


def test_build_evaluator_refuses_stochastic_passes_over_copies_of_the_image():
    config = config_with(model__name="segnet_basic", model__dropout_rate=0.5, eval__samples=4, eval__flip=True)
    with pytest.raises(InputError, match=r"eval\.samples .*eval\.flip and eval\.scales .*choose one"):
        build_evaluator(config, build_model(config, 3), jax.devices()[:1], imagenet)


def test_build_settings_names_what_predictions_are_means_over():
    config = config_with(eval__flip=True, eval__scales=(0.5, 1.0), data__max_images=8)
    settings = build_settings(config)
    assert (settings.kind, settings.flip, settings.scales) == ("-flip-scales-first8", True, (0.5, 1.0))


def test_build_crf_builds_one_only_if_it_is_enabled():
    config = config_with(crf__bilateral_weight=4.0)
    assert build_crf(config) is None
    config.crf.enabled = True
    crf = build_crf(config)
    assert crf == DenseCRF(bilateral_weight=4.0)
    assert build_crf(config_with(crf__enabled=True)) == DenseCRF()


def test_checkpoint_evaluation_takes_data_of_other_classes_through_a_map(trained_run, tmp_path):
    write(tmp_path, ["a", "b"], ids=1)
    save(tmp_path / "masks" / "b.png", np.full((4, 6), 2, np.uint8))
    overrides = {"data.name": "folder", "data.root": str(tmp_path), "data.classes": ("nothing", "street", "house")}
    overrides |= {"data.eval_split": "train", "data.val_fraction": 0.0}
    with pytest.raises(InputError, match=r"\(nothing, street, house\) are not those .*eval\.class_map"):
        CheckpointEvaluation(trained_run, overrides)
    pairs = (("street", "road"),)
    opened = CheckpointEvaluation(trained_run, {**overrides, "eval.class_map": pairs})
    assert opened.dataset.class_table == opened.trained.class_table
    labels = [set(opened.dataset[index]["label"].ravel().tolist()) for index in range(2)]
    assert labels == [{opened.trained.class_table.names.index("road")}, {VOID}]
    assert (opened.settings.kind, opened.settings.class_map) == ("-mapped", pairs)
