"""While tests run the notebooks, nobody's own weights are used or overwritten."""
import os
import tempfile

FOLDER = tempfile.TemporaryDirectory(prefix="course-checkpoints-")
os.environ["COURSE_CHECKPOINTS"] = FOLDER.name
