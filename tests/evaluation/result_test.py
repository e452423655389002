"""Tests for segnet_jax/evaluation/result.py."""

import pytest

from segnet_jax.config import apply_overrides, default_config
from segnet_jax.evaluation.result import find_reports, report_path


def config_of(**overrides):
    config = default_config()
    apply_overrides(config, {key.replace("__", "."): value for key, value in overrides.items()})
    return config


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "val-2.json"),
        ({"crf__enabled": True}, "val-2-crf.json"),
        ({"eval__samples": 40}, "val-2-samples40.json"),
        ({"data__max_images": 8}, "val-2-first8.json"),
        ({"crf__enabled": True, "eval__samples": 40}, "val-2-crf-samples40.json"),
        ({"crf__enabled": True, "eval__samples": 3, "data__max_images": 1}, "val-2-crf-samples3-first1.json"),
        ({"eval__batch_norm": "exact"}, "val-2-exact.json"),
        ({"data__image_size": (180, 240)}, "val-2-180x240.json"),
    ],
)
def test_report_path_names_what_sets_a_report_apart_and_find_reports_finds_it(tmp_path, overrides, name):
    path = report_path(tmp_path, config_of(**overrides), "val", 2, default_config())
    assert path == tmp_path / "eval" / name
    path.parent.mkdir()
    path.write_text("")
    kind = name.removeprefix("val-2").removesuffix(".json")
    assert find_reports(tmp_path) == {("val", 2, kind): path}


def test_report_path_does_not_name_statistics_and_size_of_the_training_run(tmp_path):
    config = config_of(eval__batch_norm="exact", data__image_size=(180, 240))
    for trained in (None, config):
        assert report_path(tmp_path, config, "test", 9, trained).name == "test-9.json"
    changed = config_of()
    assert report_path(tmp_path, changed, "test", 9, config).name == "test-9-running-native.json"


def test_find_reports_takes_splits_with_hyphens_and_numbers(tmp_path):
    (tmp_path / "eval").mkdir()
    for name in ("fold-3-10", "fold-3-10-crf", "val-6-missing", "val-6-crf-missing", "val", "notes-crf", "val-6-crfs"):
        (tmp_path / "eval" / f"{name}.json").write_text("")
    (tmp_path / "eval" / "val-7.png").write_text("")
    assert sorted(find_reports(tmp_path)) == [("fold-3", 10, ""), ("fold-3", 10, "-crf")]
    assert find_reports(tmp_path / "none") == {}
