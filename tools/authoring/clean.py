"""Take out of notebooks the metadata that editors leave; outputs are kept, and nothing is run.

    python -m tools.authoring.clean [notebooks/03_training.ipynb ...]          # 1 if a file had to be changed
"""
import copy
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py", "nbconvert_exporter": "python"}}
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}      # Colab's word for it, and JupyterLab's


def clean(notebook):
    """Take out of notebook, in place, what depends on who edited it and where; outputs stay.  True: there was some."""
    before = copy.deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        folded = FOLDED if {"setup", "solution"} & set(tags) else {}
        cell.metadata = nbformat.from_dict(folded | ({"tags": tags} if tags else {}))
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({kind: {"alt": of["alt"]} for kind, of in output.metadata.items()
                                                      if isinstance(of, dict) and "alt" in of})
    return notebook != before


def main(*names):
    paths = [Path(name).resolve() for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    notebooks = {path: nbformat.read(path, as_version=4) for path in paths}
    changed = [path for path, notebook in notebooks.items() if clean(notebook)]
    for path in changed:
        nbformat.write(notebooks[path], path)
        print(f"{path.relative_to(ROOT)} held metadata of an editor; it was taken out.")
    return len(changed) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
