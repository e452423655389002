"""A data set in memory."""

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable

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
