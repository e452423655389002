"""The files that evaluations leave in `eval/` of a work directory, and what their names tell."""

from __future__ import annotations

import re
from pathlib import Path

import ml_collections

# The step is the last number before what sets an evaluation apart; a split's own name may hold hyphens and numbers.
_NAME = re.compile(r"(.+)-(\d+)((?:-(?:crf|samples\d+|first\d+|exact|running|native|\d+x\d+))*)")


def report_path(
    workdir: Path,
    config: ml_collections.ConfigDict,
    split: str,
    step: int,
    trained: ml_collections.ConfigDict | None = None,
) -> Path:
    """Where the report of an evaluation lies: `eval/<split>-<step>.json`, with what sets it apart after the step.

    That is `-crf`, `-samples40` (stochastic passes) and `-first8` (of the images, by `data.max_images`), and where it
    is not as in the training run, `-exact` or `-running` (statistics of BatchNorm) and `-180x240` or `-native` (size).

    Args:
      workdir: of the training run.
      config: of the evaluation.
      split: what was evaluated.
      step: of the evaluated parameters.
      trained: the training run's configuration; None where it is `config`.
    """
    parts = ["crf"] if config.crf.enabled else []
    if config.eval.samples:
        parts.append(f"samples{config.eval.samples}")
    if config.data.max_images:
        parts.append(f"first{config.data.max_images}")
    if trained is not None:
        if config.eval.batch_norm != trained.eval.batch_norm:
            parts.append(config.eval.batch_norm)
        size = tuple(config.data.image_size)
        if size != tuple(trained.data.image_size):
            parts.append("x".join(map(str, size)) or "native")
    return workdir / "eval" / ("-".join([split, str(step), *parts]) + ".json")


def find_reports(workdir: Path) -> dict[tuple[str, int, str], Path]:
    """The reports of a work directory by split, step and what follows the step in the file's name, such as "-crf"."""
    found = {}
    for path in sorted((workdir / "eval").glob("*.json")):
        if match := _NAME.fullmatch(path.stem):
            found[match[1], int(match[2]), match[3]] = path
    return found
