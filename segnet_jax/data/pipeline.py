"""Batches of a data set, by a Grain pipeline.

Every batch is a function of the seed and of its number alone, not of the number of workers, of threads or of
processes. A run that resumes at step s asks for batch s, and needs no saved iterator.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Generator, Iterator, Sequence

import grain
import numpy as np
from absl import flags

from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_table import VOID
from segnet_jax.data.dataset import Dataset, image_dtype_of, modalities_of
from segnet_jax.data.mixture import Mixture
from segnet_jax.data.resize import Example, resize
from segnet_jax.errors import InputError

Batch = dict[str, np.ndarray]

_log = logging.getLogger("segnet_jax")

# A network is compiled for each size of images; above so many the user is told.
_FEW_SIZES = 8


def train_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    first_step: int = 0,
    with_replacement: bool = False,
    image_size: tuple[int, ...] = (),
    num_workers: int = 0,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[Batch, None, None]:
    """Yields training batches without end, from step `first_step` on; each example comes once in every epoch.

    The data sets of a `Mixture` take turns, as their weights say, and each goes through epochs of its own.

    Epochs are shuffled anew, and follow each other without a gap: a batch may hold the end of one and the start of
    the next. With replacement there are no epochs: each place in a batch may hold any example, whatever the others
    hold. Each process gets a part of the batch of a single process, in order, so a step has the same examples in the
    same places for any number of processes.

    Args:
      dataset: the training split.
      batch_size: over all processes; divisible by `process_count`.
      seed: determines order and augmentation.
      augmentation: applied after resizing.
      first_step: the number of the first batch.
      with_replacement: whether examples are drawn independently of each other.
      image_size: (height, width) to resize to, or () for the native size.
      num_workers: worker processes; 0 uses threads only.
      num_threads: reading threads of each process.
      process_index: the number of this process, from 0.
      process_count: the number of processes.

    Yields:
      `image` [batch_size / process_count, h, w, channels], uint8 or float32 as the data set's are, and `label` uint8
      [batch_size / process_count, h, w].

    Raises:
      InputError: if the examples would come out in different sizes.
    """
    if not image_size and not augmentation.crop_size:
        _require_one_size(dataset)
    if isinstance(dataset, Mixture):
        parts = [_endless(part, seed + number, with_replacement) for number, part in enumerate(dataset.datasets)]
        examples = grain.MapDataset.select_from_datasets(parts, _Turns(dataset.weights))
    else:
        examples = _endless(dataset, seed, with_replacement)
    stream = examples.map(functools.partial(resize, size=image_size)).random_map(augmentation).map(_arrays)
    shares = stream.batch(batch_size // process_count, drop_remainder=True)
    yield from _iterate(shares[process_index::process_count][first_step:], num_workers, num_threads)


def _endless(dataset: Dataset, seed: int, with_replacement: bool) -> grain.MapDataset:
    """Returns the examples of a data set in random order, without end."""
    if with_replacement:
        numbers = grain.MapDataset.range(len(dataset)).seed(seed).repeat(None)
        return numbers.random_map(functools.partial(_draw, dataset=dataset))
    return grain.MapDataset.source(dataset).seed(seed).shuffle().repeat(None)


class _Turns(grain.transforms.DatasetSelectionMap):
    """The order in which endless data sets take turns: evenly, so that each has its share of any stretch of them.

    `MapDataset.mix` rounds weights to a hundredth of the smallest.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Returns the number of the data set whose turn it is, and how many turns it has had."""
        rest = sum(self._weights)
        for number, weight in enumerate(self._weights):
            # Of so many turns of this data set and those after it, its own, rounded up.
            before, after = (-(-turns * weight // rest) for turns in (index, index + 1))
            if after > before:
                return number, before
            index, rest = index - before, rest - weight
        raise AssertionError("the last data set takes every turn that is left")


def eval_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    image_size: tuple[int, ...] = (),
    num_workers: int = 0,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields the whole split once, in batches of images of one size.

    Nothing is padded, so what a network makes of an image is a function of that image alone. The sizes come in the
    order of their first images, the images of a size in theirs. The last batch of each size is filled up with empty
    examples, so that every process gets the same sizes in the same order.

    Args:
      dataset: the split.
      batch_size: over all processes; divisible by `process_count`.
      image_size: as for `train_batches`, as are the others.
      num_workers: worker processes.
      num_threads: reading threads.
      process_index: the number of this process, from 0.
      process_count: the number of processes.

    Yields:
      `image` [b, h, w, channels], uint8 or float32 as the data set's are, `label` uint8 [b, h, w] (void in an empty
      example), `index` int32 [b] (-1 for an empty example) and `name` object [b], texts ("" for an empty example), b
      being batch_size / process_count.
    """
    load = functools.partial(_load, dataset=dataset, image_size=image_size, dtype=image_dtype_of(dataset))
    examples = grain.MapDataset.source(_by_size(dataset, batch_size, image_size)).map(load)
    parts = examples.batch(batch_size // process_count, drop_remainder=True)
    yield from _iterate(parts[process_index::process_count], num_workers, num_threads)


def _by_size(dataset: Dataset, batch_size: int, image_size: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """Returns index (-1: empty) and size of each example, whole batches of each size."""
    indices_of: dict[tuple[int, ...], list[int]] = {}
    for index in range(len(dataset)):
        indices_of.setdefault(tuple(image_size or dataset.shape(index)), []).append(index)
    if len(indices_of) > _FEW_SIZES:
        _log.warning(
            "The %s images of %s have %d sizes, and the network is compiled for each; data.image_size, to which all "
            "are resized, saves that time.",
            dataset.split,
            dataset.name,
            len(indices_of),
        )
    examples = []
    for size, indices in indices_of.items():
        examples += [(index, size) for index in indices + [-1] * (-len(indices) % batch_size)]
    return examples


def _iterate(batches: grain.MapDataset, num_workers: int, num_threads: int) -> Iterator[Batch]:
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(2, 2 * num_threads))
    dataset = batches.to_iter_dataset(options)
    if num_workers:
        # Grain asks for a flag of its own, which nobody has parsed outside of absl.app.run, as in a notebook.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
    iterator = iter(dataset)
    try:
        yield from map(_copied, iterator) if num_workers else iterator
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise InputError(
            "A reading process was killed from outside, perhaps for lack of memory; set data.num_workers to a smaller "
            "number and give the same command again, which goes on from the newest checkpoint."
        ) from error
    finally:
        # Or worker processes and shared memory are left behind, with noise at exit.
        iterator.close()


def _copied(batch: Batch) -> Batch:
    """Copies a batch out of the shared memory of a reading process, and frees that memory at once.

    Grain frees it with the array, but holds the last batch in a cycle until the exit, which is too late.
    """
    copy = {}
    for key, array in batch.items():
        copy[key] = np.array(array)
        if getattr(array, "_unlink_on_del", False):
            array._unlink_on_del = False  # type: ignore[attr-defined]
            array.shm.unlink()  # type: ignore[attr-defined]
    return copy


def _arrays(example: Example) -> Batch:
    return {
        "image": np.ascontiguousarray(example["image"]),
        "label": np.ascontiguousarray(example["label"]),
    }


def _draw(number: int, rng: np.random.Generator, *, dataset: Dataset) -> Example:
    del number
    return dataset[int(rng.integers(len(dataset)))]


def _load(place: tuple[int, tuple[int, ...]], *, dataset: Dataset, image_size: tuple[int, ...], dtype: str) -> Batch:
    index, size = place
    if index < 0:
        image, label = np.zeros((*size, sum(modalities_of(dataset))), dtype), np.full(size, VOID, np.uint8)
        name = ""
    else:
        example = dataset[index]
        name = example["name"]
        image, label = _arrays(resize(example, image_size)).values()
    return {"image": image, "label": label, "index": np.asarray(index, np.int32), "name": np.asarray(name, object)}


def _require_one_size(dataset: Dataset) -> None:
    first = dataset.shape(0)
    for i in range(1, len(dataset)):
        if dataset.shape(i) != first:
            raise InputError(
                f"The {dataset.split} images of {dataset.name} differ in size ({first} and {dataset.shape(i)}, height "
                "and width, among them); set data.image_size or augment.crop_size to train on one size."
            )
