import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from graysam.models.network import Network, build_network
from graysam.models.spec import L0

sys.path.insert(0, str(Path(__file__).parent))  # for seeded.py, whatever the import mode
import seeded


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """More threads than free cores make these tests several times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def l0() -> Network:
    """The paper's model with seeded weights and BatchNorm statistics; treat as read-only."""
    model = build_network(L0)
    model.load_state_dict(seeded.seeded_state(model, name_of=seeded.official_name))
    return model.eval().requires_grad_(False)
