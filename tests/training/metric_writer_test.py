"""Tests for segnet_jax/training/metric_writer.py."""

import io
import json
import math
import os
import re
import resource
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from segnet_jax.errors import InputError
from segnet_jax.training.metric_writer import MetricWriter, NullWriter


def crc32c(data: bytes) -> int:
    """Returns CRC-32C by its definition, bit by bit (reflected polynomial 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_file(path: Path) -> list[Any]:
    """Reads the events of one file; TFRecord framing is length, its CRC, data, its CRC."""
    data = path.read_bytes()
    events = []
    while data:
        length, length_crc = struct.unpack("<QI", data[:12])
        content, (content_crc,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert length_crc == masked(crc32c(struct.pack("<Q", length)))
        assert content_crc == masked(crc32c(content))
        events.append(event_pb2.Event.FromString(content))
        data = data[16 + length :]
    return events


def read_events(workdir: Path) -> list[Any]:
    """Reads the events of all files in the order of TensorBoard."""
    return [event for path in sorted(workdir.glob("events.out.tfevents.*")) for event in read_file(path)]


def read_values(workdir: Path) -> list[tuple[int, Any]]:
    return [(event.step, value) for event in read_events(workdir) for value in event.summary.value]


def read_lines(workdir: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not strict JSON")

    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def test_metric_writer_writes_scalars_as_json_lines_and_events(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    with MetricWriter(tmp_path / "run" / "1") as writer:
        writer.write_scalars(10, {"train/loss": 1.25, "epoch": 3, "seen": np.int64(2**40)})
        writer.write_scalars(np.int32(20), {"train/loss": jnp.float32(0.5), "half": jnp.bfloat16(1.5)})  # type: ignore[arg-type]
        writer.write_scalars(20, {"eval/mean_iou": np.float64(1 / 3), "eval/iou/ground truth": np.array(0.5)})
    lines = read_lines(tmp_path / "run" / "1")
    assert without_time(lines) == [
        {"step": 10, "train/loss": 1.25, "epoch": 3, "seen": 2**40},
        {"step": 20, "train/loss": 0.5, "half": 1.5},
        {"step": 20, "eval/mean_iou": 1 / 3, "eval/iou/ground truth": 0.5},
    ]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        written = datetime.fromisoformat(line["time"])
        assert before - timedelta(milliseconds=1) <= written <= datetime.now(UTC)
    values = read_values(tmp_path / "run" / "1")
    assert [(step, value.tag, value.simple_value) for step, value in values] == [
        (10, "train/loss", 1.25),
        (10, "epoch", 3),
        (10, "seen", 2**40),
        (20, "train/loss", 0.5),
        (20, "half", 1.5),
        (20, "eval/mean_iou", np.float32(1 / 3)),
        (20, "eval/iou/ground_truth", 0.5),  # TensorBoard's tags hold no blanks
    ]
    first = read_events(tmp_path / "run" / "1")[0]
    assert first.file_version == "brain.Event:2"
    assert before.timestamp() <= first.wall_time <= time.time()


def test_metric_writer_writes_null_for_what_is_not_finite(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        writer.write_scalars(1, {"a": math.nan, "b": jnp.inf, "c": np.float32(-np.inf), "undefined": None, "d": 1})
    assert without_time(read_lines(tmp_path)) == [
        {"step": 1, "a": None, "b": None, "c": None, "undefined": None, "d": 1}
    ]
    values = {value.tag: value.simple_value for _, value in read_values(tmp_path)}
    assert math.isnan(values.pop("a"))
    assert values == {"b": math.inf, "c": -math.inf, "d": 1}


def test_metric_writer_writes_lines_at_once_and_events_when_flushed(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        writer.write_scalars(1, {"loss": 2.0})
        assert without_time(read_lines(tmp_path)) == [{"step": 1, "loss": 2.0}]
        writer.flush()
        assert [value.tag for _, value in read_values(tmp_path)] == ["loss"]


@pytest.mark.parametrize(
    ("scalars", "message"),
    [
        ({"loss": np.zeros(2)}, r"scalar loss must be a single number, not float64 \(2,\)"),
        ({"loss": "low"}, "scalar loss must be a single number"),
        ({"step": 3}, "a scalar cannot be called step"),
        ({"ok": 1, "time": 3}, "a scalar cannot be called time"),
    ],
)
def test_metric_writer_refuses_what_is_not_a_scalar(tmp_path: Path, scalars: dict[str, Any], message: str) -> None:
    with MetricWriter(tmp_path) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write_scalars(1, scalars)
        assert read_lines(tmp_path) == []


def test_metric_writer_writes_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    with MetricWriter(tmp_path) as writer:
        writer.write_images(4, {"overlay": images[0], "batch": images})
    values = read_values(tmp_path)
    assert [(step, value.tag) for step, value in values] == [(4, "overlay"), (4, "batch/0"), (4, "batch/1")]
    for (_, value), expected in zip(values, [images[0], *images], strict=True):
        assert (value.image.height, value.image.width, value.image.colorspace) == (5, 7, 3)
        with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
            np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_metric_writer_refuses_what_is_not_an_image(tmp_path: Path, image: np.ndarray) -> None:
    with MetricWriter(tmp_path) as writer, pytest.raises(ValueError, match="image overlay must be uint8"):
        writer.write_images(1, {"overlay": image})


def test_metric_writer_writes_hparams(tmp_path: Path) -> None:
    hparams = {
        "model": {"name": "segnet", "dropout": 0.5, "bayesian": True},
        "crop": (360, 480),
        "seed": np.int64(7),
        "weights": None,
    }
    with MetricWriter(tmp_path) as writer:
        writer.write_hparams(hparams)
    values = {value.tag: value.metadata.plugin_data.content for _, value in read_values(tmp_path)}
    start = plugin_hparams_pb2.HParamsPluginData.FromString(values["_hparams_/session_start_info"])
    found = {name: value.WhichOneof("kind") for name, value in start.session_start_info.hparams.items()}
    assert found == {
        "model.name": "string_value",
        "model.dropout": "number_value",
        "model.bayesian": "bool_value",
        "crop": "string_value",
        "seed": "number_value",
        "weights": "string_value",
    }
    sent = start.session_start_info.hparams
    assert (sent["model.name"].string_value, sent["model.dropout"].number_value) == ("segnet", 0.5)
    assert (sent["crop"].string_value, sent["seed"].number_value) == ("(360, 480)", 7)
    experiment = plugin_hparams_pb2.HParamsPluginData.FromString(values["_hparams_/experiment"])
    assert sorted(info.name for info in experiment.experiment.hparam_infos) == sorted(found)


def test_metric_writer_removes_later_steps_on_resume(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        for step in (10, 20, 30, 40):
            writer.write_scalars(step, {"loss": 1 / step})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 15, "time": "2026-0')  # killed while it wrote
    with MetricWriter(tmp_path, resume_step=20) as writer:
        assert [line["step"] for line in read_lines(tmp_path)] == [10, 20]
        writer.write_scalars(30, {"loss": 5.0})
    assert without_time(read_lines(tmp_path)) == [
        {"step": 10, "loss": 0.1},
        {"step": 20, "loss": 0.05},
        {"step": 30, "loss": 5.0},
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if "tfevents" not in path.name) == ["metrics.jsonl"]
    # TensorBoard drops the events from the purge step on that came before the session start.
    kept: list[tuple[int, float]] = []
    for event in read_events(tmp_path):
        if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
            assert event.step == 21
            kept = [(step, value) for step, value in kept if step < event.step]
        kept += [(event.step, value.simple_value) for value in event.summary.value]
    assert [(step, round(value, 6)) for step, value in kept] == [(10, 0.1), (20, 0.05), (30, 5.0)]


def test_metric_writer_purges_nothing_at_the_first_start(tmp_path: Path) -> None:
    with MetricWriter(tmp_path) as writer:
        writer.write_scalars(0, {"loss": 1.0})
    assert not any(event.HasField("session_log") for event in read_events(tmp_path))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"step": 1}\n{"step": 2}\n', b'{"step": 1}\n'),
        (b'{"step": 1}\n{"st', b'{"step": 1}\n'),
        (b'{"step": 1}\n{"step": 1, "a": "\xc3', b'{"step": 1}\n'),
        (b'{"step": 1}', b'{"step": 1}\n'),  # whole, but for its end of line
        (b'{"step": 1}\n\n12\nnull\n[]\n{}\n{"step": null}\n{"step": 0}\n', b'{"step": 1}\n{"step": 0}\n'),
        (b'{"step": 2}\n{"step": 1}\n{"step": 3}\n', b'{"step": 1}\n'),
    ],
)
def test_metric_writer_keeps_whole_lines_up_to_the_step_on_resume(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(before)
    MetricWriter(tmp_path, resume_step=1).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == after


def test_metric_writer_loses_no_line_when_killed_while_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b'{"step": 1}\n{"step": 2}\n'
    (tmp_path / "metrics.jsonl").write_bytes(data)

    def killed(*paths: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        MetricWriter(tmp_path, resume_step=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == data


def test_metric_writer_keeps_the_files_of_writers_started_within_the_same_second(tmp_path: Path) -> None:
    for step in range(5):
        with MetricWriter(tmp_path, resume_step=step) as writer:
            writer.write_scalars(step, {"loss": step})
    assert [(step, value.simple_value) for step, value in read_values(tmp_path)] == [(step, step) for step in range(5)]


def test_metric_writer_can_be_closed_twice(tmp_path: Path) -> None:
    writer = MetricWriter(tmp_path)
    writer.write_scalars(1, {"loss": 2.0})
    writer.close()
    writer.close()
    assert [(step, value.simple_value) for step, value in read_values(tmp_path)] == [(1, 2.0)]


@contextmanager
def small_files_only(size: int) -> Iterator[None]:
    """Makes every write beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_metric_writer_names_a_full_disk(tmp_path: Path) -> None:
    full = pytest.raises(InputError, match=r"the metrics cannot be written .*File too large.*free space")
    with MetricWriter(tmp_path) as writer, small_files_only(1000), full:
        for step in range(100):
            writer.write_scalars(step, {"loss": 1.0})
    full = pytest.raises(InputError, match="the metrics cannot be written")
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)  # does not compress
    with small_files_only(1000), full, MetricWriter(tmp_path / "events") as writer:
        writer.write_images(1, {"large": noise})
    # An error that is on its way already is not hidden by it.
    with pytest.raises(KeyError), small_files_only(1000), MetricWriter(tmp_path / "other") as writer:
        writer.write_images(1, {"large": noise})
        raise KeyError


def test_metric_writer_refuses_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/run: the metrics cannot be written"):
        MetricWriter(tmp_path / "file" / "run")


def test_null_writer_writes_nothing_and_has_all_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with NullWriter() as writer:
        writer.write_scalars(1, {"loss": 1.0})
        writer.write_images(1, {"a": np.zeros((2, 2, 3), np.uint8)})
        writer.write_hparams({"a": 1})
        writer.flush()
    assert list(tmp_path.iterdir()) == []
    # It takes the place of a MetricWriter everywhere.
    methods = {name for name in vars(MetricWriter) if not name.startswith("_")}
    assert methods == {name for name in vars(NullWriter) if not name.startswith("_")}
