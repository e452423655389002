"""Tests for segnet_jax/training/metric_writer.py."""

import contextlib
import io
import json
import math
import os
import re
import resource
import struct
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from segnet_jax.errors import InputError
from segnet_jax.training.metric_writer import MetricWriter


def read_events(workdir):
    """Reads the events of all files in the order of TensorBoard: each is length, its CRC, data, its CRC."""
    events = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def read_values(workdir):
    return [(event.step, value) for event in read_events(workdir) for value in event.summary.value]


def read_lines(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is not strict JSON")

    text = (workdir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def without_time(lines):
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def test_metric_writer_writes_scalars_as_json_lines_and_events(tmp_path):
    before, workdir = datetime.now(UTC), tmp_path / "run" / "1"
    with MetricWriter(workdir) as writer:
        writer.write_scalars(10, {"train/loss": 1.25, "epoch": 3})
        expected = [{"step": 10, "train/loss": 1.25, "epoch": 3}]
        assert without_time(read_lines(workdir)) == expected, "lines are written at once"
        writer.write_scalars(20, {"eval/mean_iou": 1 / 3, "eval/iou/ground truth": 0.5})
    lines = read_lines(workdir)
    expected.append({"step": 20, "eval/mean_iou": 1 / 3, "eval/iou/ground truth": 0.5})
    assert without_time(lines) == expected
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        written = datetime.fromisoformat(line["time"])
        assert before - timedelta(milliseconds=1) <= written <= datetime.now(UTC)
    assert [(step, value.tag, value.simple_value) for step, value in read_values(workdir)] == [
        (10, "train/loss", 1.25),
        (10, "epoch", 3),
        (20, "eval/mean_iou", np.float32(1 / 3)),
        (20, "eval/iou/ground_truth", 0.5),  # TensorBoard's tags hold no blanks
    ]
    first = read_events(workdir)[0]
    assert first.file_version == "brain.Event:2"
    assert before.timestamp() <= first.wall_time <= time.time()


def test_metric_writer_writes_null_for_what_is_not_finite(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.write_scalars(1, {"a": math.nan, "b": math.inf, "d": 1})
    assert without_time(read_lines(tmp_path)) == [{"step": 1, "a": None, "b": None, "d": 1}]
    values = {value.tag: value.simple_value for _, value in read_values(tmp_path)}
    assert math.isnan(values.pop("a"))
    assert values == {"b": math.inf, "d": 1}


def test_metric_writer_writes_images(tmp_path):
    expected = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with MetricWriter(tmp_path) as writer:
        writer.write_image(4, "overlay", expected)
    ((step, value),) = read_values(tmp_path)
    assert (step, value.tag) == (4, "overlay")
    assert (value.image.height, value.image.width, value.image.colorspace) == (5, 7, 3)
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_metric_writer_writes_hparams(tmp_path):
    hparams = {"model.name": "segnet", "model.dropout": 0.5, "bayesian": True, "crop": (360, 480), "seed": 7}
    with MetricWriter(tmp_path) as writer:
        writer.write_hparams(hparams)
    values = {value.tag: value.metadata.plugin_data.content for _, value in read_values(tmp_path)}
    start = plugin_hparams_pb2.HParamsPluginData.FromString(values["_hparams_/session_start_info"])
    sent = start.session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in sent.items()} == {
        **hparams,
        "crop": "(360, 480)",
    }
    assert sent["bayesian"].WhichOneof("kind") == "bool_value"
    experiment = plugin_hparams_pb2.HParamsPluginData.FromString(values["_hparams_/experiment"])
    assert sorted(info.name for info in experiment.experiment.hparam_infos) == sorted(hparams)


def test_metric_writer_writes_hparams_that_are_not_utf8(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.write_hparams({"data.root": os.fsdecode(b"caf\xe9")})
    values = {value.tag: value.metadata.plugin_data.content for _, value in read_values(tmp_path)}
    start = plugin_hparams_pb2.HParamsPluginData.FromString(values["_hparams_/session_start_info"])
    assert start.session_start_info.hparams["data.root"].string_value == "caf\\udce9"


def test_metric_writer_removes_later_steps_on_resume(tmp_path):
    with MetricWriter(tmp_path) as writer:
        for step in (10, 20, 30, 40):
            writer.write_scalars(step, {"loss": 1 / step})
    assert not any(event.HasField("session_log") for event in read_events(tmp_path)), "nothing to hide at first"
    with MetricWriter(tmp_path, resume_step=20) as writer:
        assert [line["step"] for line in read_lines(tmp_path)] == [10, 20]
        writer.write_scalars(30, {"loss": 5.0})
    assert without_time(read_lines(tmp_path)) == [
        {"step": 10, "loss": 0.1},
        {"step": 20, "loss": 0.05},
        {"step": 30, "loss": 5.0},
    ]
    assert [path.name for path in tmp_path.iterdir() if "tfevents" not in path.name] == ["metrics.jsonl"]
    # TensorBoard drops the events from the purge step on that came before the session start.
    kept = []
    for event in read_events(tmp_path):
        if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
            assert event.step == 21
            kept = [(step, value) for step, value in kept if step < event.step]
        kept += [(event.step, value.simple_value) for value in event.summary.value]
    assert [(step, round(value, 6)) for step, value in kept] == [(10, 0.1), (20, 0.05), (30, 5.0)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"step": 1}\n{"st', b'{"step": 1}\n'),  # killed while it wrote
        (b'{"step": 1}\n{"step": 1, "a": "\xc3', b'{"step": 1}\n'),
        (b'{"step": 1}', b'{"step": 1}\n'),  # whole, but for its end of line
        (b'{"step": 2}\n{"step": 1}\n{"step": 3}\n', b'{"step": 1}\n'),
    ],
)
def test_metric_writer_keeps_whole_lines_up_to_the_step_on_resume(tmp_path, monkeypatch, before, after):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(os, "replace", lambda *paths: 1 / 0)
        MetricWriter(tmp_path, resume_step=1)
    assert path.read_bytes() == before, "killed while it resumed, it has lost nothing"
    with MetricWriter(tmp_path, resume_step=1):
        assert path.read_bytes() == after


def test_metric_writer_keeps_the_files_of_writers_started_within_the_same_second(tmp_path):
    for step in range(5):
        with MetricWriter(tmp_path, resume_step=step) as writer:
            writer.write_scalars(step, {"loss": step})
    assert [(step, value.simple_value) for step, value in read_values(tmp_path)] == [(step, step) for step in range(5)]


@contextlib.contextmanager
def small_files_only(size):
    """Makes every write beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_metric_writer_names_a_full_disk(tmp_path):
    full = pytest.raises(InputError, match=r"the metrics cannot be written .*File too large.*free space")
    with full, small_files_only(1000), MetricWriter(tmp_path) as writer:
        for step in range(100):
            writer.write_scalars(step, {"loss": 1.0})
    full = pytest.raises(InputError, match="the metrics cannot be written")
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)  # does not compress
    with full, small_files_only(1000), MetricWriter(tmp_path / "events") as writer:
        writer.write_image(1, "large", noise)
    # An error that is on its way already is not hidden by it.
    with pytest.raises(KeyError), small_files_only(1000), MetricWriter(tmp_path / "other") as writer:
        writer.write_image(1, "large", noise)
        raise KeyError


def test_metric_writer_refuses_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/run: the metrics cannot be written"):
        MetricWriter(tmp_path / "file" / "run")
