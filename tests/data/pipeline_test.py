"""Tests for segnet_jax/data/pipeline.py."""

import collections
import itertools
import logging
import multiprocessing

import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.data.mixture import Mixture
from segnet_jax.data.pipeline import _Turns, eval_batches, train_batches
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError

_SIZE = (4, 6)
_PLAIN = Augmentation()
_RANDOM = Augmentation(
    scale=(0.7, 1.5), crop_size=(5, 5), flip=True, colors=ColorChanges(brightness=0.3, saturation=0.3)
)


class Numbered:
    """A data set in memory: the label of example i is i, its image noise."""

    name, split, class_table = "numbered", "train", ClassTable.from_entries("t", ["a", "b"])

    def __init__(self, *shapes):
        self._shapes = shapes

    def __len__(self):
        return len(self._shapes)

    def __getitem__(self, index):
        shape = self._shapes[index]
        image = np.random.default_rng(index).integers(0, 256, (*shape, 3)).astype(np.uint8)
        return {"image": image, "label": np.full(shape, index, np.uint8), "name": f"{index}"}

    def shape(self, index):
        return self._shapes[index]


def numbered(length):
    return Numbered(*[_SIZE] * length)


def draw(steps, dataset, *, batch_size=3, seed=0, augmentation=_RANDOM, **options):
    """The first `steps` training batches."""
    batches = train_batches(dataset, batch_size=batch_size, seed=seed, augmentation=augmentation, **options)
    return list(itertools.islice(batches, steps))


def examples_of(batches):
    return [{key: batch[key][i] for key in batch} for batch in batches for i in range(len(batch["label"]))]


def order_of(batches):
    return [int(example["label"][0, 0]) for example in examples_of(batches)]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key, array in batch.items():
            assert array.dtype == other[key].dtype
            np.testing.assert_array_equal(array, other[key])


@pytest.fixture
def worker_processes():
    """What Grain needs to start some: parsed flags, as in a program run by absl. None may be left."""
    was_parsed = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not was_parsed:
        flags.FLAGS.unparse_flags()
    assert not multiprocessing.active_children()


def test_train_batches_hold_whole_examples():
    dataset = numbered(4)
    (batch,) = draw(1, dataset, augmentation=_PLAIN)
    assert batch.keys() == {"image", "label"}
    assert (batch["image"].shape, batch["image"].dtype) == ((3, *_SIZE, 3), np.uint8)
    assert (batch["label"].shape, batch["label"].dtype) == ((3, *_SIZE), np.uint8)
    for example in examples_of([batch]):
        source = dataset[int(example["label"][0, 0])]
        np.testing.assert_array_equal(example["image"], source["image"])
        np.testing.assert_array_equal(example["label"], source["label"])


@pytest.mark.parametrize(("length", "batch_size"), [(7, 3), (5, 8), (1, 2)])
def test_train_batches_hold_every_example_once_an_epoch(length, batch_size):
    epochs = 6
    steps = -(-epochs * length // batch_size)
    order = order_of(draw(steps, numbered(length), batch_size=batch_size, augmentation=_PLAIN))
    drawn = [order[epoch * length : (epoch + 1) * length] for epoch in range(epochs)]
    assert [sorted(epoch) for epoch in drawn] == [list(range(length))] * epochs
    assert length == 1 or len({tuple(epoch) for epoch in drawn}) > epochs // 2


def test_train_batches_with_replacement_hold_any_example_anywhere():
    length, steps = 5, 400
    drawn = np.asarray(
        order_of(draw(steps, numbered(length), batch_size=3, augmentation=_PLAIN, with_replacement=True))
    ).reshape(steps, 3)
    counts = np.bincount(drawn.ravel(), minlength=length)
    spread = np.sqrt(steps * 3 * (1 / length) * (1 - 1 / length))
    assert np.abs(counts - steps * 3 / length).max() < 5 * spread
    # Two places of a batch are alike in a fifth of the batches, as two neighbouring batches are.
    for pair in ((drawn[:, 0], drawn[:, 1]), (drawn[1:, 0], drawn[:-1, 2])):
        alike = np.mean(pair[0] == pair[1])
        assert abs(alike - 1 / length) < 5 * np.sqrt(0.16 / steps)


class WithDepth(Numbered):
    """Four channels, of which the last is the example's number."""

    modalities = (3, 1)

    def __getitem__(self, index):
        example = super().__getitem__(index)
        depth = np.full((*example["label"].shape, 1), index, np.uint8)
        return {**example, "image": np.concatenate([example["image"], depth], axis=-1)}


def test_train_batches_resize_and_augment_a_fourth_channel_beside_the_colours():
    sizes, augmentation = [(8, 12), (9, 7), (8, 12)], Augmentation(flip=True, colors=ColorChanges(brightness=0.4))
    (plain,), (deep,) = (
        draw(1, dataset, image_size=(4, 6), augmentation=augmentation)
        for dataset in (Numbered(*sizes), WithDepth(*sizes))
    )
    # The number 0 as a depth would make colours vanish if it were taken for opacity.
    np.testing.assert_array_equal(deep["image"][..., :3], plain["image"])
    np.testing.assert_array_equal(deep["image"][..., 3], deep["label"])
    np.testing.assert_array_equal(deep["label"], plain["label"])


def test_eval_batches_fill_up_a_fourth_channel():
    (batch,) = eval_batches(WithDepth((4, 5), (4, 5)), batch_size=3)
    assert batch["image"].shape == (3, 4, 5, 4)
    assert (batch["image"][1, ..., 3] == 1).all()
    assert not batch["image"][2].any()


def test_train_batches_augment_anew_in_every_epoch():
    (first, *others) = draw(8, numbered(1), batch_size=1)
    assert all((other["image"] != first["image"]).any() for other in others)


@pytest.mark.parametrize("with_replacement", [False, True])
def test_train_batches_are_a_function_of_the_seed(with_replacement):
    options = {"augmentation": _PLAIN, "with_replacement": with_replacement}
    orders = [order_of(draw(4, numbered(7), seed=seed, **options)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]
    # With one example there is but one order.
    images = [draw(1, numbered(1), batch_size=1, seed=seed)[0]["image"] for seed in (3, 4)]
    assert (images[0] != images[1]).any()


@pytest.mark.parametrize("num_threads", [0, 5])
def test_train_batches_do_not_depend_on_threads(num_threads):
    assert_same(draw(6, numbered(7)), draw(6, numbered(7), num_threads=num_threads))


def test_train_batches_do_not_depend_on_worker_processes(worker_processes):
    dataset = numbered(7)
    found = draw(5, dataset, num_workers=2)
    assert_same(draw(5, dataset), found)
    assert {type(array) for batch in found for array in batch.values()} == {np.ndarray}, "not in shared memory"


def test_train_batches_report_a_killed_reading_process(worker_processes):
    drawn = train_batches(numbered(7), seed=0, augmentation=_PLAIN, batch_size=2, num_workers=1)
    before = set(multiprocessing.active_children())
    next(drawn)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    with pytest.raises(InputError, match=r"^A reading process was killed from outside.*data\.num_workers.*again"):
        # It has some batches in store.
        list(itertools.islice(drawn, 1000))


@pytest.mark.parametrize("options", [{}, {"with_replacement": True}, {"process_index": 2, "process_count": 3}])
def test_train_batches_resume_at_any_step(options):
    whole = draw(9, numbered(7), **options)
    for first_step in (1, 2, 5, 8):
        assert_same(whole[first_step:], draw(9 - first_step, numbered(7), first_step=first_step, **options))


@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize("process_count", [2, 4])
def test_train_batches_of_all_processes_make_the_batch_of_one(process_count, with_replacement):
    options = {"batch_size": 8, "with_replacement": with_replacement}
    whole = draw(5, numbered(11), **options)
    parts = [
        draw(5, numbered(11), **options, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert [len(share["label"]) for share in shares] == [8 // process_count] * process_count
        # The same examples with the same augmentation, in the same places.
        assert_same([batch], [{key: np.concatenate([share[key] for share in shares]) for key in batch}])


def test_train_batches_need_one_size():
    dataset = Numbered((4, 6), (4, 6), (5, 6))
    with pytest.raises(InputError, match=r"train images of numbered.*\(4, 6\) and \(5, 6\).*data\.image_size"):
        draw(1, dataset, augmentation=_PLAIN)
    (resized,) = draw(1, dataset, image_size=(3, 5), augmentation=_PLAIN)
    (cropped,) = draw(1, dataset, augmentation=Augmentation(crop_size=(7, 2)))
    assert (resized["label"].shape, cropped["image"].shape) == ((3, 3, 5), (3, 7, 2, 3))


def test_train_batches_resize_before_they_augment():
    dataset = numbered(5)
    crop = Augmentation(crop_size=(2, 3))
    for example in examples_of(draw(4, dataset, image_size=(3, 4), augmentation=crop)):
        source = resize(dataset[int(example["label"][0, 0])], (3, 4))["image"]
        places = itertools.product(range(2), range(2))
        assert any((source[row : row + 2, column : column + 3] == example["image"]).all() for row, column in places)


class Shifted(Numbered):
    """Another data set, whose labels are 100 and more."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        return {**example, "label": example["label"] + np.uint8(100)}


def mixture(first=5, other=7, weights=(2.0, 1.0)):
    return Mixture([numbered(first), Shifted(*[_SIZE] * other)], "train", weights)


@settings(deadline=None)
@given(weights=st.lists(st.integers(1, 1000), min_size=1, max_size=5), start=st.integers(0, 10**12))
def test_turns_give_each_data_set_its_share_of_any_stretch(weights, start):
    turns, total = _Turns(weights), sum(weights)
    taken = [turns[index] for index in range(start, start + 300)]
    for number, weight in enumerate(weights):
        places = [place for part, place in taken if part == number]
        # One after the other, and as many as the weight says, to one for each data set before.
        assert places == list(range(places[0], places[0] + len(places))) if places else True
        assert abs(len(places) - 300 * weight / total) < len(weights)
        if places:
            assert abs(places[0] - start * weight / total) < len(weights) + total / weight


@pytest.mark.parametrize(("weights", "first"), [((7, 3), 7000), ((1, 3), 2500), ((199, 1), 9950), ((1, 1), 5000)])
def test_turns_have_exact_shares_of_ten_thousand(weights, first):
    counts = collections.Counter(_Turns(weights)[index][0] for index in range(10_000))
    assert counts == {0: first, 1: 10_000 - first}


def test_train_batches_of_a_mixture_go_through_epochs_of_each_data_set():
    order = order_of(draw(70, mixture(), batch_size=3, augmentation=_PLAIN))  # 140 and 70 images: 28 and 10 epochs
    parts = {5: [i for i in order if i < 100], 7: [i - 100 for i in order if i >= 100]}
    assert [len(part) for part in parts.values()] == [140, 70]
    for length, drawn in parts.items():
        epochs = [drawn[start : start + length] for start in range(0, len(drawn), length)]
        assert [sorted(epoch) for epoch in epochs] == [list(range(length))] * len(epochs)
        assert len({tuple(epoch) for epoch in epochs}) > len(epochs) // 2
    # Evenly: any batch of three has one of the other.
    assert all(sum(i >= 100 for i in order[start : start + 3]) == 1 for start in range(0, 210, 3))


def test_train_batches_of_a_mixture_draw_with_replacement():
    order = order_of(draw(300, mixture(), batch_size=3, augmentation=_PLAIN, with_replacement=True))
    counts = collections.Counter(order)
    assert sum(count for i, count in counts.items() if i < 100) == 600
    for length, share, start in ((5, 600, 0), (7, 300, 100)):
        spread = np.sqrt(share / length * (1 - 1 / length))
        assert all(abs(counts[start + i] - share / length) < 5 * spread for i in range(length))
    assert len({tuple(order[start : start + 3]) for start in range(0, 900, 3)}) > 50


def test_train_batches_of_a_mixture_are_a_function_of_the_seed_and_the_step():
    whole = draw(9, mixture(), seed=3)
    assert_same(whole, draw(9, mixture(), seed=3, num_threads=5))
    assert order_of(whole) != order_of(draw(9, mixture(), seed=4))
    for first_step in (1, 4, 8):
        assert_same(whole[first_step:], draw(9 - first_step, mixture(), seed=3, first_step=first_step))


@pytest.mark.ci
def test_train_batches_of_a_mixture_do_not_depend_on_worker_processes(worker_processes):
    assert_same(draw(5, mixture()), draw(5, mixture(), num_workers=2))


@pytest.mark.parametrize("with_replacement", [False, True])
def test_train_batches_of_a_mixture_of_all_processes_make_the_batch_of_one(with_replacement):
    options = {"batch_size": 8, "with_replacement": with_replacement}
    whole = draw(4, mixture(), **options)
    parts = [draw(4, mixture(), **options, process_index=index, process_count=4) for index in range(4)]
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert_same([batch], [{key: np.concatenate([share[key] for share in shares]) for key in batch}])


def test_train_batches_of_a_mixture_of_two_sizes_need_one():
    sizes = Mixture([numbered(2), Numbered((3, 3))], "train")
    with pytest.raises(InputError, match=r"train images of numbered \+ numbered differ in size"):
        draw(1, sizes, augmentation=_PLAIN)
    assert draw(1, sizes, image_size=(3, 5), augmentation=_PLAIN)[0]["label"].shape == (3, 3, 5)


@pytest.mark.parametrize("process_count", [1, 4])
@pytest.mark.parametrize("length", [1, 7, 8])
def test_eval_batches_hold_every_example_once(length, process_count):
    dataset = numbered(length)
    parts = [
        list(eval_batches(dataset, batch_size=4, process_index=index, process_count=process_count))
        for index in range(process_count)
    ]
    assert [len(part) for part in parts] == [-(-length // 4)] * process_count
    examples = [example for part in parts for example in examples_of(part)]
    full = {int(example["index"]): example for example in examples if example["index"] >= 0}
    empty = [example for example in examples if example["index"] == -1]
    assert sorted(full) == list(range(length))
    assert len(full) + len(empty) == len(examples) == 4 * -(-length // 4)
    for index, example in full.items():
        np.testing.assert_array_equal(example["image"], dataset[index]["image"])
        np.testing.assert_array_equal(example["label"], dataset[index]["label"])
    for example in empty:
        assert not example["image"].any()
        assert (example["label"] == VOID).all()


def test_eval_batches_of_one_process_are_in_order():
    batches = list(eval_batches(numbered(6), batch_size=4))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, -1, -1]]
    assert [batch["name"].tolist() for batch in batches] == [["0", "1", "2", "3"], ["4", "5", "", ""]]
    shapes = {"image": (4, *_SIZE, 3), "label": (4, *_SIZE), "index": (4,), "name": (4,)}
    for batch in batches:
        assert {key: array.shape for key, array in batch.items()} == shapes
        assert [str(batch[key].dtype) for key in shapes] == ["uint8", "uint8", "int32", "object"]


@pytest.mark.parametrize("process_count", [1, 2])
def test_eval_batches_hold_images_of_one_size_and_no_padding(process_count):
    shapes = (4, 6), (5, 3), (4, 6), (1, 1), (5, 3), (4, 6), (6, 4)
    dataset = Numbered(*shapes)
    parts = [
        list(eval_batches(dataset, batch_size=2, process_index=index, process_count=process_count))
        for index in range(process_count)
    ]
    indices = [[i for batch in step for i in batch["index"].tolist()] for step in zip(*parts, strict=True)]
    assert indices == [[0, 2], [5, -1], [1, 4], [3, -1], [6, -1]]
    for step in zip(*parts, strict=True):
        assert len({batch["label"].shape for batch in step}) == 1, "processes compute one shape together"
        for example in examples_of(step):
            if example["index"] >= 0:
                source = dataset[int(example["index"])]
                np.testing.assert_array_equal(example["image"], source["image"])
                np.testing.assert_array_equal(example["label"], source["label"])


@pytest.mark.parametrize(("sizes", "image_size", "warned"), [(8, (), False), (9, (), True), (9, (4, 4), False)])
def test_eval_batches_warn_of_many_sizes(caplog, sizes, image_size, warned):
    caplog.set_level(logging.WARNING, logger="segnet_jax")
    dataset = Numbered(*[(4, 4 + i // 2) for i in range(2 * sizes)])
    batches = list(eval_batches(dataset, batch_size=2, image_size=image_size))
    assert len({batch["label"].shape for batch in batches}) == (1 if image_size else sizes)
    assert ("train images of numbered have 9 sizes" in caplog.text) == warned


def test_eval_batches_resize():
    dataset = Numbered((4, 6), (8, 9))
    (batch,) = eval_batches(dataset, batch_size=2, image_size=(2, 3))
    for i in range(2):
        np.testing.assert_array_equal(batch["image"][i], resize(dataset[i], (2, 3))["image"])
        assert (batch["label"][i] == i).all()
