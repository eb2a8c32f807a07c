import pytest
import torch


@pytest.fixture
def one_thread():
    """Small arithmetic: threads that wait for each other on busy cores take a hundred times longer than one alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
