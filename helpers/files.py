"""Which pictures a path stands for, how one is decoded, what is wrong with a bad one. helpers/data.py builds on it.

Files are only read: nothing is unpacked to disk, nothing in them is executed.
"""
import io
import logging
import os
import re
import warnings
import weakref
import zipfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

MANY = 200                                                            # from here on: a progress bar, and a cache
Image.init()                                                          # no EPS below: Pillow would run Ghostscript
FORMATS = [name for name in "PNG JPEG TIFF BMP GIF WEBP PPM JPEG2000 ICO AVIF".split() if name in Image.OPEN]
SUFFIXES = tuple(".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .gif .webp .ppm .pgm .pbm .pnm .pfm .jp2 .ico .avif "
                 ".npz .npy .heic .heif .dcm".split())                # the last three: left out, and it is said why
HIDDEN = re.compile(r"(^|[/\\])(\.[^./\\]|__MACOSX[/\\])")
TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
PICTURES = *TIFF, b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM"
STRANGERS = {rb"\s*<(!doctype|html)": "a web page was saved in its place. Download the file itself.",
             rb"version https://git-lfs": "it is a git-LFS pointer. Fetch the file itself with `git lfs pull`.",
             rb".{4}ftyp(hei|hev|mif|msf)": "it is a HEIC photograph. Save it as JPEG.",
             rb".{128}DICM": "it is a DICOM file. Export it as PNG or TIFF.",
             rb"%PDF|%!PS": "it is a PDF or PostScript page. Export it as PNG.",
             rb"PK|Rar!|7z\xbc\xaf|\x1f\x8b": "it is an archive. Unpack it, or give the path of one zip.",
             rb"\s*<(\?xml|svg)": "it is SVG or XML, not pixels. Export it as PNG."}


class DataError(ValueError):
    """What cannot be used: names the file, says what was found and what to do."""


class DataWarning(UserWarning):
    """What was left out of a load, and why: once per load."""


warnings.simplefilter("always", DataWarning, append=True)             # the same load run again warns again
warnings.simplefilter("ignore", Image.DecompressionBombWarning)       # large is welcome; twice as large is an error


class Picture(NamedTuple):
    """A picture file on disk, in a zip or in memory; or one page of such a file."""
    name: str                                                         # as messages show it
    where: object                                                     # a Path, or the bytes of an upload
    member: str | None = None                                         # its name inside the zip at `where`
    kind: object = None                                               # Tiff or arrays: the stack it is a page of
    page: int = 0
    span: tuple | None = None                                         # lowest and highest value of that whole stack

    def open(self):
        """A stream of the file's bytes that can seek."""
        if self.member is None:
            return open(self.where, "rb") if isinstance(self.where, Path) else io.BytesIO(self.where)
        archive = opened(zipfile.ZipFile, self.where)
        if (size := archive.getinfo(self.member).file_size) > 2 ** 31:
            raise DataError(f"it would unpack to {size / 2 ** 30:.0f} GB. Unpack it and give the folder.")
        return io.BytesIO(archive.read(self.member))


@lru_cache(4)                                                         # enough for two stacks, each in a zip
def opened(kind, where, member=None):
    """kind(stream of a file): a ZipFile, a Tiff or arrays, kept open for the next picture."""
    stream = Picture("", where, member).open()
    try:
        container = kind(stream)
    except BaseException:
        stream.close()
        raise
    weakref.finalize(container, stream.close)
    return container


if hasattr(os, "register_at_fork"):                                   # workers must not share a position in a stream
    os.register_at_fork(after_in_child=opened.cache_clear)


def find(path):
    """The picture files that path stands for, in natural order: a list of Picture."""
    opened.cache_clear()                                              # what an earlier load left open may have changed
    if isinstance(path, (bytes, bytearray, memoryview)):
        return _members("the upload", bytes(path))
    if isinstance(path, dict) and "content" in path:                  # one file of an ipywidgets 8 upload
        return _members(path.get("name", "the upload"), bytes(path["content"]))
    if isinstance(path, dict):                                        # ipywidgets 7: {name: {"content": bytes}}
        path = [{"name": name, **upload} for name, upload in path.items()]
    if isinstance(path, (list, tuple)):                               # ipywidgets 8, or several paths
        if not path:
            raise DataError("nothing was uploaded yet. Choose a file first.")
        return [file for part in path for file in find(part)]
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"pictures come from a path or an upload, not from a {type(path).__name__}.")
    if re.match(r"https?://", str(path)):
        raise DataError(f"{path} is a web address. Download the file and give its path.")
    path = Path(path).expanduser()
    if os.path.isfile(path):
        return _members(path.name, path)
    if not os.path.isdir(path):
        raise DataError(f"there is no file or folder {path}. Check its spelling; relative paths start at {Path.cwd()}.")
    below = (p for p in path.rglob("*") if p.is_file() or not p.exists())     # no pipes, no folders; but broken links
    names = _wanted(f"the folder {path}", [p.relative_to(path).as_posix() for p in below])
    return [Picture(name, path / name) for name in names]


def _members(name, where):
    """The file itself, or the pictures in it if it is a zip."""
    with Picture(name, where).open() as stream:
        if stream.read(2) != b"PK":
            return [Picture(name, where)]
    try:
        members = opened(zipfile.ZipFile, where).namelist()
    except zipfile.BadZipFile:
        raise DataError(f"{name} is a zip that was cut off: its table of contents is missing. "
                        "Download it again.") from None
    if any(member.endswith(".npy") for member in members):            # an .npz
        return [Picture(name, where)]
    return [Picture(f"{name}/{member}", where, member) for member in _wanted(f"the zip {name}", members)]


def _wanted(place, names):
    """The names meant as pictures, 2.png before 10.png: by their suffix, and not hidden or a Mac's debris."""
    def natural(name):
        return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d{1,18})", name))], name
    if wanted := [name for name in names if name.lower().endswith(SUFFIXES) and not HIDDEN.search(name)]:
        return sorted(wanted, key=natural)
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in names).most_common(4)
    found = ", ".join(f"{n} {kind}" for kind, n in kinds) or "nothing"
    raise DataError(f"{place} holds no pictures (found: {found}). Give one with PNG, JPEG or TIFF files.")


class Tiff:
    """The pages of a TIFF: 8-bit ones from Pillow (palettes, every compression), the others from tifffile."""

    def __init__(self, stream):
        import tifffile
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)              # DataWarning says what it would log
        tiff = tifffile.TiffFile(stream)
        self.stream, self.image = stream, None
        self.pages = [page for page in tiff.pages if not page.is_reduced]     # no thumbnails
        stream.seek(tiff.pages.next_page_offset)
        self.cut = any(stream.read(8 if tiff.is_bigtiff else 4))              # a next page is announced, but missing
        self.cut |= len(self.pages) == 1 and tiff.series[0].is_truncated      # ImageJ over 4 GB: one header for all

    def __len__(self):
        return len(self.pages)

    def __getitem__(self, i):
        """Page i: an upright Image, or an array (H, W) or (H, W, C)."""
        page = self.pages[i]
        if page.imagewidth * page.imagelength > 2 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        try:
            if page.dtype not in (np.uint8, bool):
                return page.asarray() if page.photometric else -page.asarray().astype(float)     # 0: white is zero
        except ValueError as error:                                   # LZW and others, without the imagecodecs package
            if "imagecodecs" not in str(error):
                raise
        self.image = self.image or Image.open(self.stream, formats=["TIFF"])
        self.image.seek(page.index)
        return ImageOps.exif_transpose(self.image)


def arrays(stream):
    """The array in an .npy, or `images` in an .npz: (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    try:
        a = np.load(stream, allow_pickle=False)
        a = a if isinstance(a, np.ndarray) else a["images"] if "images" in a else [*a]
    except Exception as error:
        raise DataError(f"its arrays cannot be read ({error}). "
                        "Save them anew with np.savez(path, images=...).") from error
    if isinstance(a, list):
        raise DataError(f"it holds no array 'images', only {a}. Save it with np.savez(path, images=...).")
    if a.ndim not in (3, 4):
        raise DataError(f"its array has the shape {a.shape}, not (N, H, W) or (N, H, W, C). Reshape it.")
    return np.moveaxis(a, 1, -1) if a.ndim == 4 and a.shape[1] in (1, 3, 4) and a.shape[3] not in (1, 3, 4) else a


def pages(files):
    """(pictures, skipped): every page of every file, and a sentence for each file that is none."""
    pictures, skipped = [], []
    for file in files:
        try:
            with file.open() as stream:
                head = stream.read(6)
                kind = Tiff if head.startswith(TIFF) else arrays if head.startswith((b"\x93NUMPY", b"PK\3\4")) else None
                if kind is None:
                    Image.open(stream, formats=FORMATS)               # reads the header only
                    pictures.append(file)
                    continue
            n = len(stack := opened(kind, file.where, file.member))
            if not n:
                raise DataError("it holds no picture.")
            new = [file._replace(name=f"{file.name}, page {i + 1}", kind=kind, page=i) for i in range(n)]
            span = _span(new)
            pictures += [page._replace(span=span) for page in new]
            if kind is Tiff and stack.cut:
                skipped.append(f"{file.name} is cut off after page {n}. Copy it again, or save it as many files.")
        except Exception as error:                                    # broken files make decoders raise anything
            skipped.append(_why(file, error))
    return pictures, skipped


def _span(stack):
    """(low, high) over all pages of a stack, one in memory at a time; None if it has 8 bits."""
    spans = []
    for page in tqdm(stack, "range", disable=len(stack) < MANY, leave=False):
        try:
            if isinstance(a := decode(page), Image.Image):
                return None
            spans.append(value_range(a))
        except DataError:                                             # told when this page is read for good
            continue
    return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None


def value_range(a):
    """The lowest and the highest finite value."""
    a = a[np.isfinite(a)]
    return float(a.min()), float(a.max())


def decode(picture, size=None, channels=1):
    """The picture: an upright Image if it has 8 bits a channel, else an array (H, W) or (H, W, 3) with a finite value.

    With a size, a JPEG may come at a reduced scale, in grey if channels is 1, at least twice that many pixels a side.
    Raises DataError with the whole sentence for whatever goes wrong.
    """
    try:
        if picture.kind:
            a = opened(picture.kind, picture.where, picture.member)[picture.page]
        else:
            with picture.open() as stream:
                a = Image.open(stream, formats=FORMATS)
                deep = "16B" in str(a.tile) and a.mode in ("RGB", "RGBA")     # Pillow keeps the upper 8 bits of these,
                if size:
                    a.draft("L" if channels == 1 else "RGB", (2 * size, 2 * size))
                a = ImageOps.exif_transpose(a)                        # loads it, too
                a = np.asarray(a, np.uint16) if deep else a           # which may be few: the range decides
        if isinstance(a, Image.Image):
            if not a.mode.startswith(("I", "F")):
                return a
            a = np.asarray(a)
        if a.dtype.kind not in "buif" or a.ndim == 3 and a.shape[2] > 4:
            raise DataError(f"its pixels have the shape {a.shape} and the type {a.dtype}. Save it as grey or RGB.")
        a = a * np.uint8(255) if a.dtype == bool else a
        if a.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(a.squeeze(2) if a.shape[2:] == (1,) else a))
        a = a if a.ndim == 2 else a[..., :3] if a.shape[2] > 2 else a[..., 0]
        if not np.isfinite(a).any():
            raise DataError("it holds no finite number.")
        return a
    except Exception as error:
        raise DataError(_why(picture, error)) from error


def _why(picture, error):
    """A sentence or two: what is wrong with this picture, and what to do."""
    if isinstance(error, DataError):
        return f"{picture.name}: {error}"
    if isinstance(error, Image.DecompressionBombError):
        return f"{picture.name} would unpack to over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Make it smaller first."
    try:
        with picture.open() as stream:
            head = stream.read(132)
    except Exception as cause:
        return f"{picture.name} cannot be opened ({cause})."
    if not head:
        return f"{picture.name} is empty (0 bytes). Copy it again."
    begins = f"{picture.name} is not a readable picture: it begins with {head[:14].decode('latin1')!r}"
    for pattern, words in STRANGERS.items():
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"{begins}, so {words}"
    if isinstance(error, Image.UnidentifiedImageError) and not head.startswith(PICTURES):
        return f"{begins}. Save it as PNG, JPEG or TIFF."
    return f"{picture.name} is damaged or of a rare kind ({error}). Copy it again, or save it as PNG."
