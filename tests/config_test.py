"""Tests for segnet_jax/config.py, and for every file in configs/."""

import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import pytest

from segnet_jax import config as configs
from segnet_jax.config import check_values, default_config
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.kitti import KITTI8
from segnet_jax.data.datasets.synthetic import SYNTHETIC
from segnet_jax.data.from_config import build_normalization
from segnet_jax.errors import InputError
from segnet_jax.evaluation.from_config import build_crf
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.models.from_config import build_model
from segnet_jax.report.published import find_row, published_rows
from segnet_jax.training.batch_size import check_batch_size
from segnet_jax.training.checks import check_run
from segnet_jax.training.from_config import (
    build_is_trained,
    build_learning_rate,
    build_optimizer,
    build_plan,
)
from segnet_jax.training.step import checkpoint_template
from tests.helpers.paths import ROOT
from tests.helpers.tiny_config import config_with

CONFIG_FILES = sorted((ROOT / "configs").glob("*.py"))
BENCHMARK = ROOT / "configs" / "benchmark.py"

# By the names of configs/benchmark.py: the row's name in published.json, and the network's class and its own fields.
BENCHMARK_ROWS = {
    "segnet": ("segnet", "SegNet", {}),
    "deeplab_largefov": ("deeplab_largefov", "DeepLabLargeFOV", {"batch_norm": True, "fc_features": 1024}),
    "deeplab_largefov_crf": (
        "deeplab_largefov_densecrf",
        "DeepLabLargeFOV",
        {"batch_norm": True, "fc_features": 1024},
    ),
    "fcn8s_fixed": ("fcn_fixed_bilinear", "FCN8s", {"batch_norm": True, "fc_features": 4096, "upsampling": "fixed"}),
    "fcn8s": ("fcn_learnt_deconv", "FCN8s", {"batch_norm": True, "fc_features": 4096, "upsampling": "learnt"}),
    "deconvnet": ("deconvnet", "DeconvNet", {"batch_norm": True, "fc_features": 1024}),
}
BENCHMARK_NAMES = [*BENCHMARK_ROWS, *(f"sun_{name}" for name in BENCHMARK_ROWS if name != "fcn8s_fixed")]


def load(path, *arguments):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


def test_config_files_are_those_that_the_documentation_names():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\bconfigs/(\w+\.py)", page.read_text(encoding="utf-8"))}
    assert {path.name for path in CONFIG_FILES} == named


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_config_file_initialises_its_model_and_plans_its_run(path):
    config = load(path)
    assert configs.flatten(config).keys() == configs.flatten(default_config()).keys(), (
        "every key is declared in configs/default.py"
    )
    table = SYNTHETIC if config.data.name == "synthetic" else CAMVID11
    model = build_model(config, table.num_classes)
    plan = build_plan(config, num_examples=367)
    optimizer = build_optimizer(config, build_learning_rate(config, plan))
    state = checkpoint_template(model, optimizer)["train_state"]
    size = tuple(config.data.image_size) or (90, 120)
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
    normalized = jax.eval_shape(build_normalization(config), images)
    logits = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), state.variables, normalized)
    assert logits.shape == (1, *size, table.num_classes)
    assert plan.total_steps > plan.log_every > 0
    check_values(config)
    check_run(config)
    check_batch_size(config.train.batch_size, 1, config.train.accumulation_steps)


@pytest.mark.parametrize(
    ("variant", "trained"),
    [
        ("R", {"conv1", "conv2", "conv3", "conv4", "conv_classifier"}),
        ("SM", {"conv_classifier_hidden", "conv_classifier"}),
        ("L4", {"conv4"}),
    ],
)
def test_transfer_config_trains_what_table_3_says(variant, trained):
    (path,) = (path for path in CONFIG_FILES if path.stem == "folder_transfer")
    config = load(path, variant)
    check_values(config)
    check_run(config)
    model = build_model(config, 11)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    is_trained = build_is_trained(config)
    chosen = jax.tree.map(lambda _: True, params) if is_trained is None else is_trained(params)
    decoders = {name.replace("conv", "conv_decode") for name in trained if name[-1].isdigit()}
    assert {name for name, layer in chosen.items() if layer["kernel"]} == trained | decoders
    assert bool(config.transfer.source) == (variant != "R")


@pytest.mark.parametrize("variant", ["R", "L4", "SM"])
def test_kitti_segnet_flat_config_is_table_3_of_the_2015_paper(variant):
    config = load(ROOT / "configs" / "kitti_segnet_flat.py", variant)
    check_values(config)
    check_run(config)
    conditions = find_row(f"2015-3/segnet_{variant.lower()}").conditions
    for key, value in {
        "data": config.data.name,
        "image_size": list(config.data.image_size),
        "procedure": config.train.procedure,
        "lbfgs_iterations": config.layerwise.iterations,
        "first_pair": config.layerwise.first_pair,
        "classifier": config.layerwise.classifier,
        "class_weights": config.loss.class_weights,
        "preprocessing": config.preprocessing,
    }.items():
        assert conditions[key] == value, key
    assert conditions.get("pair_duration", "10 epochs") == config.layerwise.duration
    assert (config.data.resize, config.data.class_set) == ("center", "kitti8")
    names = dict(config.transfer.same_classes)
    camvid = {names.get(name, name) for name in KITTI8.names}
    assert camvid <= set(CAMVID11.names) if variant == "L4" else not names


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_benchmark_config_has_the_networks_and_the_protocol_of_tables_3_and_4(name):
    config = load(BENCHMARK, name)
    sun = name.startswith("sun_")
    row, network, fields = BENCHMARK_ROWS[name.removeprefix("sun_")]
    model = build_model(config, 37 if sun else 11)
    assert (type(model).__name__, model.width_multiplier, model.dropout_rate) == (network, 1.0, 0.5)
    assert {field: getattr(model, field) for field in fields} == fields
    crf = build_crf(config)
    assert crf == (DenseCRF() if name.endswith("crf") else None)

    conditions = find_row(f"{4 if sun else 3}/{row}/best").conditions
    plan = build_plan(config, num_examples=367)
    assert plan.total_steps == conditions["iterations"]
    assert all(plan.evaluates(column) for column in (40_000, 80_000, 140_000))
    assert config.train.batch_size == conditions["batch_size"]
    assert tuple(config.data.image_size) == tuple(conditions["image_size"])
    assert config.optimizer.learning_rate == conditions["learning_rate"]
    assert (config.optimizer.schedule, config.optimizer.momentum, config.optimizer.nesterov) == ("constant", 0.9, False)
    schedule = build_learning_rate(config, plan)
    assert [float(schedule(step)) for step in (0, 1, plan.total_steps)] == pytest.approx(
        [conditions["learning_rate"]] * 3
    )
    assert config.loss.class_weights == conditions["class_weights"]
    assert config.pretrained.weights == conditions["pretrained"]
    assert config.eval.batch_norm == conditions["batch_norm"]
    assert config.augment.to_dict() == {**configs.default_config().augment.to_dict(), "flip": False}
    assert config.data.name == ("sunrgbd" if sun else "camvid")
    check_values(config)
    check_run(config)


def test_benchmark_config_has_every_row_of_its_tables():
    rows = [row for row in published_rows() if (row.paper, row.table) in {("1511.00561", 3), ("1511.00561", 4)}]
    found = {(3, BENCHMARK_ROWS[name][0]) for name in BENCHMARK_NAMES if not name.startswith("sun_")}
    found |= {(4, BENCHMARK_ROWS[name[4:]][0]) for name in BENCHMARK_NAMES if name.startswith("sun_")}
    assert {(row.table, row.id.split("/")[1]) for row in rows} == found


@pytest.mark.parametrize("name", ["fcn16s", "sun_fcn8s_fixed", "segnet_basic", ""])
def test_benchmark_config_answers_an_unknown_row_with_the_known_ones(name):
    with pytest.raises(ValueError, match="^the rows are ") as caught:
        load(BENCHMARK, name)
    listed = str(caught.value).removeprefix("the rows are ").removesuffix(f", not {name!r}")
    assert sorted(listed.split(", ")) == sorted(BENCHMARK_NAMES)


def test_from_dict_restores_a_stored_config():
    config = configs.default_config()
    config.data.image_size = (180, 240)
    config.data.classes = ({"name": "road", "id": 3, "color": (1, 2, 3)},)
    restored = configs.from_dict(json.loads(configs.to_json(config)))
    assert restored.to_dict() == config.to_dict()
    assert restored.data.classes[0]["color"] == (1, 2, 3)


def test_from_dict_gives_an_older_config_the_defaults_of_newer_keys():
    stored = json.loads(configs.to_json(configs.default_config()))
    del stored["loss"]["normalization"]
    stored["gone"] = {"key": 1}
    assert configs.from_dict(stored).to_dict() == configs.default_config().to_dict()


def test_differences_name_key_and_both_values():
    config = configs.default_config()
    stored = json.loads(configs.to_json(config))
    assert configs.differences(stored, config) == []
    config.train.batch_size = 7
    config.augment.scale = (0.5, 2.0)
    assert configs.differences(stored, config) == [
        "augment.scale: (1.0, 1.0) -> (0.5, 2.0)",
        "train.batch_size: 12 -> 7",
    ]


def test_differences_ignore_what_the_procedure_does_not_read():
    config = configs.default_config()
    stored = json.loads(configs.to_json(config))
    stored["layerwise"]["classifier"] = "joint"  # the default of older versions
    assert configs.differences(stored, config) == []
    stored["train"]["procedure"] = config.train.procedure = "layerwise"
    assert configs.differences(stored, config) == ["layerwise.classifier: 'joint' -> 'first'"]


def test_config_files_with_the_authors_solver_have_its_decay_and_rates():
    # Caffe's defaults let everything decay at one rate; their files spare biases, and full SegNet's the shifts.
    for name, decay_shift in {
        "camvid_bayesian_segnet": False,
        "camvid_bayesian_segnet_basic": True,
        "camvid_segnet_basic": True,
        "benchmark": False,
    }.items():
        optimizer = load(ROOT / "configs" / f"{name}.py").optimizer
        found = (optimizer.weight_decay, optimizer.decay_scale, optimizer.decay_shift, optimizer.bias_rate)
        assert found == (5e-4, True, decay_shift, 2.0), name


def test_differences_ignore_where_data_lies_and_how_it_is_read():
    config = configs.default_config()
    stored = json.loads(configs.to_json(config))
    config.data.root = "/elsewhere"
    config.data.num_workers = 3
    config.eval.checkpoint = "latest"
    config.crf.enabled = True
    config.train.log_every = "1 steps"
    assert configs.differences(stored, config) == []


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ("0 steps", 0),
        ("1 step", 1),
        ("500 steps", 500),
        ("1 epochs", 31),  # 30.58 steps: the last batch of an epoch counts
        ("2 epochs", 62),
        ("0.5 epoch", 16),
        ("12 epochs", 367),
        (" 3 steps ", 3),
    ],
)
def test_to_steps_of_steps_and_epochs(duration, steps):
    assert configs.to_steps(duration, steps_per_epoch=367 / 12) == steps


def test_to_steps_does_not_round_up_an_exact_number_of_steps():
    assert configs.to_steps("3 epochs", steps_per_epoch=0.1 * 10) == 3
    assert configs.to_steps("0.3 epochs", steps_per_epoch=10) == 3


@pytest.mark.parametrize("duration", ["", "5", "five steps", "1.5 steps", "-1 epochs", "nan epochs", "3 weeks"])
def test_to_steps_refuses_a_duration_of_another_form_by_its_key(duration):
    with pytest.raises(InputError, match="train.duration=.* is no duration"):
        configs.to_steps(duration, 10, key="train.duration")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed=-1 must be at least 0"),
        ("eval.batch_size", 0, "eval.batch_size=0 must be at least 1"),
        ("crf.bilateral_color_std", 0.0, "crf.bilateral_color_std=0.0 must be at least 0.01"),
        ("crf.iterations", 0, "crf.iterations=0 must be at least 1"),
        ("optimizer.learning_rate", float("nan"), "optimizer.learning_rate=nan"),
        ("optimizer.momentum", 1.0, "optimizer.momentum=1.0 must be at least 0 and below 1"),
        ("data.val_fraction", 1.0, "data.val_fraction=1.0 must be at least 0 and below 1"),
        ("loss.normalization", "foo", "loss.normalization='foo' is not known; choose pixels or weights"),
        ("eval.batch_norm", "foo", "eval.batch_norm='foo'"),
        ("eval.checkpoint", "newest", "eval.checkpoint='newest' must be best, latest or a step"),
        ("data.depth_max", 0, "data.depth_max=0 must be at least 1 and below 65536"),
        ("data.image_size", (5,), "data.image_size=.* must be .height, width."),
        ("data.image_size", (100000, 100000), "data.image_size=.100000, 100000. has more than 33554432 pixels"),
        ("data.image_max", 0, "data.image_max=0 must be at least 1 and below 65536"),
        ("data.modalities", (), "data.modalities=.* must be one or more different names"),
        ("data.modalities", ("rgb", "rgb"), "data.modalities=.* must be one or more different names"),
        ("data.resize", "pad", "data.resize='pad' is not known; choose stretch or fit or crop or center"),
        ("data.scene_size", (), "data.scene_size=.* must be .height, width."),
        ("data.scene_size", (0, 5), "data.scene_size=.* must be .height, width."),
        ("data.train_scenes", 0, "data.train_scenes=0 must be at least 1"),
        ("seed", 2**31, "seed=2147483648 must be at least 0 and below 2147483648"),
        ("data.depth_max", 65536, "data.depth_max=65536 must be at least 1 and below 65536"),
        ("loss.label_smoothing", 1.0, "loss.label_smoothing=1.0 must be at least 0 and below 1"),
        ("loss.focal_gamma", -0.5, "loss.focal_gamma=-0.5 must be at least 0"),
        ("loss.class_weight_power", float("inf"), "loss.class_weight_power=inf must be at least 0"),
        ("augment.crop_size", (5, -1), "augment.crop_size=.* must be .height, width."),
        ("pretrained.weights", "resnet", "pretrained.weights='resnet'"),
        ("train.eval_every", "often", "train.eval_every='often' is no duration"),
        ("optimizer.warmup", "3 weeks", "optimizer.warmup='3 weeks' is no duration"),
    ],
)
def test_check_values_refuses_a_value_that_makes_no_sense_by_its_key(key, value, message):
    with pytest.raises(InputError, match=message):
        check_values(config_with(**{key.replace(".", "__"): value}))


CAMVID = {"name": "camvid", "root": "camvid", "weight": 1.0}


def mixture_of(*entries, **values):
    return config_with(data__name="mixture", data__mixture=entries, **values)


def test_mixture_components_have_their_own_values_and_those_of_the_section():
    config = mixture_of(
        CAMVID,
        {"name": "folder", "root": "/own", "weight": 3, "classes": ("a",), "class_map": (("a", "Sky"),)},
        {"name": "records", "root": "gs://b/c", "weight": 0.5, "eval_split": "test", "max_images": 5},
        {"name": "synthetic", "weight": 1},
        data__root="data",
        data__max_images=9,
        data__classes=("Sky", "Road"),
        data__image_size=(4, 6),
    )
    parts = configs.mixture_components(config)
    found = [(p.config.data.name, p.config.data.root, p.config.data.classes, p.config.data.max_images) for p in parts]
    assert found == [
        ("camvid", "data/camvid", (), 9),
        ("folder", "/own", ("a",), 9),
        ("records", "gs://b/c", (), 5),
        ("synthetic", "data", (), 9),
    ]
    assert [part.weight for part in parts] == [1.0, 3, 0.5, 1]
    assert [part.class_map for part in parts] == [(), (("a", "Sky"),), (), ()]
    assert [part.config.data.eval_split for part in parts] == ["val", "val", "test", "val"]
    assert all(part.config.data.image_size == (4, 6) and not part.config.data.mixture for part in parts)
    check_values(config)
    restored = configs.from_dict(json.loads(configs.to_json(config)))
    assert restored.to_dict() == config.to_dict()
    assert [part.weight for part in configs.mixture_components(restored)] == [1.0, 3, 0.5, 1]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((), "data.name=mixture needs data.mixture"),
        (("camvid",), r"data.mixture\[0\] is 'camvid'; give a dict such as"),
        (({"root": "x"},), r"data.mixture\[0\] names no data set"),
        (({"name": "mixture"},), r"data.mixture\[0\] names no data set"),
        (
            (CAMVID, {**CAMVID, "rot": "x"}),
            r"data.mixture\[1\] has the unknown key 'rot'; use weight, class_map",
        ),
        (({**CAMVID, "image_size": (4, 4)},), r"data.mixture\[0\] has the key 'image_size', .*; set data.image_size"),
        (({**CAMVID, "weight": 0},), "has the weight 0; give a number above 0"),
        (({**CAMVID, "weight": "1"},), "has the weight '1'"),
        (({**CAMVID, "weight": float("nan")},), "has the weight nan"),
        ((CAMVID, {"name": "synthetic"}), "have a weight and others none"),
        (({**CAMVID, "class_map": ("Sky", "Road")},), "has the class_map .*; give pairs"),
        (({**CAMVID, "max_images": "all"},), r"data.mixture\[0\] has max_images='all'"),
        ((CAMVID, {**CAMVID, "val_fraction": 2.0}), r"^data.mixture\[1\]: data.val_fraction=2.0 must be"),
    ],
)
def test_check_values_refuses_a_mixture_by_the_number_of_the_data_set(entries, message):
    with pytest.raises(InputError, match=message):
        check_values(mixture_of(*entries))


def test_roots_of_a_mixture_may_differ_in_a_resumed_run_and_between_processes():
    roots = ("a", "b"), ("c", "d")
    config, moved = (mixture_of({**CAMVID, "root": root}, data__root=parent) for root, parent in roots)
    stored = json.loads(configs.to_json(config))
    assert configs.differences(stored, moved) == []
    assert configs.shared_keys(config) == configs.shared_keys(moved)
    # What is no data set is refused by `check_values`, which comes later.
    assert configs.differences(stored, mixture_of("camvid"))
    (difference,) = configs.differences(stored, mixture_of({**CAMVID, "weight": 2.0}))
    assert difference.startswith("data.mixture: ({'name': 'camvid', 'weight': 1.0},) -> ")
