"""Tests for segnet_jax/report/comparison.py."""

import pytest

from segnet_jax.errors import InputError
from segnet_jax.report.comparison import compare, differing_conditions
from tests.helpers.evaluated_runs import write_run


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


def lines_of(comparison):
    return {line[0]: line[1:] for line in differing_conditions(comparison)}


def test_differences_of_the_network_are_named(tmp_path):
    settings = {"model__batch_norm": False, "model__fc_features": 64, "model__dropout_rate": 0.0, "step": 40_000}
    comparison = one(write_run(tmp_path / "fcn", model__name="fcn8s", loss__class_weights="none", **settings))
    assert comparison.row.id == "3/fcn_learnt_deconv/40K"
    lines = lines_of(comparison)
    assert lines["BatchNorm"] == ("no", "yes")
    assert lines["features of fc6 and fc7"] == ("64", "4,096")
    assert lines["dropout rate"] == ("0", "0.5")
    assert not lines.keys() & {"iterations", "statistics of BatchNorm", "upsampling", "network", "started from"}
    # Held against another network's row, only that is named which both have.
    lines = lines_of(one(f"{tmp_path / 'fcn'}=1/segnet_basic/median"))
    assert lines["network"] == ("fcn8s", "segnet basic")
    assert not lines.keys() & {"BatchNorm", "features of fc6 and fc7", "dropout rate"}


def test_differences_of_the_2015_network_are_named(tmp_path):
    flat = {"model__name": "segnet_flat", "model__pairs": 2, "preprocessing": "lcn"}
    comparison = one(write_run(tmp_path / "flat", loss__class_weights="inverse_frequency", **flat))
    assert comparison.row.id == "2015-1/segnet_4_layer"
    lines = lines_of(comparison)
    assert lines["pairs of encoder and decoder"] == ("2", "4")
    assert lines["training"] == ("end to end, by SGD", "layer by layer, by L-BFGS")
    assert "iterations of L-BFGS on a mini-batch" not in lines
    layerwise = {"train__procedure": "layerwise", "layerwise__iterations": 5, "model__width_multiplier": 0.5}
    lines = lines_of(one(write_run(tmp_path / "layerwise", model__name="segnet_flat", **layerwise)))
    assert lines["iterations of L-BFGS on a mini-batch"] == ("5", "20")
    assert lines["features, as a share of the paper's"] == ("0.5", "1")
    assert not lines.keys() & {"training", "training of each pair", "pairs of encoder and decoder", "learning rate"}


@pytest.mark.parametrize(
    ("settings", "row", "differing"),
    [
        ({"transfer__trained": "(conv4|conv_decode4)/.*"}, "2015-3/segnet_l4", {}),
        (
            {"transfer__trained": "conv_classifier.*", "model__hidden_features": 64},
            "2015-3/segnet_sm",
            {"features of the classifier's hidden layer": ("64", "a hidden layer of a size that it does not tell")},
        ),
        ({}, "2015-1/segnet_4_layer", {"started from": ("a network trained on camvid", "no other network")}),
        (
            {"transfer__trained": "conv4/.*"},
            "2015-1/segnet_4_layer",
            {
                "started from": ("a network trained on camvid", "no other network"),
                "trained": ("parameters matching conv4/.*", "everything"),
            },
        ),
    ],
)
def test_transfer_is_held_against_the_rows_of_transfer(tmp_path, settings, row, differing):
    source = write_run(tmp_path / "source", model__name="segnet_flat")
    settings = {"data__name": "folder", "model__name": "segnet_flat", "transfer__source": str(source), **settings}
    comparison = one(write_run(tmp_path / "run", **settings))
    assert comparison.row.id == row
    keys = {"started from", "trained", "features of the classifier's hidden layer"}
    assert {key: value for key, value in lines_of(comparison).items() if key in keys} == differing


def test_another_source_than_the_papers_is_named(tmp_path):
    unsupervised = {"train__procedure": "layerwise", "layerwise__target": "input", "model__name": "segnet_flat"}
    source = write_run(tmp_path / "source", **unsupervised)
    settings = {"transfer__trained": "(conv4|conv_decode4)/.*", "transfer__source": str(source)}
    lines = lines_of(one(write_run(tmp_path / "run", model__name="segnet_flat", **settings)))
    assert lines["started from"] == (
        "a network trained to reconstruct its input, on camvid",
        "a network trained on camvid",
    )


def test_evaluations_of_one_run_have_rows_of_their_own(tmp_path):
    settings = {"model__name": "deeplab_largefov", "loss__class_weights": "none", "step": 150_000}
    path = write_run(tmp_path / "lab", right=70, **settings)
    write_run(path, kind="-crf", right=80, report={"crf": {"iterations": 10}}, **settings)
    write_run(path, kind="-first2", right=90, report={"max_images": 2}, **settings)
    comparisons, _ = compare([str(path)])
    assert [(found.label, found.row.id, round(found.scores["global_accuracy"][0])) for found in comparisons] == [
        ("lab", "3/deeplab_largefov/best", 70),
        ("lab (dense CRF)", "3/deeplab_largefov_densecrf/best", 80),
        ("lab (first 2 images)", "3/deeplab_largefov/best", 90),
    ]
    assert lines_of(comparisons[2])["scored images"] == ("2 (the first of the split)", "233")
    # Two seeds are joined kind by kind.
    other = write_run(tmp_path / "lab2", right=60, seed=1, **settings)
    write_run(other, kind="-crf", right=90, seed=1, report={"crf": {"iterations": 10}}, **settings)
    comparisons, _ = compare([str(path), str(other)])
    assert [found.label for found in comparisons] == ["lab, lab2", "lab, lab2 (dense CRF)", "lab (first 2 images)"]
    assert [found.scores["global_accuracy"][0] for found in comparisons] == pytest.approx([65, 85, 90])


def test_a_step_and_a_row_can_be_chosen(tmp_path):
    path = write_run(tmp_path / "run", step=6, right=60)
    write_run(path, step=8, right=80)

    def found(*arguments):
        comparisons, faults = compare(arguments)
        steps = [(each.label, each.runs[0].step, each.row.id) for each in comparisons]
        return steps, [fault.split(" ", 1)[1] for fault in faults]

    median, natural = "1/segnet_basic/median", "1/segnet_basic/natural"
    assert found(f"{path}@6") == ([("run@6", 6, median)], [])
    assert found(f"{path}@6={natural}") == ([("run@6", 6, natural)], [])
    assert found(f"{path}", f"{path}@6", f"{path}@8") == ([("run", 8, median), ("run@6", 6, median)], [])
    assert found(f"{tmp_path}/r*@6") == ([("run@6", 6, median)], [])
    assert found(f"{path}@7")[1] == ["has no evaluation of step 7 on the split test; choose one of 6, 8."]
    # Names that only look like it.
    write_run(tmp_path / "lr=1@6"), write_run(tmp_path / "lr=2", step=6), write_run(tmp_path / "lr=2", step=7)
    assert found(f"{tmp_path}/lr=1@6") == ([("lr=1@6", 10, median)], [])
    assert found(f"{tmp_path}/lr=2@6") == ([("lr=2@6", 6, median)], [])
    assert found(f"{tmp_path}/lr=2@6={natural}") == ([("lr=2@6", 6, natural)], [])
    assert found(f"{tmp_path}/me@home")[1] == ["is no directory; name the work directory of a training run."]
