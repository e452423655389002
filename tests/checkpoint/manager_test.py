"""Tests for segnet_jax/checkpoint/manager.py."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segnet_jax.checkpoint.manager import Checkpoints, exists, newest_metadata
from segnet_jax.errors import InputError
from tests.helpers.checkpoints import TEMPLATE, assert_same, make_state, save_steps


def test_checkpoints_restore_a_state_bit_for_bit(tmp_path: Path) -> None:
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3), optax.trace(0.9))
    params = {
        "conv1_1": {"kernel": np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)},
        "special": np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32),
        "half": np.array([1.5, -2.0, 3e38, float("nan")], jnp.bfloat16),
    }
    state = {
        "params": params,
        "opt_state": jax.device_get(optimizer.init(params)),
        "step": np.array(2**31 - 1, np.int32),
        "bytes": np.arange(256, dtype=np.uint8),
        "mask": np.array([[True, False]]),
        "double": np.array([1e300]),
        "long": np.array([2**62]),
        "transposed": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "nothing": None,
        "empty": ((), {}, []),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state, {})
        step, restored, _ = checkpoints.restore(state)
        assert step == 7
        assert_same(restored, state)
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        assert_same(checkpoints.restore(abstract, 7)[1], state)


def test_checkpoints_save_a_copy_of_arrays_that_change_afterwards(tmp_path: Path) -> None:
    state = make_state(1, size=100_000)
    expected = jax.tree.map(np.copy, state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        for leaf in jax.tree.leaves(state):
            leaf[...] = 0
        assert_same(checkpoints.restore(state)[1], expected)


def test_checkpoints_read_metadata_and_metrics(tmp_path: Path) -> None:
    metadata = {"config": {"lr": 0.1, "sizes": (360, 480), "name": "Ünï"}, "classes": [{"id": 3}], "n": None}
    metrics = {"mean_iou": 0.5, "boundary_f1": None}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, make_state(3), metadata, metrics)
        checkpoints.wait()
        expected = {"config": {"lr": 0.1, "sizes": [360, 480], "name": "Ünï"}, "classes": [{"id": 3}], "n": None}
        assert checkpoints.read_metadata(3) == expected
        assert checkpoints.read_metrics(3) == {"mean_iou": 0.5, "boundary_f1": None}
        assert checkpoints.restore(TEMPLATE)[2] == expected


def test_checkpoints_restore_by_step_and_best(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2, 3], {1: 0.3, 2: 0.7, 3: 0.6})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        for asked, step in ((2, 2), (3, 3), ("best", 2), ("latest", 3)):
            got, state, metadata = checkpoints.restore(TEMPLATE, asked)
            assert (got, metadata) == (step, {"step": step})
            assert_same(state, make_state(step))


@pytest.mark.parametrize(
    ("scores", "kept", "best"),
    [
        ({1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3, 5: 0.4}, [2, 4, 5], 2),
        ({1: 0.1, 5: 0.4}, [4, 5], 5),
        ({}, [4, 5], None),
        ({2: 0.0}, [2, 4, 5], 2),  # the only one with a metric, however bad
        ({1: 0.5, 2: 0.5, 3: 0.4}, [2, 4, 5], 2),  # of equals the later one
    ],
)
@pytest.mark.parametrize("reopened", [False, True])
def test_checkpoints_keep_the_newest_and_the_best(
    tmp_path: Path, scores: dict[int, float], kept: list[int], best: int | None, reopened: bool
) -> None:
    for steps in [[1], [2], [3], [4], [5]] if reopened else [[1, 2, 3, 4, 5]]:
        save_steps(tmp_path, steps, scores)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == kept
        assert checkpoints.latest_step() == 5
        assert checkpoints.best_step() == best
    assert sorted(os.listdir(tmp_path)) == sorted(map(str, kept))


def test_checkpoints_say_that_the_best_one_may_be_one_whose_score_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(tmp_path, [1, 2, 3], {1: 0.9, 2: 0.2, 3: 0.1})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.restore(TEMPLATE, "best")[0] == 1
    assert caplog.messages == []
    (tmp_path / "1" / "record" / "metadata").write_text("{}")
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.restore(TEMPLATE, "best")[0] == 2
    assert caplog.messages == [
        f"{tmp_path}: step 2 is the best of the checkpoints whose scores can be read; of 1 they cannot."
    ]


def test_newest_metadata_is_that_of_the_newest_record_that_is_whole(tmp_path: Path) -> None:
    assert newest_metadata(tmp_path / "nothing") is None
    save_steps(tmp_path, [1, 2])
    assert newest_metadata(tmp_path) == {"step": 2}
    (tmp_path / "2" / "record" / "metadata").write_text("{}")
    assert newest_metadata(tmp_path) == {"step": 1}


def test_checkpoints_keep_the_last_of_each_stage_and_the_best_of_the_last_stage(tmp_path: Path) -> None:
    stages = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2}
    scores = {1: 0.9, 2: 0.8, 3: 0.3, 4: 0.2, 5: 0.5, 6: 0.1, 7: 0.4, 8: 0.3}
    with Checkpoints(tmp_path) as checkpoints:
        for step, stage in stages.items():
            checkpoints.save(step, make_state(step), {"stage": stage}, {"mean_iou": scores[step]})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([2, 4, 5, 7, 8], 5)


def test_checkpoints_save_a_step_again_only_if_it_differs(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save(4, make_state(4), {"run": 1})
        assert not checkpoints.save(4, make_state(4), {"run": 1})
        assert checkpoints.save(4, make_state(4), {"run": 1}, {"mean_iou": 0.5})
        assert checkpoints.best_step() == 4
        # The same arrays without metrics, as at the end of a run, do not cost it its metrics.
        assert not checkpoints.save(4, make_state(4), {"run": 1})
        assert checkpoints.save(4, make_state(4), {"run": 2})
        assert checkpoints.read_metrics(4) == {"mean_iou": 0.5}
        assert checkpoints.read_metadata(4) == {"run": 2}
        # Other arrays are another checkpoint.
        assert checkpoints.save(4, make_state(99), {"run": 2})
        assert checkpoints.best_step() is None
        assert_same(checkpoints.restore(TEMPLATE)[1], make_state(99))
        checkpoints.save(5, make_state(5), {})
        checkpoints.wait()
        assert checkpoints.steps() == [4, 5]
    assert sorted(os.listdir(tmp_path)) == ["4", "5"]


def test_checkpoints_remove_later_steps_after_going_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, [10, 20, 30], {10: 0.2, 20: 0.3, 30: 0.9})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(TEMPLATE, 20)[0] == 20
        checkpoints.save(25, make_state(25), {})
        checkpoints.wait()
        assert checkpoints.steps() == [20, 25]
        assert checkpoints.best_step() == 20
    assert [record.getMessage() for record in caplog.records if record.name == "segnet_jax"] == [
        f"{tmp_path}: saving step 25 removes the later checkpoints 30, which this run has left"
    ]


@pytest.mark.parametrize("replaced", [False, True])
def test_checkpoints_settle_a_replacement_that_was_killed(tmp_path: Path, replaced: bool) -> None:
    save_steps(tmp_path, [5])
    (tmp_path / "5").rename(tmp_path / "5.replaced")
    if replaced:
        save_steps(tmp_path / "new", [6])
        (tmp_path / "new" / "6").rename(tmp_path / "5")
        (tmp_path / "new").rmdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(TEMPLATE, 5)[1], make_state(6 if replaced else 5))
    assert os.listdir(tmp_path) == ["5"]


def test_checkpoints_refuse_a_template_that_does_not_fit(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2])
    other: dict[str, Any] = make_state(0, size=7)
    other["step"] = np.array(0, np.int64)
    other["opt_state"] = ({"nu": np.zeros(40, np.float32)}, ())
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError) as caught:
            checkpoints.restore(other)  # not damage: the one before would fit as little
        message = str(caught.value)
        assert "step 2 does not fit the model in 4 of its arrays" in message
        assert "params/conv1_1/kernel: expected float32 [7, 3], found float32 [3000, 3]" in message
        assert "step: expected int64 [], found int32 []" in message
        assert "opt_state/0/nu: expected float32 [40], found none" in message
        assert "opt_state/0/mu: expected none, found float32 [40]" in message
        many = {str(index): np.zeros(1) for index in range(10)}
        with pytest.raises(InputError, match="in 13 of its arrays .*; 9 more"):
            checkpoints.restore(many, 1)
        assert checkpoints.restore(TEMPLATE)[0] == 2


def test_checkpoints_refuse_a_step_that_they_lack(tmp_path: Path) -> None:
    save_steps(tmp_path, [10, 20])
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError, match="no checkpoint of step 15; the steps there are 10, 20"):
            checkpoints.restore(TEMPLATE, 15)
        with pytest.raises(InputError, match="no checkpoint of step 15"):
            checkpoints.read_metadata(15)
        with pytest.raises(InputError, match="no checkpoint has a mean_iou .*one of the steps 10, 20"):
            checkpoints.restore(TEMPLATE, "best")


def test_checkpoints_opened_for_reading_make_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "work" / "checkpoints"
    assert not exists(missing)
    with Checkpoints(missing, read_only=True) as checkpoints:
        assert checkpoints.steps() == []
        with pytest.raises(InputError, match="there is no checkpoint; train first"):
            checkpoints.restore(TEMPLATE)
    assert not (tmp_path / "work").exists()


def test_checkpoints_opened_for_reading_leave_the_save_of_another_process_alone(tmp_path: Path) -> None:
    save_steps(tmp_path, [1])
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "1.replaced").mkdir()
    with Checkpoints(tmp_path, read_only=True) as reader:
        with Checkpoints(tmp_path / "other") as writer:  # what a training process does meanwhile
            writer.save(3, make_state(3), {})
        (tmp_path / "other" / "3").rename(tmp_path / "3")
        assert reader.steps() == [1, 3]
        assert reader.restore(TEMPLATE)[0] == 3
    assert sorted(os.listdir(tmp_path)) == ["1", "1.replaced", "2.orbax-checkpoint-tmp", "3", "other"]


def test_checkpoints_remove_leftovers_of_a_killed_save(tmp_path: Path) -> None:
    save_steps(tmp_path, [1])
    (tmp_path / "2.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        checkpoints.save(2, make_state(2), {})
        checkpoints.wait()
        assert checkpoints.restore(TEMPLATE)[0] == 2
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_checkpoints_refuse_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/checkpoints: cannot keep checkpoints there"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_checkpoints_silence_orbax_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="absl"):
        save_steps(tmp_path, [1, 2, 3])
        absl.logging.info("from elsewhere")
    assert [record.getMessage() for record in caplog.records] == ["from elsewhere"]


def test_checkpoints_can_be_read_by_orbax_alone(tmp_path: Path) -> None:
    import orbax.checkpoint as ocp

    save_steps(tmp_path, [1])
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.restore(tmp_path / "1" / "state")
    assert tree["params"]["conv1_1"]["kernel"].tobytes() == make_state(1)["params"]["conv1_1"]["kernel"].tobytes()
    record = json.loads((tmp_path / "1" / "record" / "metadata").read_text())
    assert record["leaves"]["step"]["shape"] == []
