"""The saved notebooks: whole, clean, stamped, and in step with helpers.  That their cells still run is nbval's part."""
import ast
import base64
import copy
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbconvert.exporters import ScriptExporter
from nbformat.v4 import new_output

from exercises.check import EXERCISES
from tools.authoring import address, clean
from tools.authoring.exercises import stub, unanswered, update

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def load(path):
    notebook = nbformat.read(path, as_version=4)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(cells, tag):
    return [cell for cell in cells if tag in cell.metadata.get("tags", [])]


DRAWING = ("plot.", "show(", "board.update(")                  # show: page 09's own


def draws(source):
    """Whether a cell ends in a figure, plot.curves(…) and the like, or makes a widget."""
    tree = ast.parse(source)
    ends = any(isinstance(node, ast.Expr) and ast.unparse(node).startswith(DRAWING) for node in tree.body[-1:])
    return ends or "widgets" in {ast.unparse(node.func).partition(".")[0] for node in ast.walk(tree)
                                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}


def lacks_still(output):
    """Whether an output is a widget that holds no picture for where nothing is live; a progress bar needs none."""
    data = output.get("data", {})
    return WIDGET in data and "image/png" not in data and not re.match(r" *\d+%\|", data.get("text/plain", ""))


def problems(path):
    """What is wrong with a saved notebook: a list of sentences."""
    notebook, cells = load(path)
    outputs = [(cell.execution_count, output) for cell in cells for output in cell.outputs]
    found = []
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("its outputs do not come from one clean run")
    if not any("image/png" in output.get("data", {}) for _, output in outputs):
        found.append("it holds no picture: outputs were stripped")
    found += [f"cell {n} ends in an error" for n, output in outputs if output.output_type == "error"]
    found += [f"cell {n} holds a warning" for n, output in outputs if output.get("name") == "stderr"]
    found += [f"cell {n} shows a picture without words for it" for n, output in outputs
              if "image/png" in output.get("data", {}) and "Figure" in output.data.get("text/plain", "<Figure")]
    found += [f"cell {n} holds an empty picture" for n, output in outputs
              if "image/png" in output.get("data", {}) and len(base64.b64decode(output.data["image/png"])) < 500]
    found += [f"cell {cell.execution_count} draws a figure that is not saved" for cell in cells
              if draws(cell.source) and not any("image/png" in o.get("data", {}) for o in cell.outputs)]
    found += [f"cell {n} holds a widget without a picture" for n, output in outputs if lacks_still(output)]
    if "widgets" in notebook.metadata:
        found.append("it holds widget state")
    if clean.clean(notebook):
        found.append("it holds metadata of an editor: run `make lint`")
    if path.stat().st_size > 1_000_000:
        found.append("it is larger than 1 MB")
    run = 0
    for cell in notebook.cells:
        run = run + 1 if cell.cell_type == "code" else 0
        if run == 3:
            found.append(f"cell {cell.execution_count} is the third code cell in a row without a word")
        long = cell.cell_type == "code" and len(cell.source.splitlines()) > 20
        if long:
            found.append(f"cell {cell.execution_count} is longer than 20 lines")
    return found


@pages
def test_saved_notebook_is_whole_and_clean(path):
    nbformat.validate(load(path)[0])
    assert problems(path) == []


@pages
def test_opening(path):
    notebook, cells = load(path)
    assert re.match(rf"# {path.stem[:2]} \S", notebook.cells[0].source)
    assert address.badge(path.name) in notebook.cells[0].source
    assert re.search(r"Time: about [\d½]+ minutes?|Time: under a minute", notebook.cells[0].source)
    (setup,) = tagged(cells, "setup")
    assert setup.source == address.setup_cell(), "run `make address`"
    assert setup.metadata.cellView == "form" and setup.metadata.jupyter.source_hidden
    (settings,) = tagged(cells, "parameters")
    for line in ast.parse(settings.source).body:
        assert isinstance(line, ast.Assign), f"line {line.lineno} of the settings is not a plain assignment"
        ast.literal_eval(line.value)


def definitions(source):
    return {node.name: node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def bare(node):
    """The syntax tree without docstrings, as text."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:]
    return ast.dump(node)


HELPERS = {name: node for file in (ROOT / "helpers").glob("*.py")
           for name, node in definitions(file.read_text(encoding="utf8")).items()}


@pages
def test_what_is_written_out_is_the_helper(path):
    for cell in load(path)[1]:
        for name, node in definitions(cell.source).items():
            if name in HELPERS:
                assert bare(node) == bare(HELPERS[name]), f"{name} differs between {path.name} and helpers"


def test_there_are_pages():
    assert len(PAGES) >= 4


@pytest.mark.parametrize("change, complaint", [
    (lambda cells: cells[3].update(outputs=[], execution_count=None), "one clean run"),
    (lambda cells: next(c for c in cells if draws(c.source)).update(outputs=[]), "figure that is not saved"),
    (lambda cells: next(c for c in cells if c.id == "slider").update(outputs=[]), "is not saved"),
    (lambda cells: [output.data.pop("image/png", None) for cell in cells for output in cell.outputs
                    if WIDGET in output.get("data", {})], "widget without a picture"),
    (lambda cells: next(o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})).data.update(
        {"image/png": "aGk="}), "empty picture"),
    (lambda cells: [cell.update(outputs=[]) for cell in cells], "no picture"),
    (lambda cells: cells[3].outputs.append(new_output("error", ename="E", evalue="", traceback=[])), "error"),
    (lambda cells: cells[3].outputs.append(new_output("stream", name="stderr", text="W")), "warning"),
    (lambda cells: cells[3].metadata.update(collapsed=True), "of an editor"),
    (lambda cells: cells[3].outputs[0].metadata.update(executionInfo={"user": "me"}), "of an editor"),
], ids=["count", "a missing picture", "a missing widget", "a widget's picture", "an empty picture", "stripped", "error",
        "warning", "cell's metadata", "output's metadata"])
def test_broken_notebooks_are_caught(change, complaint, tmp_path):
    notebook, cells = load(PAGES[0])
    change(cells)
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    assert any(complaint in problem for problem in problems(tmp_path / "broken.ipynb"))


SEEN = new_output("execute_result", data={"text/plain": "2"}, execution_count=1)
DRAWN = new_output("display_data", data={"image/png": "aGk=", "text/plain": "A curve."})
PLANTED = {"right": ("1 + 1", [SEEN], None), "a wrong number": ("1 + 2", [SEEN], "mismatch 'text/plain'"),
           "an exception": ("1 / 0", [], "ZeroDivisionError"), "no picture": ("a = 1", [DRAWN], "outputs differ")}


def test_nbval_catches_what_is_planted(tmp_path):
    for name, (source, outputs, _) in PLANTED.items():
        cell = nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=clean.METADATA), tmp_path / f"{name}.ipynb")
    run = subprocess.run([sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--rootdir", tmp_path,
                          tmp_path], capture_output=True, text=True)
    assert "3 failed, 1 passed" in run.stdout, run.stdout
    for name, (_, _, complaint) in PLANTED.items():
        report = run.stdout.partition(f"_ {name}.ipynb::Cell 0 _")[2].partition("ipynb::Cell 0")[0]
        assert complaint in report if complaint else not report, run.stdout


def test_no_page_finds_what_another_has_trained(tmp_path):
    """Under nbval; where a page's own kernel looks for weights, another's lie no more than the learner's own do."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    leave = "import os; from pathlib import Path; folder = Path(os.environ['COURSE_CHECKPOINTS'])\n"
    sources = {"1": leave + "folder.mkdir(parents=True); (folder / 'craters64.safetensors').touch()",
               "2": leave + "assert not folder.exists() and 'mine' not in folder.parts"}
    for name, source in sources.items():
        cell = nbformat.v4.new_code_cell(source, execution_count=1)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=clean.METADATA), tmp_path / f"{name}.ipynb")
    run = subprocess.run([sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--rootdir", tmp_path,
                          tmp_path], capture_output=True, text=True, env=os.environ | {"COURSE_CHECKPOINTS": "mine"})
    assert "2 passed" in run.stdout, run.stdout


@pytest.mark.parametrize("given, wanted", [({}, "0.2 1"), ({"COURSE_TRAINING": "1"}, "1 1")])
def test_workers_train_as_long_as_they_are_told(tmp_path, given, wanted):
    """`make test FULL=1` sets the variable for pytest; the kernels of its workers must get it, and one thread."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    source = "import os\nprint(os.environ['COURSE_TRAINING'], os.environ['OMP_NUM_THREADS'])"
    output = new_output("stream", name="stdout", text=f"{wanted}\n")
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=clean.METADATA), tmp_path / "a.ipynb")
    clear = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "PYTEST_", "OMP_"))}
    run = subprocess.run([sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--rootdir", tmp_path,
                          "-n", "1", "--dist", "loadfile", tmp_path], capture_output=True, text=True, env=clear | given)
    assert "1 passed" in run.stdout, run.stdout


def test_cleaning_takes_metadata_and_keeps_outputs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clean, "ROOT", tmp_path)
    before, cells = load(PAGES[0])
    nbformat.write(before, tmp_path / "saved.ipynb")
    assert not clean.main(tmp_path / "saved.ipynb") and capsys.readouterr().out == ""
    saved = (tmp_path / "saved.ipynb").read_bytes()
    cells[3].metadata.update(scrolled=False, id="x1")
    before.metadata.update(colab={"provenance": []}, widgets={}, kernelspec={"name": "mine"})
    cells[3].outputs[0].metadata.update(executionInfo={"user": "me"})
    nbformat.write(before, tmp_path / "saved.ipynb")
    assert clean.main(tmp_path / "saved.ipynb") and "saved.ipynb held" in capsys.readouterr().out
    assert (tmp_path / "saved.ipynb").read_bytes() == saved
    assert b'"id": "settings"' in saved and b'"parameters"' in saved         # ids and tags are ours, and stay


def test_the_address_stands_in_one_place():
    name = address.course()["repository"]
    for path in [ROOT / "README.md", ROOT / "CITATION.cff", *PAGES]:
        text = path.read_text(encoding="utf8")
        hosts = r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)"
        others = set(re.findall(hosts + r"/([\w.-]+/[\w.-]*[\w-])", text))
        assert others - {name} <= set(), f"{path.name} names {others - {name}}"


def test_a_fork_is_one_command_away(tmp_path, monkeypatch):
    """Everything that names owner, repository or branch is stamped, where the course has another address."""
    cells = ["tools/authoring/setup_cell.txt", "tools/authoring/setup_cell_without_address.txt"]
    old, files = address.course(), ["pyproject.toml", "README.md", "CITATION.cff", *cells, ".github/workflows/site.yml",
                                    *(f"notebooks/{path.name}" for path in PAGES)]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf8").replace(old["repository"], "ada/noise").replace(
        f'branch = "{old["branch"]}"', 'branch = "trunk"'), encoding="utf8")
    monkeypatch.setattr(address, "ROOT", tmp_path)
    address.stamp()
    for name in set(files) - set(cells):                           # the patterns of what is stamped
        text = (tmp_path / name).read_text(encoding="utf8")
        assert old["repository"] not in text and ("ada/noise" in text or name.endswith(".yml")), name
        assert not re.search(rf"(blob|noise|--branch|branches:)[\\\", /[]+{old['branch']}\b", text), name
        assert "trunk" in text or name.endswith(".cff"), name
        assert f"-b {old['release']} https://github.com/ada/noise" in text or not name.startswith("notebooks/")
    assert "cd noise" in (tmp_path / "README.md").read_text(encoding="utf8")


@pages
def test_exercises_stand_where_their_files_say(path):
    """Heading, prompt, stub and check come from exercises/; a folded solution follows before the next heading."""
    notebook, _ = load(path)
    cells, heading, open_, found = notebook.cells, None, [], []
    for before, cell in zip([None, *cells], cells):
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and (headings := re.findall(r"^#+ (.+)", cell.source, re.M)):
            assert not open_, f"{open_} has no solution"
            heading = headings[-1].replace("$", "")
        if "exercise" in tags:
            name = re.search(r"check\.(\w+)\(my_\w+\)\Z", cell.source)[1]
            exercise = EXERCISES[name]
            assert cell.source.removeprefix("from exercises import check\n\n") == stub(exercise, False)
            assert exercise.file == path.name and exercise.section == heading
            assert f"**Your turn: `{name}`.**" in before.source
            assert [output.data for output in cell.outputs] == [unanswered(exercise)]
            assert cell.outputs[0].data["text/plain"].startswith(f"{name}: not done yet.")
            open_, found = [*open_, name], [*found, name]
        if "solution" in tags:
            assert open_, "a solution without an exercise"
            open_ = []
    assert sorted(found) == sorted(name for name, exercise in EXERCISES.items() if exercise.file == path.name)


@pages
def test_prompts_are_those_of_the_exercises(path):
    """`python -m tools.authoring.exercises` would change nothing."""
    notebook, _ = load(path)
    assert update(copy.deepcopy(notebook)) == notebook, "run python -m tools.authoring.exercises"


# Exercises whose folded solution in the notebook is not their `solution`: another name, other arguments, no function.
# The rewrite of a notebook empties its row; then the folded cell is written from the exercise, as prompt and stub are.
OTHER_SOLUTIONS = {
    "02": {"alpha_bar", "q_sample", "beta_of"}, "03": {"noise_loss", "ema_update"},
    "04": {"ddpm_step", "last_step", "ddim_step", "timesteps", "partial_denoise"}, "05": {"spread", "time_of", "blend"},
    "06": {"kid", "recall", "nearest", "closeness", "copied"}, "07": {"drop_labels", "invert_step", "guided"},
    "08": {"step_cost", "paste_known"},
}


@pages
def test_folded_solutions_pass_the_check(path):
    _, cells = load(path)
    waiting, passed = [], set()
    for cell in cells:
        if tagged([cell], "exercise"):
            waiting.append(re.search(r"check\.(\w+)\(", cell.source)[1])
        if tagged([cell], "solution"):
            found = definitions(cell.source)
            for name in waiting:
                node = found.get(name) or found.get(f"mended_{name}")
                if node is not None and name not in OTHER_SOLUTIONS.get(path.stem[:2], ()):
                    scope = {"torch": torch, "F": torch.nn.functional, "math": math}
                    exec(ast.unparse(node), scope)
                    result = EXERCISES[name](scope[node.name])
                    assert result.ok is True, result
                    passed.add(name)
            waiting = []
    here = {name for name, exercise in EXERCISES.items() if exercise.file == path.name}
    assert passed == here - OTHER_SOLUTIONS.get(path.stem[:2], set())


def script(path):
    """What `jupyter nbconvert --to script` makes of the notebook at path."""
    body, resources = ScriptExporter().from_notebook_node(load(path)[0])
    assert resources["output_extension"] == ".py"
    return body


@pages
def test_a_notebook_becomes_a_python_script(path):
    text = script(path)
    compile(text, path.stem, "exec")
    assert "get_ipython" not in text                           # plain Python has none
