"""Tests for segnet_jax/command.py, and of the commands that take a .caffemodel file by it."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from segnet_jax import predict
from segnet_jax.command import add_network, make_parser, network_of, run_command
from segnet_jax.demo import network
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.export import __main__ as export
from tests.helpers.caffe_files import basic_net, caffemodel, forward, prototxt
from tests.helpers.camvid_files import save, write_tutorial

_LOG = logging.getLogger("segnet_jax")
IMAGE = np.random.default_rng(3).integers(0, 256, (20, 28, 3), dtype=np.uint8)


def test_run_command_prints_what_is_logged_and_ends_with_the_status_of_the_command(capsys):
    def run():
        _LOG.info("Counting.")
        return 3

    handlers, level = list(_LOG.handlers), _LOG.level
    assert run_command(run) == 3
    assert capsys.readouterr() == ("Counting.\n", "")
    assert (_LOG.handlers, _LOG.level) == (handlers, level)


@pytest.mark.parametrize(
    ("error", "stopped", "status", "line"),
    [
        (InputError("a.png is missing."), "Stopped.", 1, "error: a.png is missing.\n"),
        (KeyboardInterrupt(), "Stopped.", 130, "Stopped.\n"),
        (KeyboardInterrupt(), "", 130, ""),
    ],
)
def test_run_command_answers_in_a_sentence(error, stopped, status, line, capsys):
    def run():
        raise error

    assert run_command(run, stopped) == status
    assert capsys.readouterr() == ("", line)


def test_run_command_leaves_a_fault_of_the_program_to_be_seen():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_add_network_declares_what_network_of_gives(capsys):
    parser = make_parser("predict", "Segments.\n\n  As it is.", epilog="The end.")
    add_network(parser)
    assert network_of(parser.parse_args(["x"])) == {"revision": None, "prototxt": "", "architecture": ""}
    options = parser.parse_args(["x", "--revision=v1", "--prototxt=a.prototxt", "--architecture=segnet"])
    assert network_of(options) == {"revision": "v1", "prototxt": "a.prototxt", "architecture": "segnet"}
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m segnet_jax.predict ") and "Segments.\n\n  As it is.\n" in printed
    with pytest.raises(SystemExit):
        parser.parse_args([])
    optional = make_parser("demo", "")
    add_network(optional, optional=True)
    assert optional.parse_args([]).where is None


@pytest.fixture(scope="module")
def net():
    """SegNet-Basic with few features, whose file tells neither its normalisation nor its dropout."""
    return basic_net(11, width=2)


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    """A folder with its weights, its definition for images of 20x28, and such an image."""
    folder = tmp_path_factory.mktemp("caffe")
    (folder / "net.caffemodel").write_bytes(caffemodel([layer for layer in net.layers if layer.blobs]))
    (folder / "net.prototxt").write_text(prototxt(net, size=IMAGE.shape[:2]))
    save(folder / "image.png", IMAGE)
    return folder


def test_predict_takes_a_caffemodel_with_its_prototxt(net, files, tmp_path, capsys):
    weights = files / "net.caffemodel"
    arguments = [str(weights), f"--input={files / 'image.png'}", f"--output={tmp_path}"]
    assert predict.main(arguments) == 1
    assert "net.caffemodel holds weights alone" in capsys.readouterr().err
    assert predict.main([*arguments, f"--prototxt={files / 'net.prototxt'}"]) == 0
    # What was recognised is said.
    assert f"{weights} is segnet_basic with 11 outputs, the classes of camvid11" in capsys.readouterr().out
    labels = np.asarray(Image.open(tmp_path / "image.png"))
    assert (labels == forward(net, IMAGE).argmax(-1)).mean() > 0.999
    assert predict.main([str(files / "image.png"), *arguments[1:], "--architecture=segnet"]) == 1
    assert "describe a .caffemodel file" in capsys.readouterr().err


def test_export_takes_a_caffemodel_with_its_architecture(net, files, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    file = tmp_path / "net.onnx"
    arguments = [str(files / "net.caffemodel"), "--architecture=segnet_basic", "--format=onnx", f"--output={file}"]
    assert export.main(arguments) == 0
    (labels,) = onnxruntime.InferenceSession(file).run(None, {"images": IMAGE[None]})
    assert (labels[0] == forward(net, IMAGE).argmax(-1)).mean() > 0.999


def test_demo_takes_a_caffemodel_with_its_prototxt(files, monkeypatch, capsys):
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn comes with requirements-demo.txt")
    from segnet_jax.demo import __main__ as demo

    seen = []
    monkeypatch.setattr(network, "DemoNetwork", lambda segmenter, **options: seen.append(segmenter.network_size(9, 9)))
    monkeypatch.setattr("segnet_jax.demo.server.make_app", lambda *arguments: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert demo.main([str(files / "net.caffemodel"), f"--prototxt={files / 'net.prototxt'}", "--port=0"]) == 0
    assert seen == [IMAGE.shape[:2]]
    assert "net.caffemodel is at http://127.0.0.1:" in capsys.readouterr().out


def test_evaluation_takes_a_caffemodel_with_its_prototxt(net, files, tmp_path):
    root = write_tutorial(tmp_path / "camvid", "val", size=IMAGE.shape[:2])
    caffe = {"prototxt": str(files / "net.prototxt")}
    evaluate_checkpoint(tmp_path, {"data.root": str(root)}, str(files / "net.caffemodel"), **caffe)
    report = json.loads((tmp_path / "eval" / "val-0-weights.json").read_text())
    expected = np.zeros((11, 11), int)
    for index in range(2):
        found = forward(net, np.full(IMAGE.shape, 10 * index, np.uint8)).argmax(-1)
        expected[index] += np.bincount(found.ravel()[1:], minlength=11)
    assert report["confusion"] == expected.tolist()
    with pytest.raises(InputError, match="give that as --weights"):
        evaluate_checkpoint(tmp_path, {}, **caffe)
