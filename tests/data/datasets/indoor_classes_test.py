"""Tests for segnet_jax/data/datasets/indoor_classes.py."""

import numpy as np
import pytest
import scipy.io

from segnet_jax.data.class_table import VOID, UnknownLabelError
from segnet_jax.data.class_weights import class_weights
from segnet_jax.data.datasets.indoor_classes import INDOOR13, INDOOR14, NYUV2_40, SUNRGBD37, LabelCoding
from segnet_jax.errors import InputError
from segnet_jax.report.published import published_rows

# Of each of the 40 classes the number of the one among 13 (facts of the data set, Couprie et al. 2013).
TO_13 = "12 5 6 1 4 9 10 12 13 6 8 6 13 10 6 13 6 7 7 5 7 3 2 6 11 7 7 7 7 7 7 6 7 7 7 7 7 7 6 7"
IDS = np.array([[0, 1, 2], [25, 37, 13]], np.uint8)


def test_indoor_classes_are_those_of_the_papers():
    (table_5,) = (row for row in published_rows() if row.id == "5/segnet")
    assert SUNRGBD37.names == list(table_5.class_accuracies["test"])
    assert NYUV2_40.names == [*SUNRGBD37.names, "other structure", "other furniture", "other prop"]
    assert [entry.id for entry in SUNRGBD37.classes] == [*range(38)]
    assert SUNRGBD37.colors[[0, 36]].tolist() == [[153, 112, 72], [84, 65, 29]]
    names = "bed, books, ceiling, chair, floor, furniture, objects, picture, sofa, table, tv, wall, window"
    assert INDOOR13.names == names.split(", ")
    assert INDOOR14.names == [*INDOOR13.names, "unlabelled"]
    assert INDOOR13.colors[[0, 12]].tolist() == SUNRGBD37.colors[[3, 8]].tolist()


def test_indoor_classes_have_the_published_weights():
    weights = class_weights("published_sunrgbd", None, SUNRGBD37)
    assert weights[[0, 4, 36]] == pytest.approx([0.382592, 0.582794, 4.017548])
    assert len(weights) == 37 and weights.min() == pytest.approx(0.375678)
    with pytest.raises(
        InputError, match="'published_sunrgbd' are for the 37 classes wall, floor, cabinet and .*'indoor1"
    ):
        class_weights("published_sunrgbd", None, INDOOR13)


def test_indoor_classes_agree_with_the_files_of_the_data_sets(samples_root):
    coarse = scipy.io.loadmat(samples_root / "nyuv2" / "class13Mapping.mat")["classMapping13"][0, 0]
    assert [entry[0] for entry in coarse["classNames"].ravel()] == INDOOR13.names
    assert coarse["labels13"].ravel().tolist() == [int(number) for number in TO_13.split()]
    fine = scipy.io.loadmat(samples_root / "nyuv2" / "classMapping40.mat")["className"]
    same = [entry[0] == name for entry, name in zip(fine.ravel(), NYUV2_40.names, strict=True)]
    assert np.flatnonzero(~np.array(same)).tolist() == [23, 24, 37, 38, 39]  # refridgerator, television, other...
    folder = samples_root / "sunrgbd" / "native_tree" / "SUNRGBDtoolbox" / "Metadata"
    names = [entry[0] for entry in scipy.io.loadmat(folder / "seg37list.mat")["seg37list"].ravel()]
    assert [name.replace("_", " ") for name in names] == SUNRGBD37.names


def test_label_coding_of_either_numbering():
    expected = [[VOID, 0, 1], [24, 36, 12]]
    assert LabelCoding("37", "37").labels(IDS, "a").tolist() == expected
    # 0 - 1 is 255 in eight bits.
    assert LabelCoding("37", "37", from_zero=True).labels(IDS - np.uint8(1), "a").tolist() == expected


@pytest.mark.parametrize("held", ["37", "40"])
def test_label_coding_makes_13_and_14_classes_of_more(held):
    ids = np.arange(int(held) + 1, dtype=np.uint8)[None]
    coarse = [int(number) - 1 for number in TO_13.split()][: int(held)]
    assert LabelCoding(held, "13").labels(ids, "a").tolist() == [[VOID, *coarse]]
    assert LabelCoding(held, "14").labels(ids, "a").tolist() == [[13, *coarse]]
    assert LabelCoding(held, "13", from_zero=True).labels(ids - np.uint8(1), "a").tolist() == [[VOID, *coarse]]


def test_label_coding_of_13_classes():
    ids = np.arange(14, dtype=np.uint8)[None]
    assert LabelCoding("13", "13").labels(ids, "a").tolist() == [[VOID, *range(13)]]
    assert LabelCoding("13", "14").labels(ids, "a").tolist() == [[13, *range(13)]]
    with pytest.raises(InputError, match=r"hold 13 classes and data\.class_set='40' is asked for; choose '13', or get"):
        LabelCoding("13", "40")


def test_label_coding_refuses_ids_that_are_none():
    with pytest.raises(UnknownLabelError, match=r"a\.png: the label id 38 at row 0, column 1 is not in .*'sunrgbd37'"):
        LabelCoding("37", "13").labels(np.array([[1, 38]], np.uint8), "a.png")
    with pytest.raises(UnknownLabelError, match=r"a\.png: the label id 37 at row 0, column 1 .*, numbered from 0'"):
        LabelCoding("37", "37", from_zero=True).labels(np.array([[36, 37]], np.uint8), "a.png")
