"""What the processes of one run tell each other. With one process, every function gives back what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from graysam.machine import usable_cores


class Processes:
    """This process among those of the run, as torchrun started them."""

    def __init__(self, device: torch.device) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.count = distributed.get_world_size() if joined else 1
        self._device = device

    def first_says(self, value: float) -> float:
        """Give the value of process 0: clocks differ, and the learning rate must not."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self._device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def any_says(self, here: bool) -> bool:
        """Tell whether any process says so: all must leave the loop at the same step."""
        if self.count == 1:
            return here
        said = torch.tensor([int(here)], device=self._device)
        distributed.all_reduce(said, distributed.ReduceOp.MAX)
        return bool(said.item())

    def averaging(self, module: nn.Module) -> nn.Module:
        """Give a module whose gradients become their means over the processes, while they are computed.

        Each process keeps the running statistics of its own norms; those of process 0 are shipped. Every weight that
        wants a gradient must get one in every batch, which `build_network` sees to.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, forward_sync_buffers=False)

    @staticmethod
    def not_yet(module: nn.Module) -> AbstractContextManager[None]:
        """Give the context of a gradient to which others will be added before it is averaged."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    @contextmanager
    def threads_of_all(self) -> Iterator[None]:
        """Let the block use the threads of the processes that wait for it, as far as this machine has cores."""
        own = torch.get_num_threads()
        torch.set_num_threads(max(own, min(own * self.count, usable_cores())))
        try:
            yield
        finally:
            torch.set_num_threads(own)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()
