"""Serves a page that segments pictures with a trained network.

python -m segnet_jax.demo [WHERE]

WHERE is a work directory, a folder or .safetensors file that `Segmenter.save_pretrained` wrote, the name of a shipped
network, OWNER/NAME of a repository on the Hugging Face hub, or one of the SegNet authors' .caffemodel files; without it
the first shipped network is taken. The page is for this machine alone and needs no network connection; --host opens it
to others.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from collections.abc import Sequence

from segnet_jax.command import add_network, make_parser, network_of, run_command
from segnet_jax.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves the page until Ctrl-C; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _serve(options))


def _serve(options: argparse.Namespace) -> int:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    try:
        import uvicorn

        from segnet_jax.demo.server import Limits, make_app
    except ImportError as error:
        raise InputError("The page needs FastAPI and uvicorn: pip install -r requirements-demo.txt") from error
    from segnet_jax.demo.network import DemoNetwork
    from segnet_jax.inference.pretrained import shipped_networks
    from segnet_jax.inference.segmenter import from_pretrained
    from segnet_jax.runtime.compilation import enable_compilation_cache

    enable_compilation_cache()
    where = options.where or next(iter(shipped_networks()), None)
    if where is None:
        raise InputError("No network comes with this installation; give a work directory: segnet_jax.demo WHERE.")
    with _listen(options.host, options.port) as listener:
        network = DemoNetwork(
            from_pretrained(where, **network_of(options)),
            samples=options.samples,
            max_pixels=round(options.max_megapixels * 1e6),
        )
        limits = Limits(round(options.max_megabytes * 1e6), options.seconds, options.waiting)
        app = make_app(network, limits, options.host)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off"
            )
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"{where} is at http://{host}:{listener.getsockname()[1]}/ until Ctrl-C.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at an address, before anything slow has begun."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"Cannot listen at {host}, port {port} ({error}); give another --host or --port.") from error


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} must be a whole number from 0 on")
    return int(text)


def _port(text: str) -> int:
    if _count(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} must be at most 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("demo", __doc__)
    add_network(parser, optional=True)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address or name to listen at, by which alone the page answers (127.0.0.1: this machine only)",
    )
    parser.add_argument("--port", type=_port, default=8000, help="to listen at (8000); 0 takes a free one")
    parser.add_argument(
        "--samples", type=_count, default=8, help="stochastic passes for the uncertainty, of a network with dropout (8)"
    )
    parser.add_argument("--max_megabytes", type=_positive, default=20, help="of a picture's file (20)")
    parser.add_argument("--max_megapixels", type=_positive, default=16, help="of a picture (16)")
    parser.add_argument("--seconds", type=_positive, default=60, help="that a picture may take, waiting included (60)")
    parser.add_argument("--waiting", type=_count, default=4, help="pictures that wait for the network at most (4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
