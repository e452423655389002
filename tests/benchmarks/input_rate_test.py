"""Tests for benchmarks/input_rate.py."""

import types

from benchmarks import input_rate
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.records.reader import Records


def test_images_per_second_reads_every_source_with_every_number_of_workers(monkeypatch):
    seen, clock = [], iter(range(10**6))

    def batches(dataset, **options):
        seen.append((type(dataset), dataset[0]["image"].tobytes(), len(dataset), options["num_workers"]))
        while True:
            yield {}

    monkeypatch.setattr(input_rate.pipeline, "train_batches", batches)
    # A second a look: the batches before the first look are warm-up, and two come between it and the end of the time.
    monkeypatch.setattr(input_rate, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    rates = input_rate.images_per_second((9, 12), 6, (0, 3), seconds=2.5)
    assert rates == {source: {0: 6 * 2 / 3, 3: 6 * 2 / 3} for source in input_rate.SOURCES}
    assert [(kind, workers) for kind, _, _, workers in seen] == [
        (kind, workers) for workers in (0, 3) for kind in (Folder, Records, Records)
    ]
    # All read the same images.
    assert len({(image, length) for _, image, length, _ in seen}) == 1
