"""Random numbers of its own for a call that seeds for itself."""
import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_states_kept():
    """Leave every global generator (torch's on the CPU, CUDA and MPS, numpy's and Python's) as it was before."""
    pairs = [(torch.get_rng_state, torch.set_rng_state), (np.random.get_state, np.random.set_state),
             (random.getstate, random.setstate)]
    if torch.cuda.is_available():
        pairs.append((torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
    if torch.backends.mps.is_available():
        pairs.append((torch.mps.get_rng_state, torch.mps.set_rng_state))
    states = [(restore, read()) for read, restore in pairs]
    try:
        yield
    finally:
        for restore, state in states:
            restore(state)
