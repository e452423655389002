"""Tests for segnet_jax/comparison.py."""

import pytest

from segnet_jax.comparison import compare, differing_conditions
from segnet_jax.errors import InputError
from tests.evaluated_test import write_run


def one(*arguments, **options):
    (comparison,), faults = compare([str(argument) for argument in arguments], **options)
    assert faults == []
    return comparison


def test_a_run_is_held_against_its_network_or_what_the_user_says(tmp_path):
    path = write_run(tmp_path / "run")
    assert one(path).row.id == "1/segnet_basic/median"
    assert one(f"{path}=3/segnet/80K").row.id == "3/segnet/80K"
    assert one(write_run(tmp_path / "own", model__name="my_net")).row is None
    with pytest.raises(InputError, match="no published row 'table 1'"):
        compare([f"{path}=table 1"])


def test_seeds_are_joined_unless_their_rows_differ(tmp_path):
    for seed, right in enumerate((70, 80)):
        write_run(tmp_path / f"seed={seed}", seed=seed, right=right)
    write_run(tmp_path / "wide", model__width_multiplier=2.0)
    comparisons, _ = compare([str(tmp_path / "seed=0"), str(tmp_path / "wide"), f"{tmp_path}/seed=*"])
    assert [comparison.label for comparison in comparisons] == ["seed=0, seed=1", "wide"]
    assert comparisons[0].scores["global_accuracy"] == (pytest.approx(75), pytest.approx(50**0.5))
    comparisons, _ = compare([str(tmp_path / "seed=0"), f"{tmp_path}/seed=1=1/segnet_basic/natural"])
    assert [comparison.label for comparison in comparisons] == ["seed=0", "seed=1"]


def test_what_cannot_be_read_does_not_keep_the_rest_from_being_compared(tmp_path):
    (tmp_path / "empty").mkdir()
    path = write_run(tmp_path / "run")
    comparisons, faults = compare([str(tmp_path / "empty"), str(path), str(tmp_path / "no*")])
    assert [comparison.label for comparison in comparisons] == ["run"]
    assert [fault.split()[0] for fault in faults] == [str(tmp_path / "empty"), str(tmp_path / "no*")]


def test_published_scores_are_those_of_the_same_split_where_there_are_some(tmp_path):
    trained = one(write_run(tmp_path / "a", split="train"))
    assert (trained.published_split, trained.published["global_accuracy"]) == ("train", 94.7)
    validated = one(write_run(tmp_path / "b", split="val"))
    assert (validated.published_split, validated.published["global_accuracy"]) == ("test", 82.7)


def test_every_condition_that_differs_is_named(tmp_path):
    same = {
        "preprocessing": "lcn",
        "report": {"images": 233, "pixels": 233 * 360 * 480, "void_pixels": 0, "batch_norm": "exact"},
    }
    as_published = one(write_run(tmp_path / "a", **same))
    # How many training images there were is unknown without a checkpoint, and when a loss has converged is no number.
    assert [line[0] for line in differing_conditions(as_published)] == ["training images", "iterations"]
    # Images that are as large of themselves are no difference.
    native = one(write_run(tmp_path / "b", data__image_size=(), **same))
    assert differing_conditions(native) == differing_conditions(as_published)

    run = one(
        write_run(
            tmp_path / "c",
            split="val",
            data__image_size=(180, 240),
            augment__crop_size=(90, 90),
            loss__class_weights="published_camvid",
            model__width_multiplier=0.5,
            train__batch_size=3,
            optimizer__learning_rate=0.01,
            optimizer__schedule="poly",
            report={"samples": 8, "crf": {"iterations": 10}},
        )
    )
    assert differing_conditions(run) == [
        ("scored split", "val", "test"),
        ("scored images", "2", "233"),
        ("scored at", "180x240", "360x480"),
        ("training images", "unknown", "367"),
        ("trained at", "90x90", "360x480"),
        (
            "iterations",
            "10",
            "until the training loss converged; of every 1000 the one with the highest global accuracy on the "
            "validation images",
        ),
        ("features, as a share of the paper's", "0.5", "1"),
        ("class weights", "published camvid", "median frequency"),
        ("normalisation of images", "imagenet", "lcn"),
        ("batch size", "3", "12"),
        ("learning rate", "0.01", "0.1"),
        ("learning rate schedule", "poly", "constant"),
        ("statistics of BatchNorm", "running averages", "a pass over the training set"),
        ("stochastic passes per image", "8", "0"),
        ("dense CRF", "yes", "no"),
    ]


def test_the_data_behind_a_number_of_images_is_told(tmp_path):
    path = write_run(tmp_path / "run", model__name="segnet", data__image_size=(), step=90_000)
    lines = {line[0]: line[1:] for line in differing_conditions(one(path))}
    roads = "3,433 (road scenes of CamVid, KITTI, Stanford Background and LabelMe)"
    assert lines["training images"] == ("unknown", roads)
    assert lines["iterations"] == ("90,000", "80,000")
    assert lines["trained at"] == ("as they are (600 pixels each)", "360x480")
    assert lines["initial weights of the encoder"] == ("none", "vgg16")
