"""Draws how a run went and what its network confuses.

    python -m segnet_jax.visualize --workdir=DIR

Writes into `DIR/plots/`: `curves.png` (loss, learning rate and scores over time), `class_iou-SPLIT.png` (the IoU of
each class over time), and of the newest evaluation of each split and kind in `DIR/eval/` `confusion-SPLIT.png` (the
confusion matrix) and `classes-SPLIT.png` (IoU and accuracy of each class). The sheets of predictions, with their errors
marked, lie in `DIR/eval/` already.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segnet_jax.command import make_parser
from segnet_jax.errors import InputError
from segnet_jax.evaluation.result import find_reports
from segnet_jax.runtime.files import write_errors
from segnet_jax.visualize.class_bars import draw_class_bars
from segnet_jax.visualize.confusion import draw_confusion
from segnet_jax.visualize.curves import draw_class_curves, draw_curves
from segnet_jax.visualize.picture_file import save_picture
from segnet_jax.visualize.scalars import read_scalars


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws what the work directory has; returns the exit status: 1 if something could not be drawn, which is said."""
    parser = make_parser("visualize", __doc__)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the work directory of a run")
    workdir = parser.parse_args(arguments).workdir.expanduser()
    reports = sorted(find_reports(workdir).items())
    newest = {f"{split}{kind}": (step, path) for (split, step, kind), path in reports}
    faults: dict[str, None] = {}
    for part in (_over_time(workdir), *(_of_evaluation(workdir, name, *found) for name, found in newest.items())):
        try:
            for name, picture in part:
                path = workdir / "plots" / f"{name}.png"
                with write_errors(path.parent, "make room there, or make it writable"):
                    path.parent.mkdir(exist_ok=True)
                save_picture(picture, path)
                print(f"Written: {path}")
        except InputError as error:
            faults[str(error)] = None
    if not newest and not faults:
        faults[f"{workdir} has no evaluation in full yet; let the run finish, or {_evaluate(workdir)}"] = None
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _over_time(workdir: Path) -> Iterator[tuple[str, Image.Image]]:
    scalars = read_scalars(workdir / "metrics.jsonl")
    yield "curves", draw_curves(scalars)
    for split, picture in draw_class_curves(scalars).items():
        yield f"class_iou-{split}", picture


def _of_evaluation(workdir: Path, name: str, step: int, path: Path) -> Iterator[tuple[str, Image.Image]]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); restore a copy, or delete it.") from error
    if "mean_squared_error" in report:
        return  # of a network that reconstructs its input, which knows no classes
    title = f"{workdir.resolve().name}: {name}, step {step:,}"
    yield f"classes-{name}", draw_class_bars(report["classes"], title)
    if "confusion" not in report:
        raise InputError(
            f"{path} has no confusion matrix, as an earlier version wrote it; {_evaluate(workdir)} "
            f"--config.data.eval_split={report['split']}"
        )
    names = [entry["name"] for entry in report["classes"]]
    yield f"confusion-{name}", draw_confusion(np.array(report["confusion"], np.int64), names, title)


def _evaluate(workdir: Path) -> str:
    command = f"python -m segnet_jax.main --mode=eval --workdir={workdir} --config.eval.checkpoint=latest"
    return f"evaluate the latest checkpoint with {command}"


if __name__ == "__main__":
    sys.exit(main())
