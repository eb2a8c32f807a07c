"""How tests run cells of the notebooks: by id, with other settings, a part left out; and which ids cells have."""
import re
from pathlib import Path

import nbformat
import pytest
from cells import code, only, page, pick, run, span, without, without_asserts
from test_notebooks_real import CASES, GROUPS, grouped

from helpers import env

PAGES = sorted((env.ROOT / "notebooks").glob("*.ipynb"))
CELLS = {"settings": "data = None\nseed = 3", "body": "import math\nshown = seed\n\ndef twice(x):\n    return 2 * x\n\n"
         "def half(x):\n    return x / 2\n\nif data is None:\n    assert seed == 3\nlast = twice(shown)"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_cell_has_an_id_of_its_own(path):
    cells = nbformat.read(path, as_version=4).cells
    ids = [cell.id for cell in cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", place) for place in ids)
    for place, tag in (("setup", "setup"), ("settings", "parameters")):
        assert [cell.id for cell in cells if tag in cell.metadata.get("tags", [])] == [place]


def test_files_with_a_number_are_named_after_a_notebook():
    found = sorted(path.stem for path in Path(__file__).parent.glob("test_[0-9]*.py"))
    assert len(found) >= 7 and set(found) <= {f"test_{path.stem}" for path in PAGES}


@pytest.mark.parametrize("group", GROUPS)
def test_pages_that_need_what_03_learned_follow_it_in_one_group(group):
    cases = [case for case in CASES if case.endswith(f"-{group}")]
    assert len(cases) >= 3 and cases[0].startswith("03") and cases == sorted(cases)
    first = list(CASES).index(cases[0])
    assert list(CASES)[first:first + len(cases)] == cases
    marks = [mark for case in cases for mark in grouped(case).marks]
    assert [mark.name for mark in marks] == ["xdist_group"] * len(cases) and {mark.args for mark in marks} == {(group,)}


def test_cells_are_found_by_their_ids_in_the_order_of_the_page():
    assert list(pick("05", "images", "settings")) == ["settings", "images"]
    assert list(span("05", last="images")) == ["settings", "weights", "images"]
    assert "setup" not in code("05") and list(span("05")) == list(code("05"))
    for found in (lambda: pick("05", "settings", "nowhere"), lambda: span("05", last="nowhere")):
        with pytest.raises(KeyError, match="05_denoise_your_image.ipynb has no code cell with the id nowhere"):
            found()
    assert page("05").name == "05_denoise_your_image.ipynb"


def test_settings_are_replaced_and_names_stay_as_they_were():
    given = {"other": 1}
    names = run(CELLS, given, change=without_asserts, seed=5)
    assert names["last"] == 10 and names["other"] == 1 and given == {"other": 1}
    with pytest.raises(AssertionError):
        run(CELLS, seed=5)
    with pytest.raises(KeyError, match="no setting sead"):
        run(CELLS, sead=5)
    with pytest.raises(KeyError, match="settings is not among"):
        run({"body": CELLS["body"]}, seed=5)


def test_a_part_of_a_cell_is_left_out():
    names = run(CELLS, change=without("shown"))
    assert "shown" not in names and "last" not in names and names["half"](4) == 2
    names = run({"body": CELLS["body"]}, change=only("twice"))
    assert names["twice"](2) == 4 and "math" in names and "half" not in names and "last" not in names
