"""Makes the measurements of `benchmarks.workload` on the same networks in PyTorch."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.pytorch.models import create_torch_model
from benchmarks.workload import NUM_CLASSES, STEPS

_NONDETERMINISTIC = re.compile(r"(\w+) does not have a deterministic implementation")


class TorchWorkload:
    """A network in PyTorch, with images and labels of random values.

    Args:
      name: of the network.
      image_size: (height, width) in pixels.
      train_batch: images of a training step.
      dtype: "float32", or "bfloat16" for automatic mixed precision.
      channels_last: the memory format NHWC instead of NCHW.
      compiled: whether `torch.compile` makes the functions.
    """

    def __init__(
        self,
        name: str,
        *,
        image_size: tuple[int, int],
        train_batch: int,
        dtype: str,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        """Initialises the network, and chooses PyTorch's fast settings."""
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cuda":
            # Shapes do not change here, so cuDNN may search for the fastest algorithms; TF32 is what JAX uses there.
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        # PyTorch's annotations know no memory format of a module.
        module: Any = create_torch_model(name, NUM_CLASSES)
        self.module = module.to(self.device, memory_format=memory_format)
        self._call: Any = self.module
        if compiled:
            # What it has compiled for other networks of this class would count towards its limit, after which it
            # compiles no more.
            torch.compiler.reset()
            # By itself it would compile for a batch of any size once it has seen two sizes, which is slower.
            self._call = torch.compile(self.module, dynamic=False)
        self._mixed = torch.autocast(self.device.type, getattr(torch, dtype), enabled=dtype != "float32")
        self._loss = nn.CrossEntropyLoss(weight=torch.ones(NUM_CLASSES, device=self.device), ignore_index=255)
        self._optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)

        def images(number: int) -> torch.Tensor:
            return torch.randn(number, 3, *image_size, device=self.device).contiguous(memory_format=memory_format)

        def labels(number: int) -> torch.Tensor:
            return torch.randint(0, NUM_CLASSES, (number, *image_size), device=self.device)

        self._image, self._label = images(1), labels(1)
        self._images, self._labels = images(train_batch), labels(train_batch)
        self.nondeterministic: set[str] = set()

    def run(self, what: str) -> None:
        """Runs one of `MEASURES`, as `Workload.run` does, and returns when the device is done.

        A deterministic step adds to `nondeterministic` the operations that PyTorch has in no deterministic form; they
        run all the same.
        """
        with self._deterministic() if what == "deterministic_step" else contextlib.nullcontext():
            self._start(what)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

    def _start(self, what: str) -> None:
        self.module.train(what != "forward")
        images, labels = self._inputs(what)
        if what == "forward":
            with torch.inference_mode(), self._mixed:
                self._call(images)
        else:
            if what != "train_forward":
                self._optimizer.zero_grad(set_to_none=True)
            with self._mixed:
                loss = self._loss(self._call(images), labels)
            if what != "train_forward":
                loss.backward()
            if what in STEPS:
                self._optimizer.step()

    @contextlib.contextmanager
    def _deterministic(self) -> Iterator[None]:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling new memory would only cost time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        finally:
            torch.use_deterministic_algorithms(False)
        for warning in caught:
            self.nondeterministic.update(_NONDETERMINISTIC.findall(str(warning.message)))

    def peak_memory_bytes(self, what: str) -> int:
        """Returns the most memory that PyTorch's allocator holds for this network during `run(what)`.

        Parameters, statistics and what `run(what)` takes besides are counted, as `Workload.memory_bytes` does: images,
        labels, in a step the optimizer's state; other networks of the process are not. It has to have run before, so
        that all of that is there.
        """
        # Gradients of the step before are freed during the run: the profiler does not see it, and so they are not there
        # when what is held is counted.
        self._optimizer.zero_grad(set_to_none=True)
        held = self._held_bytes(what)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.run(what)
            return held + torch.cuda.max_memory_allocated() - before
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.run(what)
        balance = peak = 0
        events = profile.profiler.kineto_results.events()
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                balance += event.nbytes()
                peak = max(peak, balance)
        return held + peak

    def _held_bytes(self, what: str) -> int:
        """Returns the memory of parameters, statistics and what `run(what)` takes besides."""
        images, labels = self._inputs(what)
        tensors = [*self.module.parameters(), *self.module.buffers(), images]
        if what != "forward":
            tensors.append(labels)
        if what in STEPS:
            for state in self._optimizer.state.values():
                tensors += [value for value in state.values() if torch.is_tensor(value)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _inputs(self, what: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the images and labels of `run(what)`; the forward pass has no use for labels."""
        return (self._images, self._labels) if what in STEPS else (self._image, self._label)
