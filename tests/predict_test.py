"""Tests for segnet_jax/predict.py, and the files that it leaves."""

import json

import numpy as np
import pytest
from PIL import Image

import segnet_jax
from segnet_jax.inference.prediction_files import find_images
from segnet_jax.predict import main
from tests.helpers.folder_files import save


@pytest.fixture
def images(tmp_path):
    """A folder with two images of one name, one of another size in a subfolder, and a text file."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for name, size in {"a.png": (16, 24), "a.bmp": (16, 24), "deep/er/b.png": (9, 31)}.items():
        save(root / name, rng.integers(0, 256, (*size, 3), np.uint8))
    (root / "notes.txt").write_text("no image")
    return root


def run(where, *arguments):
    return main([str(where), *map(str, arguments)])


def test_main_writes_labels_overlays_and_shares_of_a_folder(trained_run, images, tmp_path, capsys):
    output = tmp_path / "out"
    assert run(trained_run, f"--input={images}", f"--output={output}", "--batch_size=2") == 0
    names = ["a.bmp", "a.png", "deep/er/b"]
    files = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert files == {"summary.json", *(f"{name}{end}" for name in names for end in (".png", "_overlay.png"))}
    summary = json.loads((output / "summary.json").read_text())
    assert list(summary) == names
    segmenter = segnet_jax.from_pretrained(trained_run)
    for name, path in zip(names, ["a.bmp", "a.png", "deep/er/b.png"], strict=True):
        labels = Image.open(output / f"{name}.png")
        assert labels.mode == "P"
        assert labels.getpalette()[:3] == segmenter.class_table.colors[0].tolist()
        expected = segmenter.predict(images / path).labels
        np.testing.assert_array_equal(np.asarray(labels), expected)
        assert summary[name] == pytest.approx(segmenter.predict(images / path).shares(), abs=1e-6)
        overlay = np.asarray(Image.open(output / f"{name}_overlay.png"))
        assert overlay.shape[0] > expected.shape[0]
    assert "3 images in" in capsys.readouterr().out


def test_main_passes_over_an_unreadable_image_and_goes_on_with_skip_existing(trained_run, images, tmp_path, capsys):
    (images / "bad.png").write_bytes(b"\x89PNG but no more")
    arguments = [f"--input={images}", f"--output={tmp_path / 'out'}", "--no_overlays", "--skip_existing"]
    assert run(trained_run, *arguments) == 1
    said = capsys.readouterr()
    assert f"error: {images / 'bad.png'} " in said.err
    assert "1 images could not be read, such as bad." in said.err
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert len(files) == 3
    save(images / "bad.png", np.zeros((8, 8, 3), np.uint8))
    assert run(trained_run, *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())) == 4


def test_main_shares_the_work_among_processes(trained_run, images, tmp_path):
    for number in range(2):
        assert run(trained_run, f"--input={images}", f"--output={tmp_path / 'out'}", f"--part={number}/2") == 0
    parts = [json.loads((tmp_path / "out" / f"summary-{number}-of-2.json").read_text()) for number in range(2)]
    assert [list(part) for part in parts] == [["a.bmp", "deep/er/b"], ["a.png"]]


def test_main_writes_probabilities_on_request(trained_run, images, tmp_path):
    assert run(trained_run, f"--input={images}/a.png", f"--output={tmp_path / 'out'}", "--probabilities") == 0
    with np.load(tmp_path / "out" / "a.npz") as arrays:
        assert arrays["probabilities"].shape == (16, 24, 10)
        labels = np.asarray(Image.open(tmp_path / "out" / "a.png"))
        assert (arrays["probabilities"].astype(np.float32).argmax(-1) == labels).mean() > 0.95


def test_main_overlays_a_video_and_writes_its_masks(trained_run, tmp_path):
    av = pytest.importorskip("av", reason="PyAV comes with requirements-video.txt")
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    with av.open(str(tmp_path / "v.mp4"), "w") as writer:
        stream = writer.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in frames:
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        writer.mux(stream.encode())
    assert run(trained_run, f"--input={tmp_path / 'v.mp4'}", f"--output={tmp_path / 'out'}", "--masks") == 0
    with av.open(str(tmp_path / "out" / "v_overlay.mp4")) as reader:
        stream = reader.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 10)
        assert [frame.to_ndarray(format="rgb24").shape for frame in reader.decode(stream)] == [(32, 48, 3)] * 5
    masks = sorted((tmp_path / "out" / "v").iterdir())
    assert [path.name for path in masks] == [f"{number:06d}.png" for number in range(5)]
    (tmp_path / "text.mp4").write_text("no video")
    assert run(trained_run, f"--input={tmp_path / 'text.mp4'}", f"--output={tmp_path / 'none'}") == 1
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=nowhere"], "--input=nowhere holds no image (.bmp"),
        (["--input=a.png", "--tile=100"], "Tiles of 100 with an overlap of 256"),
        (["--input=a.png", "--samples=4"], "samples=4 needs a network with dropout"),
        (["--input=v.mp4"], "v.mp4 does not exist"),
    ],
)
def test_main_answers_a_mistake_in_a_sentence(trained_run, images, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(images)
    assert run(trained_run, *arguments, f"--output={tmp_path / 'out'}") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line


@pytest.mark.parametrize(
    ("argument", "message"),
    [("--size=12", "12 must be training, native or HEIGHTxWIDTH"), ("--part=4/4", "must be I/N")],
)
def test_main_refuses_a_bad_option(argument, message, capsys):
    with pytest.raises(SystemExit):
        main(["x", "--input=a", "--output=b", argument])
    assert message in capsys.readouterr().err


def test_find_images_takes_a_glob(images):
    assert find_images(f"{images}/**/*.png") == {"a": images / "a.png", "deep/er/b": images / "deep" / "er" / "b.png"}
    assert find_images(f"{images}/deep/er/*") == {"b": images / "deep" / "er" / "b.png"}
