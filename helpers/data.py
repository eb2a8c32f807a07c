"""Load images from a file, a folder, a zip, a TIFF stack, an array file or an upload as tensors.

    x = load_images("holiday.zip", size=64)                    # (N, 1, 64, 64), float32 in [-1, 1]
    x, y = load_pairs("training.tif", "groundtruth.tif", 64)   # images and masks, two (N, 1, 64, 64)

The same for every kind of file (helpers/files.py finds and decodes them):
- Square: the central square, resized with antialiasing; EXIF rotation is applied first. Of a mask, the same square with
  nearest-neighbour interpolation, so that a pair stays aligned.
- Brightness: 8-bit values are divided by 255. All others (16-bit, signed, float) are scaled by the range of their file:
  nothing is clipped, and images of a stack stay comparable. NaN becomes the darkest value, and so do the nodata pixels
  of a GeoTIFF (in a mask both are background); neither counts for the range. A DataWarning says where a value that
  looks like nodata, but is not declared as such, leaves the rest without contrast.
- Transparent pixels become white (background, in a mask) in 8-bit images; elsewhere a fourth channel is left out.
- Of an animation the first frame is taken, of a 16-bit PNG in colour the upper 8 bits.
- Linked folders and files are read like others, under each of their names: one linked twice counts twice. A link to a
  folder that holds it is not followed; a broken link is reported.
"""
import hashlib
import operator
import os
import random
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm.auto import tqdm

from helpers import files
from helpers.files import DataWarning  # noqa: F401, for those who filter it
from helpers.files import MANY, DataError, decode, doubt, find, opened, pages, value_range, warn

CACHE = Path(__file__).parents[1] / "data" / "cache"


def load_images(path, size, channels=1, names=False):
    """Every image in path: (N, channels, size, size), float32 in [-1, 1], grey or (channels=3) colour.

    path: an image file, a folder (searched to the bottom, in natural order), a zip, a TIFF (every page is an image), an
    .npz with `images`, the value of an upload widget (ipywidgets 7 or 8) or plain bytes, or a list of these.
    names=True: also N names, such as "AD/388206_78.jpeg" or "stack.tif, page 3", to make the groups of split() from.
    Raises DataError if no image can be read; warns once (DataWarning) of those left out.
    """
    size, channels = checked_size(size, channels)
    try:
        found = find(path)
        cache = CACHE / f"{_cache_key(found, size, channels)}.npz" if len(found) >= MANY else None
        x, known, skipped, doubts = _read_cache(cache)
        if x is None:
            images, skipped = pages(found)
            read = []
            for image in tqdm(images, "reading", disable=len(images) < MANY, leave=False):
                try:
                    raw = decode(image, size, channels)
                    read.append(_tensor(raw, size, channels, _span(image, raw, doubts)))
                    known.append(image.name)
                except DataError as error:
                    skipped.append(str(error))
            x = torch.stack(read) if read else torch.empty(0)
            _write_cache(cache, x, known, skipped, doubts)
        _report(len(x), skipped, doubts)
        return (x, known) if names else x
    finally:
        opened.cache_clear()                                          # Windows locks what stays open


class ImageFiles(torch.utils.data.Dataset):
    """The same images, read one at a time: item i is (channels, size, size), float32 in [-1, 1].

    For sets that do not fit in memory. `names` says what item i is. An image that turns out to be damaged is replaced
    by the next good one, with a DataWarning.
    """

    def __init__(self, path, size, channels=1):
        self.size, self.channels = checked_size(size, channels)
        self.warned = set()                                           # of each problem once
        self.images, skipped = pages(find(path))
        self.names = [image.name for image in self.images]
        opened.cache_clear()                                          # each worker opens its own
        _report(len(self.images), skipped)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        first = range(len(self))[i]                                   # an IndexError here ends a for loop
        for image in (self.images[(first + step) % len(self)] for step in range(len(self))):
            try:
                raw = decode(image, self.size, self.channels)
                doubts = []
                x = _tensor(raw, self.size, self.channels, _span(image, raw, doubts))
                self._warn_once(*doubts)
                return x
            except DataError as error:
                problem = str(error)
                self._warn_once(f"{problem} The next image takes its place.")
        raise DataError(f"none of the {len(self)} images can be read. The last: {problem}")

    def _warn_once(self, *problems):
        """A DataWarning for each of the problems that has not had one."""
        for problem in problems:
            if problem not in self.warned:
                self.warned.add(problem)
                warn(problem)


def load_pairs(images, masks, size):
    """Images and their masks: two (N, 1, size, size), float32, the images in [-1, 1], the masks 0 or 1.

    images, masks: two folders or zips, paired by name or number (10 goes with 10_mask, not with 2_mask), one folder
    twice (x and x_mask), two stacks, paired page by page, or two files.
    What is foreground: in masks that reach 255 (or 65535) or hold fractions, whatever lies above half; in masks of
    small whole numbers (0 and 1, or one for each object), all but 0; in coloured masks, all but dark pixels.
    Raises DataError if an image and its mask differ in shape, if two files could be the image or the mask of one pair,
    or if most images have no mask.
    """
    size, _ = checked_size(size, 1)
    try:
        pairs, skipped = _paired(find(images), find(masks))
        x = []
        y = []
        doubts = []
        for image, mask in tqdm(pairs, "reading", disable=len(pairs) < MANY, leave=False):
            try:
                a = decode(image)
                b = decode(mask, missing=0)
            except DataError as error:
                skipped.append(str(error))
                continue
            one, other = [r.size if isinstance(r, Image.Image) else r.shape[1::-1] for r in (a, b)]
            if one != other:
                raise DataError("{} is {} x {} pixels, but its mask {} is {} x {}. Export both at one size."
                                .format(image.name, *one, mask.name, *other))
            x.append(_tensor(a, size, 1, _span(image, a, doubts)))
            y.append(_mask(b, size))
        _report(len(x), skipped, doubts)
        return torch.stack(x), _foreground(np.stack(y))
    finally:
        opened.cache_clear()


def checked_size(size, channels):
    """(size, channels) as Python's integers, from those of NumPy and torch, too; DataError where they are none."""
    try:
        integers = operator.index(size), operator.index(channels)
    except TypeError:
        integers = 0, 0
    if integers[0] < 1 or integers[1] not in (1, 3):
        raise DataError(f"size must be a whole number above 0 and channels 1 or 3; found {size!r} and {channels!r}.")
    return integers


def _span(image, raw, doubts):
    """The Span of a decoded image's file (None: 8 bits); a sentence goes to doubts if it leaves no contrast."""
    if isinstance(raw, Image.Image):
        return None
    span = image.span or value_range([raw])
    if span.fill is not None:
        sentence = doubt(image.name.partition(", page ")[0], span)
        doubts += [] if sentence in doubts else [sentence]            # one for a stack
    return span


def _report(n, skipped, doubts=()):
    """DataWarnings of files left out and of files without contrast; DataError if nothing is left."""
    if not n:
        many = f"none of the {len(skipped)} files can be read. The first: " if len(skipped) > 1 else ""
        raise DataError(many + skipped[0])
    for title, sentences in ((f"{n} images are loaded, {len(skipped)} left out:", skipped),
                             ("Some files have too wide a range of values:", doubts)):
        if sentences:
            more = [f"and {len(sentences) - 10} more"] if len(sentences) > 10 else []
            warn("\n- ".join([title, *sentences[:10], *more]))


def _square(image, size, how):
    """The centre square of an Image at another size: float32 (size, size) or (size, size, 3)."""
    w, h = image.size
    side = min(w, h)
    left = (w - side) / 2
    top = (h - side) / 2
    return np.asarray(image.resize((size, size), how, (left, top, left + side, top + side)), np.float32)


def _on(background, image, mode):
    """An Image in this mode; what is transparent shows the background."""
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))
    return image.convert(mode)


def _tensor(raw, size, channels, span=None):
    """A decoded image -> (channels, size, size), float32 in [-1, 1]."""
    if isinstance(raw, Image.Image):
        bands = [_on("white", raw, "L" if channels == 1 else "RGB")]
    else:
        low, high, _ = span or value_range([raw])
        with np.errstate(over="ignore", invalid="ignore"):            # of values near the largest there are
            a = 255 * (raw.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
        a = np.nan_to_num(a, nan=0, posinf=255, neginf=0)
        a = a @ [0.299, 0.587, 0.114] if channels == 1 and a.ndim == 3 else a
        bands = [Image.fromarray(band.astype(np.float32)) for band in np.moveaxis(np.atleast_3d(a), -1, 0)]
    a = np.dstack([_square(band, size, Image.Resampling.BICUBIC) for band in bands])
    a = torch.from_numpy(a.clip(0, 255) / 127.5 - 1)                  # bicubic overshoots at edges
    return a.permute(2, 0, 1).expand(channels, -1, -1).contiguous()


def _mask(raw, size):
    """A decoded mask -> its values (size, size): nearest pixels of the same square, colours made 0 or 255."""
    if isinstance(raw, Image.Image):
        a = np.asarray(_on("black", raw, "RGB"))
    else:
        a = np.nan_to_num(raw)
        a = np.where(a <= -9999, 0, a)                                # missing pixels, declared as nodata or not
    if a.ndim == 3:
        bright = a.max(-1)
        coloured = (bright - a.min(-1).astype(float)).max() > bright.max() / 8      # more than the noise of a JPEG
        a = (bright > bright.max() / 4) * np.uint8(255) if coloured else bright
    return _square(Image.fromarray(a.astype(np.float32)), size, Image.Resampling.NEAREST).astype(a.dtype)


def _foreground(masks):
    """Values (N, size, size) -> (N, 1, size, size), 0 or 1: one rule for the whole set, since one mask may be blank."""
    low = min(0, float(masks.min()))
    high = float(masks.max())
    labels = masks.dtype.kind in "ui" and not (250 <= high <= 255 or high == 65535)   # 250: what a JPEG leaves of 255
    y = torch.from_numpy(masks > (0 if labels else (low + high) / 2))[:, None].float()
    if y.min() == y.max():
        warn(f"the masks mark {'everything' if y.max() else 'nothing'}. Are they the right files?")
    return y


MASK_WORDS = set("mask masks label labels gt groundtruth truth seg segmentation annotation annotations".split())
WORDS = MASK_WORDS | set("ground image images img im in out".split())


def _tokens(name, drop=()):
    """'scan_010_Mask.png' -> ('scan', 10): its words and numbers, without words that only say what it is."""
    parts = re.findall(r"\d{1,18}|[^\W\d_]+", str(Path(name).with_suffix("")).lower())
    return tuple(int(part) if part.isdigit() else part for part in parts if part not in drop)


def inside_zip(name):
    """A name without that of the zip it is in."""
    return re.sub(r"^[^/]*\.zip/", "", name, flags=re.IGNORECASE)


def _numbers(name):
    """'scan_010_Mask.png' -> [10]."""
    return [part for part in _tokens(Path(name).name) if isinstance(part, int)]


KEYS = [lambda name: Path(name).with_suffix(""),                      # how names may agree, the strictest first
        lambda name: Path(inside_zip(name)).with_suffix(""),
        lambda name: _tokens(name, WORDS),
        lambda name: _tokens(Path(name).name, WORDS),
        _numbers]


def _paired(images, masks):
    """([(image, its mask)], skipped)."""
    if images == masks:                                               # one folder holds both
        marked = [bool(MASK_WORDS & set(_tokens(Path(file.name).name))) for file in images]
        images, masks = ([file for file, mark in zip(images, marked) if mark == side] for side in (False, True))
    a, skipped = pages(images)
    b, more = pages(masks)
    skipped += more
    if not a or not b:
        _report(0, skipped or ["no file is named like a mask (x and x_mask). Give the folder of the masks as well."])
    if len(images) == len(masks) == 1:
        if len(a) != len(b):
            raise DataError(f"{images[0].name} has {len(a)} pages, but {masks[0].name} has {len(b)}. "
                            "Give stacks that match page by page.")
        return list(zip(a, b)), skipped
    unclear = None
    for key in KEYS:
        mine, theirs = (_by_name(side, key) for side in (a, b))
        both = [k for k in mine if k in theirs]
        twice = _twice(mine, theirs)
        if 2 * len(both) >= len(mine) and not twice:
            lone = [f"{mine[k][0].name} has no mask." for k in mine if k not in theirs]
            lone += [f"{theirs[k][0].name} is a mask without an image." for k in theirs if k not in mine]
            return [(mine[k][0], theirs[k][0]) for k in both], skipped + lone
        if 2 * len(both) >= len(mine) and not any(k in ("()", "[]") for k, _ in mine):     # nothing is left of a name
            unclear = unclear or twice
    raise DataError(unclear or f"most of the {len(a)} images have no mask among the {len(b)} ({a[0].name}, {b[0].name} "
                    "do not match). Name each mask like its image: x.png and x_mask.png.")


def _by_name(images, key):
    """{what is left of a name: the ImageFiles of that name}."""
    found = {}
    for image in images:
        found.setdefault((str(key(image.name)), image.page), []).append(image)
    return found


def _twice(images, masks):
    """A sentence on the first image or mask that shares its name with another; None if there is none."""
    found = [(what, same) for what, side in (("images", images), ("masks", masks))
             for same in side.values() if len(same) > 1]
    if not found:
        return None
    what, same = found[0]
    more = f" There are {len(found) - 1} more cases of this kind." if len(found) > 1 else ""
    return (f"{' and '.join(image.name for image in same[:4])} are {what} that go by the same name, so that it is "
            f"open which of them makes the pair. Remove or rename all but one.{more}")


def dihedral(images):
    """The eight rotations and flips of square images (N, C, H, H): (8 N, C, H, H), the originals first."""
    return torch.cat([x.rot90(k, (2, 3)) for x in (images, images.flip(3)) for k in range(4)])


def random_crops(images, each, size, seed=0):
    """Random square crops of square images (N, C, H, H): (N * each, C, size, size), those of one image together.

    Each side is from a third of the image to all of it, so that few large photographs give many small images.
    DataError: H is less than three times size, so that the crops would be blurred.
    """
    each = operator.index(each)
    size = operator.index(size)
    seed = operator.index(seed)
    full = images.shape[-1]
    draw = random.Random(seed)                                        # never the global random state
    found = []
    if full < 3 * size:
        raise DataError(f"crops of {size} pixels need images of {3 * size} or more, but these have {full}. "
                        f"Load them larger, with size={4 * size}.")
    for image in images:
        for _ in range(each):
            side = draw.randint(full // 3, full)
            top = draw.randint(0, full - side)
            left = draw.randint(0, full - side)
            crop = image[None, :, top:top + side, left:left + side]
            found.append(F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True))
    return torch.cat(found)


def _cache_key(found, *settings):
    """The name of the cache file: a hash of the content, the settings and this code."""
    code = Path(__file__).read_bytes() + Path(files.__file__).read_bytes()
    digest = hashlib.sha256(code + repr((settings, [file.name for file in found])).encode())
    for where in dict.fromkeys(file.where for file in found):
        if isinstance(where, bytes):
            digest.update(hashlib.sha256(where).digest())
        elif os.path.isfile(where) and os.access(where, os.R_OK):     # a broken link is reported later
            with open(where, "rb") as stream:                         # a zip may be larger than the memory
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:40]


def _read_cache(cache):
    """(images, names, skipped, doubts) from the cache, or (None, [], [], []) if it has none that can be read."""
    try:
        with open(cache, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return torch.from_numpy(stored["x"]), *(stored[key].tolist() for key in ("names", "skipped", "doubts"))
    except Exception:                                                 # none, half-written or damaged: read again
        return None, [], [], []


def _write_cache(cache, x, *texts):
    """Write the cache whole or not at all."""
    if cache is None or not len(x):
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as part:
            names, skipped, doubts = (np.array(text, dtype=str) for text in texts)    # no objects, so no pickle
            np.savez(Path(part, "x.npz"), x=x.numpy(), names=names, skipped=skipped, doubts=doubts)
            os.replace(Path(part, "x.npz"), cache)
    except OSError:                                                   # a full disk or a read-only checkout: no cache
        pass
