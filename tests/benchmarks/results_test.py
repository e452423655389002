"""Tests for benchmarks/results.py: files of a run, and the merge of several."""

import copy
import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.__main__ import main
from benchmarks.table import markdown
from segnet_jax.errors import InputError
from tests.helpers.benchmark import RESULTS


def written(folder, forward, torch_forward, **changes):
    """Writes the results of a run with these times of inference, and returns its folder."""
    run = copy.deepcopy(RESULTS) | changes
    folder.mkdir(exist_ok=True)
    run["models"]["segnet"]["seconds"]["forward"] |= {"fast": forward, "torch channels_last": torch_forward}
    results.write(run, folder)
    return folder


def test_merge_has_medians_their_spread_and_the_ratios_of_each_run(tmp_path):
    times = [(0.10, 0.20), (0.12, 0.21), (0.11, 0.50)]
    paths = [written(tmp_path / str(number), *pair) for number, pair in enumerate(times)]
    merged = results.merge(paths)
    network = merged["models"]["segnet"]
    assert network["seconds"]["forward"]["fast"] == pytest.approx(0.11)
    assert network["spread"]["forward"]["fast"] == [0.10, 0.12]
    # PyTorch's best in the last run is the other form, 0.25 s.
    assert merged["ratios"]["segnet/inference"] == pytest.approx([0.5, 0.12 / 0.21, 0.11 / 0.25])
    assert network["parameters"] == 2_500_000
    assert merged["runs"] == 3
    text = markdown(merged)
    assert "medians over 3 benchmarks" in text
    assert "| segnet/inference | ms | 110 | 210 (torch channels_last) | 0.5 (0.44 to 0.571) |" in text
    assert "| segnet | 110 ±9% |" in text


def test_merge_takes_a_network_that_one_run_lacks(tmp_path):
    paths = [written(tmp_path / name, 0.1, 0.2) for name in "ab"]
    file = paths[1] / "benchmark.json"
    run = json.loads(file.read_text())
    run["models"]["fcn8s"] = run["models"].pop("segnet")
    file.write_text(json.dumps(run))
    merged = results.merge(paths)
    assert [network["seconds"]["forward"]["fast"] for network in merged["models"].values()] == [0.1, 0.1]


def test_merge_refuses_runs_that_differ_unless_told(tmp_path):
    first = written(tmp_path / "a", 0.1, 0.2)
    second = written(tmp_path / "b", 0.1, 0.2, rounds=5, machine={**RESULTS["machine"], "jax": "0.12", "torch": "2.14"})
    with pytest.raises(InputError) as error:
        results.merge([first, second])
    assert str(error.value) == (
        f"{second} and {first} differ in jax (0.11 and 0.12), rounds (3 and 5), torch (None and 2.14); merge runs that "
        "are alike, or add --merge_different."
    )
    assert results.merge([first, second], may_differ=True)["rounds"] == 4


@pytest.mark.parametrize("content", ["{", "[]", '{"models": {"segnet": {"torch_memory_bytes": {}}}}', None])
def test_read_refuses_what_is_not_an_earlier_run(tmp_path, content):
    path = tmp_path / "benchmark.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="is not the benchmark.json of an earlier run"):
        results.read(path)


def test_read_takes_folders_and_numbers_of_workers(tmp_path):
    rates = {"PNG files": {0: 3.0, 16: 2.0}}
    written(tmp_path, 0.1, 0.2, input_images_per_second=rates)
    assert results.read(tmp_path)["input_images_per_second"] == rates


def test_require_writable_answers_a_folder_that_cannot_be_made_in_a_sentence(tmp_path):
    results.require_writable(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--output=.*file/out cannot be written .*; choose another\."):
        results.require_writable(tmp_path / "file" / "out")


def test_main_merges(tmp_path, capsys):
    paths = [str(written(tmp_path / name, 0.1, 0.2)) for name in "ab"]
    main(["--merge", *paths, f"--output={tmp_path / 'merged'}"])
    assert "medians over 2 benchmarks" in capsys.readouterr().out
    assert results.read(tmp_path / "merged")["runs"] == 2
    with pytest.raises(SystemExit):
        main(["--merge", paths[0]])
    assert "is one run; name two at least" in capsys.readouterr().err.splitlines()[-1]


def test_published_numbers_are_still_read():
    found = results.read(Path(__file__).parents[2] / "docs" / "benchmark.json")
    assert found["models"]["segnet"]["parameters"] == 29441419
