"""Makes the measurements of `benchmarks.workload` on the same networks in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.pytorch.models import create_torch_model
from benchmarks.workload import NUM_CLASSES


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
        """Initialises the network."""
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        # PyTorch's annotations know no memory format of a module.
        module: Any = create_torch_model(name, NUM_CLASSES)
        self.module = module.to(self.device, memory_format=memory_format)
        self._call: Any = torch.compile(self.module) if compiled else self.module
        self._mixed = torch.autocast(self.device.type, getattr(torch, dtype), enabled=dtype != "float32")
        self._loss = nn.CrossEntropyLoss(weight=torch.ones(NUM_CLASSES, device=self.device), ignore_index=255)
        self._optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)

        def images(number: int) -> torch.Tensor:
            return torch.randn(number, 3, *image_size, device=self.device).contiguous(memory_format=memory_format)

        def labels(number: int) -> torch.Tensor:
            return torch.randint(0, NUM_CLASSES, (number, *image_size), device=self.device)

        self._image, self._label = images(1), labels(1)
        self._images, self._labels = images(train_batch), labels(train_batch)

    def run(self, what: str) -> None:
        """Runs "forward", "train_forward", "gradient" or "train_step", as `Workload.run` does."""
        self.module.train(what != "forward")
        if what == "forward":
            with torch.inference_mode(), self._mixed:
                self._call(self._image)
        else:
            images, labels = (self._images, self._labels) if what == "train_step" else (self._image, self._label)
            if what != "train_forward":
                self._optimizer.zero_grad(set_to_none=True)
            with self._mixed:
                loss = self._loss(self._call(images), labels)
            if what != "train_forward":
                loss.backward()
            if what == "train_step":
                self._optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_memory_bytes(self, what: str) -> int:
        """Returns the most memory that PyTorch's allocator holds at once during `run(what)`, parameters included."""
        self.run(what)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.run(what)
            return torch.cuda.max_memory_allocated()
        # The profiler does not see that gradients of the step before are freed.
        self._optimizer.zero_grad(set_to_none=True)
        held = self._held_bytes()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.run(what)
        balance = peak = 0
        events = profile.profiler.kineto_results.events()
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                balance += event.nbytes()
                peak = max(peak, balance)
        return held + peak

    def _held_bytes(self) -> int:
        """Returns the memory of parameters, statistics, the optimizer's state and the inputs."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        for state in self._optimizer.state.values():
            tensors += [value for value in state.values() if torch.is_tensor(value)]
        tensors += [self._image, self._label, self._images, self._labels]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
