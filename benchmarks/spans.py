"""Records what a process spends its time on, as spans, and adds them up by kind."""

from __future__ import annotations

import builtins
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

# JAX's events, by our names of them.
_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "XLA compilation",
    "/jax/compilation_cache/cache_retrieval_time_sec": "reading compiled programs",
}
# Imports that are quicker are of modules that are there already.
_SHORTEST_IMPORT = 5e-4


class Span(NamedTuple):
    """A stretch of the main thread's time, which may lie within another, in seconds of `time.perf_counter`."""

    start: float
    end: float
    kind: str
    detail: str


class Recorder:
    """Collects spans of the main thread."""

    def __init__(self) -> None:
        """Has recorded nothing yet."""
        self.spans: list[Span] = []

    @contextlib.contextmanager
    def span(self, kind: str, detail: str = "", shortest: float = 0.0) -> Iterator[None]:
        """Records the time within it, if it is that long."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._add(start, kind, detail, shortest)

    def watch_imports(self) -> None:
        """Records imports from now on, by package."""
        original = builtins.__import__

        def watched(
            name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
        ) -> Any:
            absolute = globals["__package__"] if level else name
            with self.span("import", absolute.partition(".")[0], _SHORTEST_IMPORT):
                return original(name, globals, locals, fromlist, level)

        builtins.__import__ = watched

    def watch_jax(self) -> None:
        """Records tracing, lowering and compilation from now on, by function."""
        import jax.monitoring

        def listen(event: str, duration_secs: float, **details: Any) -> None:
            if event in _EVENTS:
                self._add(time.perf_counter() - duration_secs, _EVENTS[event], str(details.get("fun_name", "")), 0.0)

        jax.monitoring.register_event_duration_secs_listener(listen)

    def watch(self, holder: Any, name: str, kind: str) -> None:
        """Records the calls of a function or method from now on."""
        setattr(holder, name, self._watched(getattr(holder, name), kind))

    def _watched(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with self.span(kind):
                return function(*arguments, **options)

        return call

    def _add(self, start: float, kind: str, detail: str, shortest: float) -> None:
        end = time.perf_counter()
        if end - start >= shortest and threading.current_thread() is threading.main_thread():
            self.spans.append(Span(start, end, kind, detail))


def own_seconds(spans: Iterable[Span], end: float) -> Iterator[tuple[Span, float]]:
    """Yields each span that begins before `end` with the seconds, up to there, that lie within no other span in it."""
    # Of two that begin together the longer one is outside.
    ordered = sorted((span for span in spans if span.start < end), key=lambda span: (span.start, -span.end))
    open_spans: list[list[Any]] = []
    for span in ordered:
        while open_spans and open_spans[-1][0].end <= span.start:
            yield tuple(open_spans.pop())  # type: ignore[misc]
        length = min(span.end, end) - span.start
        if open_spans:
            # Events of JAX end a little after what they time, so that one may seem to outlast the span around it.
            length = min(length, min(open_spans[-1][0].end, end) - span.start)
            span = span._replace(end=span.start + length)
            open_spans[-1][1] -= length
        open_spans.append([span, length])
    while open_spans:
        yield tuple(open_spans.pop())  # type: ignore[misc]
