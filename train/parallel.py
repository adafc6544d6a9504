"""What the processes of one run tell each other. With one process, every function gives back what it was given."""

from __future__ import annotations

import torch
from torch import distributed, nn


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

    def average_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        offset = 0
        for gradient in gradients:
            size = gradient.numel()
            gradient.copy_(flat[offset : offset + size].view(gradient.shape))
            offset += size

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()
