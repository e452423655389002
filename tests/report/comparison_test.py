"""Tests for segnet_jax/report/comparison.py."""

import pytest

from segnet_jax.errors import InputError
from segnet_jax.report.comparison import compare, differing_conditions
from tests.helpers.evaluated_runs import write_run

_FLAT = {"model__name": "segnet_flat"}
_SMALL_FCN = {"model__name": "fcn8s", "model__batch_norm": False, "model__fc_features": 64}
_TRANSFER = {"trained parameters", "frozen parameters"}


def one(*arguments):
    (comparison,), faults = compare([str(argument) for argument in arguments])
    assert faults == []
    return comparison


def lines_of(comparison):
    return {line[0]: line[1:] for line in differing_conditions(comparison)}


def test_compare_takes_the_row_of_the_network_or_the_chosen_one(tmp_path):
    path = write_run(tmp_path / "run")
    assert one(path).row.id == "1/segnet_basic/median"
    assert one(f"{path}=3/segnet/80K").row.id == "3/segnet/80K"
    assert one(path, f"{path}=3/segnet/80K").row.id == one(f"{path}=3/segnet/80K", path).row.id == "3/segnet/80K"
    assert one(write_run(tmp_path / "own", model__name="my_net")).row is None
    assert one(write_run(tmp_path / "fcn", model__name="fcn8s")).row.id == "3/fcn_learnt_deconv/best"
    equals = write_run(tmp_path / "lr=0.1")
    assert (one(equals).label, one(f"{equals}=3/segnet/80K").row.id) == ("lr=0.1", "3/segnet/80K")
    with pytest.raises(InputError, match="no published row 'table 1'"):
        compare([f"{path}=table 1"])


def test_compare_joins_runs_that_differ_only_in_their_seed(tmp_path):
    def labels(*arguments):
        return [comparison.label for comparison in compare([str(argument) for argument in arguments])[0]]

    first = write_run(tmp_path / "a", right=70)
    second = write_run(tmp_path / "b", seed=3, data__root="elsewhere")
    others = {"c": {"optimizer__momentum": 0.8}, "d": {"step": 11}, "e": {"report": {"samples": 8}}}
    paths = [write_run(tmp_path / name, seed=3, **settings) for name, settings in others.items()]
    assert labels(first, *paths, second, first) == ["a, b", "c", "d", "e"]
    assert labels(first, f"{second}=1/segnet_basic/natural") == ["a", "b"]


def test_compare_keeps_other_evaluations_of_a_run_apart(tmp_path):
    path = write_run(tmp_path / "a")
    for kind in ("-flip", "-weights"):
        write_run(path, kind=kind)
    labels = [comparison.label for comparison in compare([str(path)])[0]]
    assert labels == ["a", "a (over mirror images too)", "a (weights from elsewhere)"]


def test_scores_are_mean_and_sample_deviation_of_the_runs_that_have_one(tmp_path):
    paths = [
        str(write_run(tmp_path / str(seed), seed=seed, right=right, boundary_f1=boundary_f1))
        for seed, (right, boundary_f1) in enumerate([(70, 0.2), (80, None), (96, 0.4)])
    ]
    scores = one(*paths).scores
    assert scores["global_accuracy"] == pytest.approx((82, ((12**2 + 2**2 + 14**2) / 2) ** 0.5))
    assert scores["boundary_f1"] == pytest.approx((30, 200**0.5))
    assert one(paths[0]).scores["class_accuracy"] == (pytest.approx(70), None)
    assert "boundary_f1" not in one(paths[1]).scores


def test_compare_goes_on_after_a_directory_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").mkdir()
    path = write_run(tmp_path / "run")
    comparisons, faults = compare([str(tmp_path / "empty"), str(path), str(tmp_path / "none")])
    assert [comparison.label for comparison in comparisons] == ["run"]
    assert [fault.split()[0] for fault in faults] == [str(tmp_path / "empty"), str(tmp_path / "none")]


def test_compare_has_a_line_for_each_kind_of_evaluation(tmp_path):
    settings = {"model__name": "deeplab_largefov", "loss__class_weights": "none"}
    crf = {"kind": "-crf", "report": {"crf": {"iterations": 10}}}
    path = write_run(tmp_path / "lab", right=70, **settings)
    write_run(path, right=80, **crf, **settings)
    write_run(path, kind="-first2", right=90, **settings)
    other = write_run(tmp_path / "lab2", right=60, seed=1, **settings)
    write_run(other, right=90, seed=1, **crf, **settings)
    comparisons, _ = compare([str(path), str(other)])
    assert [(found.label, round(found.scores["global_accuracy"][0])) for found in comparisons] == [
        ("lab, lab2", 65),
        ("lab, lab2 (dense CRF)", 85),
        ("lab (first 2 images)", 90),
    ]
    assert lines_of(comparisons[1])["dense CRF"] == ("yes", "no")
    assert lines_of(comparisons[2])["scored images"] == ("2 (the first of the split)", "233")


def test_published_scores_are_those_of_the_same_split_where_there_are_some(tmp_path):
    trained = one(write_run(tmp_path / "a", split="train"))
    assert (trained.published_split, trained.published["global_accuracy"]) == ("train", 94.7)
    assert lines_of(trained)["scored images"] == ("2", "367")
    validated = one(write_run(tmp_path / "b", split="val"))
    assert (validated.published_split, validated.published["global_accuracy"]) == ("test", 82.7)


def test_differing_conditions_are_all_that_differ(tmp_path):
    same = {
        "preprocessing": "lcn",
        "report": {"images": 233, "pixels": 233 * 360 * 480, "void_pixels": 0, "batch_norm": "exact"},
    }
    as_published = one(write_run(tmp_path / "a", **same))
    # The number of training images is unknown without a checkpoint, and "until converged" is no number.
    assert [line[0] for line in differing_conditions(as_published)] == ["training images", "iterations"]
    # Images of that size that were not resized.
    native = one(write_run(tmp_path / "b", data__image_size=(), **same))
    assert differing_conditions(native) == differing_conditions(as_published)

    run = one(
        write_run(
            tmp_path / "c",
            split="val",
            data__image_size=(180, 240),
            augment__crop_size=(90, 90),
            loss__class_weights="published_camvid",
            loss__class_weight_power=0.5,
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
        ("power of the class weights", "0.5", "1"),
        ("normalisation of images", "imagenet", "lcn"),
        ("batch size", "3", "12"),
        ("learning rate", "0.01", "0.1"),
        ("learning rate schedule", "poly", "constant"),
        ("statistics of BatchNorm", "running averages", "a pass over the training set"),
        ("stochastic passes per image", "8", "0"),
        ("dense CRF", "yes", "no"),
    ]


@pytest.mark.parametrize(
    ("row", "settings", "lines", "absent"),
    [
        (
            "",
            {"model__name": "segnet", "data__image_size": (), "step": 90_000},
            {
                "training images": ("unknown", "3,433 (road scenes of CamVid, KITTI, Stanford Background and LabelMe)"),
                "iterations": ("90,000", "140,000 (the best beyond 80K, of at most 140K)"),
                "trained at": ("as they are (600 pixels each)", "360x480"),
                "initial weights of the encoder": ("none", "vgg16"),
            },
            {"network"},
        ),
        (
            "",
            _SMALL_FCN,
            {"BatchNorm": ("no", "yes"), "features of fc6 and fc7": ("64", "4,096")},
            {"statistics of BatchNorm", "upsampling", "network", "started from"},
        ),
        # Conditions that one of the two networks does not have are left out.
        (
            "1/segnet_basic/median",
            _SMALL_FCN,
            {"network": ("fcn8s", "segnet basic")},
            {"BatchNorm", "features of fc6 and fc7"},
        ),
        ("2/boosting", _SMALL_FCN, {"scored images": ("2", "233")}, {"network", "scored at", "class weights"}),
        (
            "2015-1/segnet_4_layer",
            {"model__name": "segnet_flat", "model__pairs": 2},
            {
                "pairs of encoder and decoder": ("2", "4"),
                "training": ("end to end, by SGD", "layer by layer, by L-BFGS"),
            },
            set(),
        ),
        (
            "2015-1/segnet_4_layer",
            {"train__procedure": "layerwise", "layerwise__iterations": 5, "layerwise__first_pair": 3} | _FLAT,
            {"iterations of L-BFGS on a mini-batch": ("5", "20"), "first trained pair": ("3", "1")},
            {"training", "training of the classifier", "pairs of encoder and decoder", "learning rate", *_TRANSFER},
        ),
        (
            "2015-3/segnet_l4",
            {"transfer__source": "runs/my_source", "transfer__trained": "(conv4|conv_decode4)/.*"} | _FLAT,
            {"started from": ("runs/my_source", "a network trained on camvid")},
            _TRANSFER,
        ),
        (
            "2015-3/segnet_sm",
            {"transfer__trained": "conv_classifier.*", "model__hidden_features": 64} | _FLAT,
            {"features of the classifier's hidden layer": ("64", "a hidden layer of a size that it does not tell")},
            _TRANSFER,
        ),
        (
            "2015-3/segnet_r",
            {"transfer__trained": "conv4/.*", "transfer__frozen": "conv_decode4/.*"} | _FLAT,
            {"trained parameters": ("conv4/.*", "all"), "frozen parameters": ("conv_decode4/.*", "none")},
            {"started from"},
        ),
    ],
)
def test_differing_conditions_depend_on_network_and_procedure(tmp_path, row, settings, lines, absent):
    path = write_run(tmp_path / "run", **settings)
    found = lines_of(one(f"{path}={row}" if row else path))
    assert lines.items() <= found.items()
    assert not absent & found.keys()
