"""Tests for segnet_jax/data/class_table.py."""

import json
import pickle

import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID, ClassTable, SegmentationClass, lookup_colors, palette_color
from segnet_jax.data.datasets.camvid import CAMVID11, CAMVID_NATIVE_COLORS
from segnet_jax.data.datasets.synthetic import SYNTHETIC
from segnet_jax.errors import InputError

ROAD = SegmentationClass("road", 7, (128, 64, 128))
EGO = SegmentationClass("ego vehicle", 1, (0, 0, 0), ignored=True)
CAR = SegmentationClass("car", 26, (0, 0, 142))
DEPTH = SegmentationClass("far", 40000, (1, 2, 3))
TABLE = ClassTable("street", (EGO, ROAD, CAR, DEPTH))


def test_class_table_numbers_the_classes_that_are_not_ignored():
    assert TABLE.num_classes == 3
    assert TABLE.names == ["road", "car", "far"]
    assert TABLE.colors.dtype == np.uint8
    assert TABLE.colors.tolist() == [[128, 64, 128], [0, 0, 142], [1, 2, 3]]
    assert TABLE.void_color == (0, 0, 0)
    assert ClassTable("t", (ROAD, SegmentationClass("x", 0, (9, 9, 9), ignored=True))).void_color == (9, 9, 9)
    assert ClassTable("t", (ROAD,)).void_color == (0, 0, 0)


def test_ids_to_labels_names_an_unknown_id_with_its_pixel():
    mask = np.full((4, 5), 7, np.uint8)
    mask[2, 3] = mask[3, 0] = 9
    message = r"^masks/m\.png: the label id 9 at row 2, column 3 .*'street'.* 1, 7, 26, 40000;"
    with pytest.raises(InputError, match=message):
        TABLE.ids_to_labels(mask, "masks/m.png")


def test_ids_to_labels_refuses_255_if_it_is_not_in_the_table():
    with pytest.raises(InputError, match="the label id 255 at row 0, column 0"):
        CAMVID11.ids_to_labels(np.array([[255]], np.uint8), "m.png")


def test_colors_to_labels_names_an_unknown_color_with_its_pixel_count_and_neighbour():
    rgb = np.full((3, 4, 3), (128, 64, 128), np.uint8)
    rgb[1, 2] = rgb[2, 0] = (0, 0, 140)
    message = r"^m\.png: the colour \(0, 0, 140\) at row 1, column 2 .*: 2 pixels; nearest known: car \(0, 0, 142\)"
    with pytest.raises(InputError, match=message):
        TABLE.colors_to_labels(rgb, "m.png")


colors = st.tuples(*[st.integers(0, 255)] * 3)


@settings(deadline=None, max_examples=50)
@given(
    entries=st.lists(
        st.tuples(st.integers(0, 65535), colors, st.booleans()),
        min_size=1,
        max_size=40,
        unique_by=(lambda entry: entry[0], lambda entry: entry[1]),
    ).filter(lambda entries: not all(ignored for _, _, ignored in entries)),
    seed=st.integers(0, 2**32 - 1),
)
def test_ids_and_colors_to_labels_map_each_pixel_by_itself(entries, seed):
    table = ClassTable("t", tuple(SegmentationClass(f"c{i}", *e) for i, e in enumerate(entries)))
    expected = np.array([VOID if e.ignored else table.names.index(e.name) for e in table.classes])
    choice = np.random.default_rng(seed).integers(len(entries), size=(6, 7))
    ids = np.array([e.id for e in table.classes], np.uint16)[choice]
    rgb = np.array([e.color for e in table.classes], np.uint8)[choice]
    for labels in (table.ids_to_labels(ids, "m"), table.colors_to_labels(rgb, "m")):
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, expected[choice])


@settings(deadline=None, max_examples=50)
@given(palette=st.lists(colors, min_size=1, max_size=8, unique=True), pixels=st.lists(colors, min_size=1, max_size=20))
def test_lookup_colors_knows_exactly_the_palette(palette, pixels):
    pixels = pixels + palette
    labels, known = lookup_colors(
        np.array([pixels], np.uint8), np.array(palette, np.uint8), np.arange(len(palette), dtype=np.uint8)
    )
    assert labels[0].tolist() == [palette.index(p) if p in palette else VOID for p in pixels]
    assert known[0].tolist() == [p in palette for p in pixels]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (SegmentationClass("road", 8, (1, 1, 1)), "gives the name 'road' to two classes"),
        (SegmentationClass("lane", 7, (1, 1, 1)), "gives the id 7 to two classes"),
        (SegmentationClass("lane", 8, (128, 64, 128)), r"gives the colour \(128, 64, 128\) to two classes"),
        (SegmentationClass("void", 8, (128, 64, 128), ignored=True), r"gives the colour \(128, 64, 128\)"),
    ],
)
def test_class_table_refuses_ambiguity(other, message):
    with pytest.raises(InputError, match=f"Class table 't' {message}"):
        ClassTable("t", (ROAD, other))


def test_class_table_lets_ignored_classes_share_a_color():
    table = ClassTable("t", (EGO, ROAD, SegmentationClass("border", 2, (0, 0, 0), ignored=True)))
    assert table.colors_to_labels(np.zeros((1, 1, 3), np.uint8), "m").tolist() == [[VOID]]
    assert table.ids_to_labels(np.array([[1, 2, 7]], np.uint8), "m").tolist() == [[VOID, VOID, 0]]


def test_class_table_has_1_to_255_classes():
    with pytest.raises(InputError, match="'t' has 0 classes"):
        ClassTable("t", (EGO,))
    with pytest.raises(InputError, match="'t' has 256 classes"):
        ClassTable.from_entries("t", [f"class {i}" for i in range(256)])
    full = ClassTable.from_entries("t", [f"class {i}" for i in range(255)] + [{"name": "void", "ignored": True}])
    assert full.ids_to_labels(np.array([[0, 254, 255]], np.uint8), "m").tolist() == [[0, 254, VOID]]
    assert len({tuple(color) for color in full.colors.tolist()} | {full.void_color}) == 256


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "the name ''"),
        ({"name": 3}, "the name 3"),
        ({"id": -1}, "'road' has the id -1"),
        ({"id": 65536}, "'road' has the id 65536"),
        ({"id": True}, "'road' has the id True"),
        ({"color": (0, 0)}, r"'road' has the colour \(0, 0\)"),
        ({"color": (0, 0, 256)}, r"'road' has the colour \(0, 0, 256\)"),
        ({"color": (0, 0, 0.5)}, r"'road' has the colour \(0, 0, 0.5\)"),
        ({"ignored": "no"}, "'road' has 'ignored' set to 'no'"),
    ],
)
def test_segmentation_class_refuses_a_wrong_value(values, message):
    entry = {"name": "road", "id": 7, "color": (0, 0, 0), "ignored": False} | values
    with pytest.raises(InputError, match=message):
        ClassTable.from_entries("t", ["sky", entry])


def test_from_entries_fills_in_what_is_left_out():
    entries = [
        "road",
        {"name": "sky", "color": [0, 128, 0]},
        {"name": "car", "id": 9},
        {"name": "void", "id": 255, "ignored": True},
    ]
    assert [(c.name, c.id, c.color, c.ignored) for c in ClassTable.from_entries("t", entries).classes] == [
        ("road", 0, (128, 0, 0), False),
        ("sky", 1, (0, 128, 0), False),
        ("car", 9, (128, 128, 0), False),  # the palette's second colour is taken
        ("void", 255, (0, 0, 0), True),
    ]
    black = {"name": "background", "color": (0, 0, 0)}
    assert ClassTable.from_entries("t", [black, {"name": "void", "ignored": True}]).void_color != (0, 0, 0)


def test_from_entries_takes_config_dicts():
    entry = ml_collections.ConfigDict({"name": "road", "id": 7, "color": (128, 64, 128)})
    assert ClassTable.from_entries("t", (entry,)) == ClassTable("t", (ROAD,))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "road", "colour": (0, 0, 0)}], "Entry 0 of class table 't' has the unknown key 'colour'"),
        (["sky", 3], "Entry 1 of class table 't' is 3"),
        ("road", "are 'road'; give a list"),
        ({"road": 1}, "give a list"),
        ([{"name": "road", "color": "red"}], "\"color\": 'red'"),
    ],
)
def test_from_entries_names_what_it_refuses(entries, message):
    with pytest.raises(InputError, match=message):
        ClassTable.from_entries("t", entries)


def test_class_table_survives_json_and_pickle():
    TABLE.ids_to_labels(np.array([[7]], np.uint8), "m")  # so that there is a cached lookup to carry
    assert ClassTable.from_dict(json.loads(json.dumps(TABLE.to_dict()))) == TABLE
    copy = pickle.loads(pickle.dumps(TABLE))
    assert copy == TABLE
    assert copy.ids_to_labels(np.array([[26]], np.uint8), "m").tolist() == [[1]]


def test_palette_color_is_that_of_pascal_voc():
    assert [palette_color(i) for i in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]
    assert len({palette_color(i) for i in range(4096)}) == 4096


def test_camvid11_has_the_tutorials_order_and_colors():
    assert CAMVID11.names == (
        ["Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"]
    )
    assert [c.id for c in CAMVID11.classes] == list(range(12))
    assert CAMVID11.classes[11] == SegmentationClass("Unlabelled", 11, (0, 0, 0), ignored=True)
    assert CAMVID11.colors[[4, 6, 10]].tolist() == [[60, 40, 222], [192, 128, 128], [0, 128, 192]]


def test_synthetic_is_camvid_with_lane_markings():
    assert SYNTHETIC.names == (
        ["sky", "building", "pole", "road", "lane_marking", "pavement", "tree", "sign", "car", "pedestrian"]
    )
    assert [c.id for c in SYNTHETIC.classes] == [*range(10), VOID]
    assert SYNTHETIC.colors[4].tolist() == [255, 69, 0]
    shared = [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert SYNTHETIC.colors[shared].tolist() == CAMVID11.colors[[0, 1, 2, 3, 4, 5, 6, 8, 9]].tolist()


def test_native_colors_lead_to_entries_of_camvid11():
    assert len(CAMVID_NATIVE_COLORS) == 32
    members = {c.name: 0 for c in CAMVID11.classes}
    for name in CAMVID_NATIVE_COLORS.values():
        members[name] += 1
    assert list(members.values()) == [1, 2, 1, 4, 2, 2, 3, 1, 3, 1, 2, 10]


def test_native_colors_are_those_of_the_data_set(samples_root):
    groups = {
        "Sky": "Sky",
        "Building": "Building Wall",
        "Pole": "Column_Pole",
        "Road": "Road LaneMkgsDriv LaneMkgsNonDriv RoadShoulder",
        "Pavement": "Sidewalk ParkingBlock",
        "Tree": "Tree VegetationMisc",
        "SignSymbol": "SignSymbol Misc_Text TrafficLight",
        "Fence": "Fence",
        "Car": "Car SUVPickupTruck Truck_Bus",
        "Pedestrian": "Pedestrian",
        "Bicyclist": "Bicyclist MotorcycleScooter",
    }
    group_of = {member: name for name, members in groups.items() for member in members.split()}
    expected = {}
    for line in (samples_root / "camvid_native" / "label_colors.txt").read_text().splitlines():
        red, green, blue, name = line.split()
        expected[int(red), int(green), int(blue)] = group_of.get(name, "Unlabelled")
    assert expected == CAMVID_NATIVE_COLORS
