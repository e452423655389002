"""Tests for segnet_jax/inference/pretrained.py and model_card.py."""

import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import jax
import numpy as np
import pytest

import segnet_jax
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.image_files import read_mask
from segnet_jax.errors import InputError
from segnet_jax.inference.pretrained import load_network, save_network, shipped_networks
from segnet_jax.inference.trained_model import load_trained
from tests.helpers.hub import Hub


@pytest.fixture(scope="module")
def saved(trained_run, tmp_path_factory):
    """Returns the folder of a saved network, to be read only."""
    folder = tmp_path_factory.mktemp("saved") / "network"
    save_network(load_trained(trained_run), folder)
    return folder


def test_load_network_gives_what_save_network_was_given(trained_run, saved, tmp_path):
    before = load_trained(trained_run)
    renamed = shutil.copytree(saved, tmp_path / "renamed") / "net.safetensors"
    (renamed.parent / "model.safetensors").rename(renamed)
    for where in (saved, str(saved), saved / "model.safetensors", renamed):
        after = load_network(where)
        assert (after.model, after.class_table, after.step) == (before.model, before.class_table, before.step)
        assert after.modalities == before.modalities
        assert after.scores == before.scores
        assert set(before.scores) == {"mean_iou", "class_accuracy", "global_accuracy"}
        jax.tree.map(np.testing.assert_array_equal, after.variables, before.variables)
        assert after.config.train.batch_size == 8
    assert load_network(saved, {"crf.enabled": True}).config.crf.enabled


def test_save_network_writes_a_card_with_the_scores_and_no_path_of_this_machine(trained_run, tmp_path):
    trained = load_trained(trained_run)
    trained.run_config.data.root = "/home/somebody/data"
    save_network(trained, tmp_path / "out", eight_bits=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: segnet_jax\n")
    assert f"| mean IoU | {100 * trained.scores['mean_iou']:.1f} % |" in card
    assert "6,190 parameters" in card
    assert "on 16 images of synthetic" in card
    for file in (tmp_path / "out").iterdir():
        assert b"somebody" not in file.read_bytes(), file
    assert trained.run_config.data.root == "/home/somebody/data"


def test_save_network_describes_a_mixture_without_its_paths(trained_run, tmp_path):
    trained = load_trained(trained_run)
    roots = {"camvid": "/home/somebody/camvid", "folder": "/home/somebody/mine"}
    trained.run_config.data.name = "mixture"
    trained.run_config.data.mixture = tuple({"name": name, "root": root} for name, root in roots.items())
    save_network(trained, tmp_path / "out")
    assert "on 16 images of camvid + folder" in (tmp_path / "out" / "README.md").read_text()
    for file in (tmp_path / "out").iterdir():
        assert b"somebody" not in file.read_bytes(), file


def test_save_network_replaces_its_own_files_alone(trained_run, tmp_path):
    trained = load_trained(trained_run)
    folder = tmp_path / "out"
    save_network(trained, folder)
    save_network(trained, folder, eight_bits=True)
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds other files, such as thesis.tex; choose an empty folder"):
        save_network(trained, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_network(trained, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json is missing; copy it together with the weights"),
        ("{", "config.json does not describe a network of segnet_jax"),
        ("[]", "config.json does not describe"),
        ('{"format": "segnet_jax network", "version": 9}', "version 9, not segnet_jax network, 1"),
        ('{"format": "segnet_jax network", "version": 1}', "lacks 'config'"),
    ],
)
def test_load_network_refuses_a_damaged_description(saved, tmp_path, content, message):
    folder = shutil.copytree(saved, tmp_path / "network")
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_network(folder)


def test_load_network_fetches_both_files_of_a_repository(saved, monkeypatch):
    hub = Hub(monkeypatch, online=saved)
    assert load_network("someone/segnet", revision="v2").step == load_network(saved).step
    asked = [call for call in hub.calls if call != "head"]
    assert asked == [("download", "someone/segnet", file, "v2") for file in ("model.safetensors", "config.json")]


def test_load_network_names_what_there_is_where_there_is_none(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nothing is no work directory, no folder with model.safetensors and no ship"):
        load_network(tmp_path / "nothing")
    Hub(monkeypatch, error=ConnectionError("refused"))
    with pytest.raises(InputError, match=r"model.safetensors of someone/segnet .*\(ConnectionError\); check its name"):
        load_network("someone/segnet")


def test_segmenter_saves_and_uploads_a_folder_that_from_pretrained_reads(trained_run, tmp_path, monkeypatch):
    uploaded = []

    class Api:
        def create_repo(self, repository, *, private, exist_ok):
            uploaded.append((repository, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path):
            uploaded.append(sorted(json.loads(Path(folder_path, "config.json").read_text())["scores"]))
            shutil.copytree(folder_path, tmp_path / "hub")
            return "https://hub/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    segmenter = segnet_jax.from_pretrained(trained_run)
    assert segmenter.push_to_hub("me/net", eight_bits=True) == "https://hub/commit/1"
    assert uploaded == [("me/net", False, True), ["class_accuracy", "global_accuracy", "mean_iou"]]
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    segmenter.save_pretrained(tmp_path / "saved", eight_bits=True)
    labels = [segnet_jax.from_pretrained(tmp_path / name).predict(image).labels for name in ("hub", "saved")]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("name", ["segnet_basic_camvid", "segnet_camvid_small"])
def test_shipped_network_knows_camvids_classes_and_is_small(name):
    assert shipped_networks() == ["segnet_basic_camvid", "segnet_camvid_small"]
    segmenter = segnet_jax.from_pretrained(name)
    assert segmenter.class_table == CAMVID11
    folder = Path(segnet_jax.__file__).parent / "assets" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000
    # Beside the score in float32.
    score = f"{100 * segmenter.trained.scores['mean_iou']:.1f}"
    assert re.search(rf"\| mean IoU \| [\d.]+ % \| {score} % \|", (folder / "README.md").read_text())


@pytest.mark.parametrize("name", ["segnet_basic_camvid", "segnet_camvid_small"])
def test_shipped_network_finds_sky_above_and_road_below(camvid_root, name):
    found = segnet_jax.from_pretrained(name).predict(camvid_root / "val" / "0016E5_08101.png")
    labels = read_mask(camvid_root / "valannot" / "0016E5_08101.png")
    labelled = labels < 11
    assert (found.labels == labels)[labelled].mean() > 0.75
