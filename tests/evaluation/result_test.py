"""Tests for segnet_jax/evaluation/result.py, and for the names that settings give to reports."""

import pytest

from segnet_jax.evaluation.from_config import build_settings
from segnet_jax.evaluation.result import find_reports, report_path
from tests.helpers.tiny_config import config_with

MIXTURE = {"data__name": "mixture", "data__mixture": ({"name": "synthetic"},)}
SMALL_EXACT = {"eval__batch_norm": "exact", "data__image_size": (180, 240)}


@pytest.mark.parametrize(
    ("values", "trained", "kind"),
    [
        ({}, {}, ""),
        ({"eval__samples": 40}, {}, "-samples40"),
        ({"crf__enabled": True, "eval__samples": 3, "data__max_images": 1}, {}, "-crf-samples3-first1"),
        (SMALL_EXACT, {}, "-exact-180x240"),
        # Statistics and size are not named where they are those of the training run.
        (SMALL_EXACT, SMALL_EXACT, ""),
        (SMALL_EXACT, None, ""),
        ({}, SMALL_EXACT, "-running-native"),
        ({"eval__class_map": (("a", "b"),)}, {}, "-mapped"),
        ({"eval__class_map": (("a", "b"),)}, None, ""),
        ({**MIXTURE, "eval__mixture": "all"}, MIXTURE, "-allsets"),
        (MIXTURE, {**MIXTURE, "eval__mixture": "all"}, "-firstset"),
        ({**MIXTURE, "eval__mixture": "all"}, None, ""),
        ({"eval__mixture": "all"}, MIXTURE, ""),  # no mixture is evaluated
    ],
)
def test_report_path_names_what_sets_a_report_apart_and_find_reports_finds_it(tmp_path, values, trained, kind):
    settings = build_settings(config_with(**values), None if trained is None else config_with(**trained))
    path = report_path(tmp_path, "val", 2, settings.kind)
    assert path == tmp_path / "eval" / f"val-2{kind}.json"
    path.parent.mkdir()
    path.write_text("")
    assert find_reports(tmp_path) == {("val", 2, kind): path}


def test_find_reports_takes_splits_with_hyphens_and_numbers(tmp_path):
    (tmp_path / "eval").mkdir()
    for name in ("fold-3-10", "fold-3-10-crf", "val-6-missing", "val-6-crf-missing", "val", "notes-crf", "val-6-crfs"):
        (tmp_path / "eval" / f"{name}.json").write_text("")
    (tmp_path / "eval" / "val-7.png").write_text("")
    assert sorted(find_reports(tmp_path)) == [("fold-3", 10, ""), ("fold-3", 10, "-crf")]
    assert find_reports(tmp_path / "none") == {}
