"""Global generators of random numbers, those of GPUs too, are left as they were."""
import torch

from exercises.sandbox import unchanged
from helpers.randomness import random_states_kept


def test_the_generators_of_gpus_are_left_as_they_were(monkeypatch):
    states = {"cuda": [1, 2], "mps": 3}
    for name, read, write in [("cuda", "get_rng_state_all", "set_rng_state_all"),
                              ("mps", "get_rng_state", "set_rng_state")]:
        monkeypatch.setattr(getattr(torch, name), read, lambda name=name: states[name])
        monkeypatch.setattr(getattr(torch, name), write, lambda state, name=name: states.update({name: state}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for context in (random_states_kept, unchanged):
        with context():
            states.update(cuda=[8, 8], mps=8)
        assert states == {"cuda": [1, 2], "mps": 3}
