"""Tests for segnet_jax/training/checks.py."""

import pytest

from segnet_jax.errors import InputError
from segnet_jax.training.checks import check_paths, check_run
from tests.helpers.tiny_config import config_with


def test_check_run_refuses_an_augmentation_before_anything_is_read():
    with pytest.raises(InputError, match="augment.hue=0.9"):
        check_run(config_with(augment__hue=0.9))


def test_check_run_refuses_an_unknown_loss():
    check_run(config_with(loss__name="cross_entropy + 0.5 lovasz"))
    with pytest.raises(InputError, match="loss.name='jaccard' has the term 'jaccard'"):
        check_run(config_with(loss__name="jaccard"))


@pytest.mark.parametrize("loss", [{"loss__name": "dice"}, {"loss__label_smoothing": 0.1}])
def test_check_run_refuses_other_losses_for_layerwise_training(loss):
    with pytest.raises(InputError, match="loss.name=.* and loss.label_smoothing=.* are for train.procedure=end_to_end"):
        check_run(config_with(train__procedure="layerwise", model__name="segnet_flat", **loss))


@pytest.mark.parametrize("fields", [{"model__name": "segnet_basic"}, {"model__width_multiplier": 0.5}])
def test_check_run_refuses_vgg16_for_another_network(fields):
    for name in ("segnet", "fcn8s", "deconvnet"):
        check_run(config_with(pretrained__weights="vgg16", model__name=name))
    with pytest.raises(InputError, match="fits only model.name=segnet, fcn32s.* or deconvnet, at"):
        check_run(config_with(pretrained__weights="vgg16", **fields))


def test_check_paths_names_all_that_is_missing_at_once(tmp_path):
    config = config_with(
        data__name="folder",
        pretrained__weights="vgg16",
        pretrained__path="no/vgg16.safetensors",
        transfer__source=str(tmp_path),
    )
    with pytest.raises(InputError) as caught:
        check_paths(config)
    assert str(caught.value).splitlines() == [
        "data.name=folder needs data.root, the folder that holds it. pretrained.path=no/vgg16.safetensors is not a "
        f"file; give the .safetensors file of VGG16. transfer.source={tmp_path} holds no checkpoint and "
        "no network; give the work directory of a training run, or the folder of a saved network."
    ]
    # A run that resumes has the weights in its checkpoint.
    config.data.root = "nowhere"
    with pytest.raises(InputError, match="^data.root=nowhere is not a folder.$"):
        check_paths(config, resumes=True)
    config.data.root = str(tmp_path)
    check_paths(config, resumes=True)
    # Records can lie in an object store.
    check_paths(config_with(data__name="records", data__root="gs://bucket/records"))


def test_check_paths_names_the_missing_folders_of_a_mixture(tmp_path):
    entries = (
        {"name": "camvid", "root": "camvid"},
        {"name": "synthetic"},
        {"name": "folder", "root": "/no/street"},
        {"name": "records", "root": "gs://bucket/records"},
    )
    config = config_with(data__name="mixture", data__mixture=entries, data__root=str(tmp_path))
    with pytest.raises(InputError, match=f"^data.root={tmp_path}/camvid is not a folder. data.root=/no/street is not"):
        check_paths(config)


def test_check_run_refuses_smoothing_without_cross_entropy():
    check_run(config_with(loss__name="focal + 0.5 cross_entropy", loss__label_smoothing=0.1))
    with pytest.raises(InputError, match=r"loss\.label_smoothing=0\.1 is of cross_entropy, which loss\.name"):
        check_run(config_with(loss__name="focal", loss__label_smoothing=0.1))


def test_check_run_refuses_a_mirrored_decoder_of_other_networks():
    check_run(config_with(model__name="segnet", pretrained__decoder="mirrored"))
    with pytest.raises(InputError, match=r"pretrained\.decoder=mirrored is for model\.name=segnet alone, not fcn8s"):
        check_run(config_with(model__name="fcn8s", pretrained__decoder="mirrored"))


def test_check_run_wants_teachers_and_distillation_together():
    check_run(config_with(loss__name="cross_entropy + distillation", loss__teachers=("a",)))
    with pytest.raises(InputError, match=r"^loss.teachers is for distillation, which loss.name='dice' has not; add"):
        check_run(config_with(loss__name="dice", loss__teachers=("a",)))
    with pytest.raises(InputError, match=r"^loss.name='distillation' distils networks, and loss.teachers names none"):
        check_run(config_with(loss__name="distillation"))


def test_check_paths_wants_teachers_of_a_resumed_run_too(tmp_path):
    config = config_with(loss__teachers=("segnet_camvid_small", str(tmp_path)))
    with pytest.raises(
        InputError, match=f"^loss.teachers has {tmp_path}, which holds no checkpoint and no network; give the work"
    ):
        check_paths(config, resumes=True)
