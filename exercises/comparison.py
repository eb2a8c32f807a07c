"""Comparing what a learner's function returned with what it should have returned, and saying the difference."""
import numpy as np
import torch

RTOL = 1e-4
ATOL = 1e-5                                                    # room for float32 and another order of summation
HALF = 100                                                     # times as much for half precision, which is told apart
FEW = 12                                                       # tensors of up to so many numbers are shown in full
COUNTS = {2: "two", 3: "three", 4: "four"}
ORDER = ["first", "second", "third", "fourth"]


def close(x, y):
    """Whether two tensors agree in shape and, up to rounding, in all numbers."""
    if x.shape != y.shape or x.is_complex() or y.is_complex():
        return False
    room = HALF if x.dtype in (torch.float16, torch.bfloat16) else 1
    return torch.allclose(x.double(), y.double(), room * RTOL, room * ATOL, equal_nan=True)


def kind(x):
    """What sort of numbers a tensor holds, in words."""
    if x.dtype == torch.bool:
        return "True and False"
    if x.is_complex():
        return "complex numbers"
    return "numbers with decimals" if x.is_floating_point() else "whole numbers"


def several(value, expected):
    """What to say where a function returned several things, one of which has the shape of the expected one; or None."""
    if not isinstance(value, (tuple, list)) or isinstance(expected, list) or len(value) < 2:
        return None
    expected = torch.as_tensor(expected)
    if not any(np.shape(part) == expected.shape for part in value if torch.is_tensor(part) or np.isscalar(part)):
        return None
    words = f"you return {COUNTS.get(len(value), len(value))} things where one is wanted"
    right = [i for i, part in enumerate(value) if torch.is_tensor(part) and close(part.detach().cpu(), expected)]
    if right and right[0] < len(ORDER):
        words += f". The {ORDER[right[0]]} is right: return it alone"
    return words


def numbers(value, expected, gradients=False):
    """(tensor or None, remarks): the numbers that a learner's function returned, and what is wrong with their form.

    expected: what should have been returned; where it is a plain number or a list, plain numbers and lists are right
    gradients: whether something that went in requires a gradient
    """
    remarks = []
    if torch.is_tensor(value):
        if value.requires_grad and not gradients:
            remarks.append("your result requires a gradient, though no argument does")
        x = value.detach().cpu()
        x = (x.to_dense() if x.layout != torch.strided else x).clone()
    elif isinstance(value, (bool, int, float, np.number, np.bool_)):
        value = value.item() if isinstance(value, np.generic) else value
        x = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
        if torch.is_tensor(expected) or isinstance(expected, list):
            remarks.append(f"you return a plain number ({type(value).__name__}) instead of a torch tensor")
    elif isinstance(value, (np.ndarray, list, tuple, range)):
        words = several(value, expected)
        if words:
            return None, [words]
        what = "numpy array" if isinstance(value, np.ndarray) else type(value).__name__
        if torch.is_tensor(expected) or not isinstance(expected, list) and what != "numpy array":
            remarks.append(f"you return a {what} instead of a torch tensor")
        try:
            x = torch.as_tensor(np.array(value))
        except (TypeError, ValueError, RuntimeError):
            return None, [f"you return a {what} that holds more than numbers"]
    else:
        return None, [f"you return something of type {type(value).__name__}, where numbers are wanted"]
    if x.dtype in (torch.float16, torch.bfloat16):
        remarks.append("your result is in half precision, which is too coarse here")
    wanted = kind(torch.as_tensor(expected))
    if kind(x) != wanted:
        remarks.append(f"your result holds {kind(x)} where {wanted} are wanted")
    return x, remarks


def number(x, digits=4):
    """A number as a learner would write it."""
    return f"{x:.{digits}g}" if isinstance(x, float) else str(x)


def shown(value):
    """An argument as a learner would write it, or in a few words where it is large."""
    if torch.is_tensor(value) and value.numel() > FEW:
        return f"a tensor of shape {tuple(value.shape)}"
    if torch.is_tensor(value):
        return shown(value.tolist())
    if isinstance(value, (list, tuple)):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return brackets[0] + ", ".join(map(shown, value)) + brackets[1]
    return repr(value) if hasattr(value, "parameters") or callable(value) else number(value)


def size(value):
    """How many numbers there are in an argument, in a list of arguments, or in a result."""
    if torch.is_tensor(value):
        return value.numel()
    return sum(map(size, value)) if isinstance(value, (list, tuple)) else 1


def argument_lines(names, case, index=(), shape=()):
    """The arguments of one call, a line of code for each.

    index, shape: the entry of the result that is spoken of, and the shape of the result.  Of a large argument of the
    same shape, or of one with a number for each image, the entry that belongs to it is shown.
    """
    lines = []
    for name, value in zip(names, case):
        line = f"    {name} = {shown(value)}"
        if torch.is_tensor(value) and value.numel() > FEW and index and value.shape == shape:
            line += f", {name}{list(index)} = {number(value[index].item())}"
        lines.append(line)
    return lines


def difference(found, expected):
    """(index, expected, found), as a tuple and two numbers: the first entry in which two tensors of a shape differ."""
    apart = ~torch.isclose(found.double(), expected.double(), RTOL, ATOL, equal_nan=True)
    index = tuple(apart.nonzero()[0].tolist())
    return index, expected[index].item(), found[index].item()


def difference_in_words(index, expected, found, entries=None):
    """What difference() found, as a sentence; entries: what each of the numbers is, where it is not the result."""
    digits = next((d for d in (4, 7) if number(expected, d) != number(found, d)), 17)
    place = f"entry {list(index)} of the result" if index else "the result"
    place = entries[index[0]] if entries else place
    sentence = f"{place} should be `{number(expected, digits)}`; yours is `{number(found, digits)}`."
    if found != found or abs(found) == np.inf:
        sentence += " Is something divided by 0, or a root taken of a negative number?"
    return sentence
