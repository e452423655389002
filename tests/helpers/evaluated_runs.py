"""Writes work directories of evaluated runs."""

import json

import numpy as np

from segnet_jax import config as configs
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.evaluation.metrics import summarize


def write_run(path, *, split="test", step=10, right=80, boundary_f1=0.25, kind="", report=(), **overrides):
    """Writes the work directory of a SegNet-Basic on CamVid that labels `right` of 100 pixels of every class correctly.

    Args:
      path: the work directory; it may hold other evaluations already.
      split: the evaluated split.
      step: the evaluated step.
      right: correct pixels of each class, in %.
      boundary_f1: boundary F1, or None.
      kind: the end of the file name of the evaluation, such as "-crf".
      report: entries of the report that replace others.
      **overrides: settings of the run, with __ for dots.
    """
    config = configs.default_config()
    config.data.name, config.data.image_size, config.model.name = "camvid", (360, 480), "segnet_basic"
    configs.apply_overrides(config, {key.replace("__", "."): value for key, value in overrides.items()})
    (path / "eval").mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(configs.to_json(config))
    confusion = np.diag(np.full(11, right)) + np.roll(np.diag(np.full(11, 100 - right)), 1, axis=1)
    scores = summarize(confusion, CAMVID11.names, boundary_f1=boundary_f1, void_pixels=100, images=2)
    about = {"split": split, "step": step, "image_size": config.data.image_size, "batch_norm": "running"}
    (path / "eval" / f"{split}-{step}{kind}.json").write_text(json.dumps({**about, **scores, **dict(report)}))
    return path
