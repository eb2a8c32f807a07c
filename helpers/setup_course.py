"""What the set-up cell of every notebook runs once the course is found: this course's helpers come first on the path.

The cell runs this file by its path, since "import helpers" may find another package of that name before.
"""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def use_drive(mount="/content/drive"):
    """Mount Google Drive on Colab; weights and checkpoints are from now on kept in its folder craters-from-noise.

    RuntimeError: this is not Colab, or the session already uses another folder.
    """
    try:
        from google.colab import drive
    except ImportError:
        raise RuntimeError("keep_in_drive is for Google Colab. Elsewhere weights and checkpoints are kept anyway: set "
                           "it to False.") from None
    folder = Path(mount) / "MyDrive" / "craters-from-noise"
    kept = str(folder / "checkpoints")
    if "helpers.env" in sys.modules and os.environ.get("COURSE_CHECKPOINTS") != kept:
        raise RuntimeError("this session already keeps its weights elsewhere: restart it, and run this cell first.")
    drive.mount(str(mount))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    os.environ["COURSE_CHECKPOINTS"] = kept
    print(f"Weights and checkpoints are kept in {kept}; put images of your own into {folder / 'images'}.")


def put_first():
    """Put this course first on Python's path.  ImportError: another package called helpers was imported before."""
    sys.path[:] = [str(ROOT), *(place for place in sys.path if place != str(ROOT))]
    import helpers
    found = getattr(helpers, "__file__", None) or f"the folder {list(helpers.__path__)[0]}"
    if Path(found).resolve() != ROOT / "helpers" / "__init__.py":
        raise ImportError(f"Python took 'helpers' from {found}, which is not this course: restart the kernel and run "
                          "this cell first. If that does not help, rename the other one.")


put_first()
if globals().get("keep_in_drive"):                             # a setting of the cell
    use_drive()
