"""Ready-made sets on top of helpers.data. data/README.md holds licence, citation and address of each.

    (images, masks), heldout = mitochondria("where/I/unpacked/it")     # for load_pairs
    photographs = moon_mars_craters()                                  # for load_images
    x, labels = digits()                                               # tensors, offline
"""
import inspect
from pathlib import Path

import torch
import torch.nn.functional as F

from helpers import data
from helpers.data import DataError, load_images
from helpers.splits import subjects_of
from helpers.files import folders

HERE = Path(__file__).parents[1] / "data"                              # sets lie in data/cache, which git ignores


def _find(root, *names):
    """The first folder at or below root that holds all these names, as their paths; or None."""
    root = Path(root).expanduser()
    for folder, _ in folders(root):
        if all((folder / name).exists() for name in names):
            return [folder / name for name in names]


def mitochondria(root=None):
    """Electron microscopy of the hippocampus: ((images, masks), (images, masks)), to train on and held out, as paths.

    root: holds training.tif and the other three stacks of EPFL, or the folders of Lucchi++ or Kasthuri++, at any depth
    (default: data/cache/mitochondria). 165 slices of 1024 x 768 pixels each.
    """
    root = HERE / "cache" / "mitochondria" if root is None else root
    found = (_find(root, "training.tif", "training_groundtruth.tif", "testing.tif", "testing_groundtruth.tif")
             or _find(root, "Train_In", "Train_Out", "Test_In", "Test_Out"))
    if not found:
        raise DataError(f"{root} holds neither training.tif, training_groundtruth.tif, testing.tif and "
                        "testing_groundtruth.tif nor Train_In, Train_Out, Test_In, Test_Out. Download the first from "
                        "https://www.epfl.ch/labs/cvlab/data/data-em/ (cite Lucchi et al. 2013) or the others from "
                        "https://sites.google.com/view/connectomics/ (cite Casser et al. 2020) into that folder.")
    return tuple(found[:2]), tuple(found[2:])


def moon_mars_craters(root=None):
    """The folder of the 98 training photographs (640 x 640) of Kaggle's Martian/Lunar Crater Detection Dataset.

    The YOLO labels lie beside it, in `labels`. Without a root kagglehub fetches the set, if it is installed.
    """
    if root is None:
        try:
            import kagglehub
            root = kagglehub.dataset_download("lincolnzh/martianlunar-crater-detection-dataset")
        except Exception as error:                                     # not installed, no network, no permission
            raise DataError(f"kagglehub cannot fetch the craters ({error}). Download them from https://www.kaggle.com/"
                            "datasets/lincolnzh/martianlunar-crater-detection-dataset, unpack them, give the folder."
                            ) from error
    found = _find(root, "train/images") or _find(root, "images")
    if not found:
        raise DataError(f"{root} holds no folder train/images. Give the folder into which you unpacked the Kaggle set.")
    return found[0]


def adni(root, size=64):
    """Brain slices, AD_NC/{train,test}/{AD,NC}/<subject>_<slice>.jpeg: {"train": (x, y, subjects), "test": likewise}.

    x: (N, 1, size, size), float32 in [-1, 1]; y: (N,), 1 for AD, 0 for NC; subjects: N strings, the groups for split(),
    read from the names by splits.subjects_of.
    ADNI gives the data to applicants only, and nobody may pass it on. Raises DataError if a part is missing or if a
    subject is both in train and in test.
    """
    found = _find(root, "train/AD", "train/NC", "test/AD", "test/NC")
    parts = {}
    if not found:
        raise DataError(f"{root} holds no train/AD, train/NC, test/AD and test/NC. ADNI gives its data to those who "
                        "apply at https://adni.loni.usc.edu; give the folder AD_NC that you made of it.")
    names = []
    for part, ad, nc in (("train", *found[:2]), ("test", *found[2:])):
        (a, a_names), (b, b_names) = (load_images(path, size, names=True) for path in (ad, nc))
        parts[part] = torch.cat([a, b]), torch.tensor([1] * len(a) + [0] * len(b))
        names += a_names + b_names
    subjects = subjects_of(names)                                      # of both parts by one rule
    n = len(parts["train"][0])
    parts = {"train": (*parts["train"], subjects[:n]), "test": (*parts["test"], subjects[n:])}
    both = sorted(set(parts["train"][2]) & set(parts["test"][2]))
    if both:
        raise DataError(f"{len(both)} subjects are both in train and in test ({both[0]}, say). Divide by subject.")
    return parts


def digits(size=8):
    """scikit-learn's written digits, offline: (1797, 1, size, size), float32 in [-1, 1], and their labels (1797,)."""
    from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    size, _ = data.checked_size(size, 1)
    x = torch.from_numpy(images.reshape(-1, 1, 8, 8)).float() / 8 - 1    # 0 ... 16
    return F.interpolate(x, (size, size), mode="bilinear"), torch.from_numpy(labels)


def standard(name, size, channels=1, train=True, root=None):
    """One of torchvision's own sets by name ("MNIST", "CIFAR10" ...): (N, channels, size, size) in [-1, 1], and labels.

    Downloaded once to root (default: data/cache); torchvision checks the files against their checksums.
    """
    import torchvision
    kind = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(kind):
        raise DataError(f"torchvision has no set {name!r}. Try 'MNIST', 'FashionMNIST', 'KMNIST', 'CIFAR10' or 'SVHN'.")
    knows_train = "train" in inspect.signature(kind).parameters
    part = {"train": train} if knows_train else {"split": "train" if train else "test"}
    try:
        items = kind(root or HERE / "cache" / name, download=True, **part)
    except Exception as error:
        raise DataError(f"torchvision cannot fetch {name} ({error}). "
                        "Check the network, or give a root that holds it.") from error
    size, channels = data.checked_size(size, channels)
    pairs = [(data._tensor(image, size, channels), label) for image, label in items]
    return torch.stack([x for x, _ in pairs]), torch.tensor([label for _, label in pairs])
