"""A data set in memory, and its evaluation with a random network."""

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.preprocessing import lcn
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.models.segnet_flat import SegNetFlat
from tests.helpers.networks import random_variables

TABLE = ClassTable.from_entries("three", ["a", "b", "c"])


class Images:
    """A data set of random images of several sizes, some of whose pixels are void."""

    name, split, class_table = "random", "val", TABLE

    def __init__(self, count=7, sizes=((9, 14), (12, 11))):
        rng = np.random.default_rng(2)
        self.examples = []
        for i in range(count):
            size = sizes[i % len(sizes)]
            labels = rng.integers(0, 4, size, np.uint8)
            labels[labels == 3] = VOID
            image = rng.integers(0, 256, (*size, 3), np.uint8)
            self.examples.append({"image": image, "label": labels, "name": str(i)})

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]

    def shape(self, index):
        return self.examples[index]["label"].shape


class GroupedImages(Images):
    """Images of two groups."""

    def group(self, index):
        return "dusk" if index in (1, 2, 6) else "day"


def evaluate(devices, batch_size=3, **options):
    """Evaluates a random network on `GroupedImages`, with the scores and pictures of all."""
    model = SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=1)
    evaluator = Evaluator(model, lcn, devices, batch_size=batch_size, num_threads=1, per_image=True, **options)
    return evaluator(random_variables(model), GroupedImages(), boundary_f1=True, num_pictures=7)
