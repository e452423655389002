"""Segments images and videos with a trained network.

python -m segnet_jax.predict WHERE --input=PATH --output=DIR

WHERE is a work directory, a folder or .safetensors file that `Segmenter.save_pretrained` wrote, the name of a shipped
network, OWNER/NAME of a repository on the Hugging Face hub, or one of the SegNet authors' .caffemodel files. PATH is an
image, a folder (with its subfolders), a glob or a video. DIR gets for each image the labels as a PNG in the classes'
colours, an overlay with a legend, and `summary.json`, the share of each class.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segnet_jax.command import add_network, make_parser, network_of, run_command
from segnet_jax.errors import InputError

_VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_READ_AHEAD = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Segments what the command line names; returns the exit status: 1 if an image could not be read."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), "Stopped; the same command with --skip_existing goes on.")


def _run(options: argparse.Namespace) -> int:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.inference.prediction_files import PredictionFiles, find_images
    from segnet_jax.inference.segmenter import Options, from_pretrained
    from segnet_jax.runtime.compilation import enable_compilation_cache

    enable_compilation_cache()
    index, count = options.part
    chosen: dict[str, Any] = {
        "size": options.size,
        "tile": options.tile,
        "overlap": options.overlap,
        "samples": options.samples,
        "probabilities": options.probabilities,
    }
    Options(**chosen)  # refuses what makes no sense before the network is loaded
    output = Path(options.output).expanduser()
    is_video = options.input.lower().endswith(_VIDEO_SUFFIXES)
    images = {} if is_video else dict(list(find_images(options.input).items())[index::count])
    segmenter = from_pretrained(options.where, **network_of(options))
    if is_video:
        from segnet_jax.inference.video import segment_video

        segment_video(
            segmenter, Path(options.input).expanduser(), output, masks=options.masks, alpha=options.alpha, **chosen
        )
        return 0
    files = PredictionFiles(output, overlays=not options.no_overlays, alpha=options.alpha)
    if options.skip_existing:
        images = {name: path for name, path in images.items() if not files.labels(name).is_file()}
    suffix = f"-{index}-of-{count}" if count > 1 else ""
    return _segment(segmenter, images, files, output / f"summary{suffix}.json", options.batch_size, chosen)


def _segment(segmenter: Any, images: dict[str, Path], files: Any, summary: Path, batch_size: int, chosen: Any) -> int:
    """Segments images, of which some are read ahead and some are written behind the network."""
    from tqdm import tqdm

    from segnet_jax.runtime.files import write_atomically, write_errors

    shares = json.loads(summary.read_text("utf-8")) if summary.is_file() else {}
    failed: list[str] = []
    waits = {"reading": 0.0, "network": 0.0, "writing": 0.0}
    started = time.perf_counter()
    with ThreadPoolExecutor(4) as readers, ThreadPoolExecutor(4) as writers:
        names: deque[str] = deque()
        written: deque[Future[None]] = deque()

        def arrays() -> Iterator[Any]:
            pending: deque[tuple[str, Future[Any]]] = deque()
            paths = iter(images.items())
            while True:
                for name, path in paths:
                    pending.append((name, readers.submit(segmenter.read, path)))
                    if len(pending) >= _READ_AHEAD:
                        break
                if not pending:
                    return
                name, future = pending.popleft()
                with _timed(waits, "reading"):
                    error = future.exception()
                if isinstance(error, InputError):
                    failed.append(name)
                    tqdm.write(f"error: {error}", file=sys.stderr)
                    bar.update()
                    continue
                names.append(name)
                yield future.result()

        try:
            with tqdm(total=len(images), unit=" images") as bar:
                results = segmenter.predict_each(arrays(), batch_size=batch_size, **chosen)
                while True:
                    before = time.perf_counter() - waits["reading"]
                    found = next(results, None)
                    waits["network"] += time.perf_counter() - waits["reading"] - before
                    if found is None:
                        break
                    name = names.popleft()
                    shares[name] = {key: round(value, 6) for key, value in found.shares().items()}
                    written.append(writers.submit(files.write, name, found))
                    bar.update()
                    if len(written) > _READ_AHEAD:
                        with _timed(waits, "writing"):
                            written.popleft().result()
            with _timed(waits, "writing"):
                for future in written:
                    future.result()
        finally:
            with write_errors(summary):
                summary.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(summary, json.dumps(dict(sorted(shares.items())), indent=2) + "\n")
    seconds = time.perf_counter() - started
    done = len(images) - len(failed)
    parts = ", ".join(f"{100 * spent / seconds:.0f} % {what}" for what, spent in waits.items())
    print(
        f"{done} images in {seconds:.1f} s ({done / seconds:.2f} a second; the time went: {parts}), in {files.folder}."
    )
    if failed:
        print(f"{len(failed)} images could not be read, such as {failed[0]}.", file=sys.stderr)
    return 1 if failed else 0


@contextlib.contextmanager
def _timed(waits: dict[str, float], what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    waits[what] += time.perf_counter() - start


def _size(text: str) -> tuple[int, ...] | None:
    if text in ("training", "native"):
        return None if text == "training" else ()
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text} must be training, native or HEIGHTxWIDTH in pixels, such as 360x480")
    return int(height), int(width)


def _part(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text} must be I/N, such as 0/4 for the first of four processes")
    return int(index), int(count)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("predict", __doc__)
    add_network(parser)
    parser.add_argument("--input", required=True, metavar="PATH", help="image, folder, glob or video")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder for the results")
    parser.add_argument(
        "--size",
        type=_size,
        default=None,
        help="at which the network sees images: training (as there; the default), native or HEIGHTxWIDTH; the results "
        "have the images' own size",
    )
    parser.add_argument("--tile", type=int, default=0, help="segment in tiles of this side, for images beyond memory")
    parser.add_argument("--overlap", type=int, default=256, help="of the tiles; 256 by default")
    parser.add_argument("--samples", type=int, default=0, help="stochastic passes of a network with dropout")
    parser.add_argument("--probabilities", action="store_true", help="write NAME.npz with the probabilities")
    parser.add_argument("--no_overlays", action="store_true", help="write labels alone")
    parser.add_argument("--masks", action="store_true", help="of a video, write the labels of each frame as well")
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the class colours in overlays, 0 to 1")
    parser.add_argument("--batch_size", type=int, default=1, help="neighbouring images of one size at a time")
    parser.add_argument("--skip_existing", action="store_true", help="leave images whose labels are there already")
    parser.add_argument(
        "--part",
        type=_part,
        default=(0, 1),
        metavar="I/N",
        help="take every N-th image from the I-th on, for N processes, such as $SLURM_PROCID/$SLURM_NTASKS",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
