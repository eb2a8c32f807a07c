"""What a teacher gives out: both versions of the notebooks, answers, questions, plan, glossary, doctor, the kit."""
import ast
import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from pages import IN_STYLE, loads

from tools.teaching import classroom, doctor, kit
from tools.teaching.classroom import EXERCISES

ROOT = Path(__file__).resolve().parent.parent
PAGES = classroom.notebooks()
pages = pytest.mark.parametrize("page", PAGES)
NOTEBOOKS = {page: nbformat.read(path, as_version=4) for page, path in PAGES.items()}
HEADINGS = {page: [heading for cell in notebook.cells if cell.cell_type == "markdown"
                   for heading in re.findall(r"(?m)^#+ (.+)$", cell.source)] for page, notebook in NOTEBOOKS.items()}
STUBS = {name: page for page, notebook in NOTEBOOKS.items() for name in classroom.exercises(notebook)}


def test_every_exercise_stands_in_its_notebook():
    assert set(STUBS) == set(EXERCISES) and len(STUBS) >= 43
    assert all(EXERCISES[name].notebook == page for name, page in STUBS.items())


# ----------------------------------------------------------------------------------------------------------- versions

@pages
def test_the_student_gets_stubs_and_no_answers(page):
    whole = copy.deepcopy(NOTEBOOKS[page])
    for cell in whole.cells:
        cell.metadata.pop("jupyter", None)                     # the tag alone says what is to be folded
    made = classroom.student(whole)
    nbformat.validate(made)
    assert len(made.cells) == len(whole.cells)
    for cell, before in zip(made.cells, whole.cells):
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            if not classroom.tagged(cell, "solution"):
                assert cell.source == before.source
                continue
            left = [node for node in ast.parse(cell.source).body if not isinstance(node, ast.Import | ast.ImportFrom)]
            assert not left or cell.metadata.jupyter.source_hidden
            known = classroom.helpers()
            assert not any(isinstance(node, ast.FunctionDef) and node.name in known for node in left)
            names = lambda source: {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)} | {
                alias.asname or alias.name for n in ast.walk(ast.parse(source)) if hasattr(n, "names")
                and not isinstance(n, ast.Global) for alias in n.names}
            top = {n.name for n in ast.parse(before.source).body if isinstance(n, ast.FunctionDef)}
            assert top <= names(cell.source)                                 # whatever comes later still finds it
    assert "Open in Colab" in whole.cells[0].source and "Open in Colab" not in made.cells[0].source


def test_a_solution_that_helpers_hold_becomes_an_import():
    source = ("import math\n\ndef iou(pred, target):\n    return pred\n\ndef dice(pred, target):\n    return 1\n\n"
              "def mine(x):\n    return x\n\nmoved = iou(1, 2)")
    assert classroom.imported(source) == ("from helpers.metrics import dice, iou\n\nimport math\n\n"
                                          "def mine(x):\n    return x\n\nmoved = iou(1, 2)")
    assert classroom.imported("a = 1") == "a = 1"


@pages
def test_the_instructor_gets_answers_that_are_right_and_what_the_checks_know(page, one_thread):
    made = classroom.instructor(NOTEBOOKS[page], page)
    nbformat.validate(made)
    assert len({cell.id for cell in made.cells}) == len(made.cells)
    for cell, after in zip(made.cells, made.cells[1:]):
        assert not cell.metadata.get("jupyter") or "setup" in cell.metadata.tags
        if classroom.tagged(cell, "exercise"):
            name = re.search(r"check\.(\w+)\(my_\w+\)\Z", cell.source)[1]
            assert cell.outputs[0].data["text/plain"].startswith(f"{name}: right.")
            scope = {}
            exec(cell.source.rpartition("\n")[0] if "check." in cell.source else "", scope)      # stands on its own
            assert EXERCISES[name](scope[f"my_{name}"]).ok
            assert after.source.count("\n| ") == len(EXERCISES[name].mistakes) + 1
    about = made.cells[1].source
    assert f"about {classroom.minutes(NOTEBOOKS[page]):g} minutes" in about
    assert all(f"`{name}`" in about for name, where in STUBS.items() if where == page)
    assert about.count("\n- **“") >= 2


def test_links_of_a_version_lead_where_those_of_the_page_led(tmp_path):
    for page in PAGES:
        for kind, target in [("student", ROOT / "build" / "student"), ("instructor", ROOT / "build" / "instructor")]:
            made = (classroom.student(NOTEBOOKS[page], target) if kind == "student" else
                    classroom.instructor(NOTEBOOKS[page], page, target))
            for cell in made.cells:
                for link in re.findall(r"\]\((\.\.[^)#\s]*)", cell.source if cell.cell_type == "markdown" else ""):
                    assert (target / link).resolve().exists(), link


def test_a_page_that_does_not_say_its_time_is_named():
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 99 Nothing")])
    with pytest.raises(ValueError, match="“99 Nothing” does not say its time"):
        classroom.minutes(page)


# -------------------------------------------------------------------------------------------------------------- texts

def test_the_plans_fill_their_time_and_name_what_exists():
    text, times = kit.plan(), {page: minutes for page, (_, minutes, _) in kit.course().items()}
    for part in re.split(r"(?m)^## ", kit.read("plan.md"))[1:]:
        slots = [(int(minutes), page) for minutes, page in re.findall(r"(?m)^\| \{(\d+)\} \| (\d\d)?", part)]
        promised = re.match(r".*\((\d+) minutes\)", part)
        assert sum(minutes for minutes, _ in slots) == int(promised[1] if promised else 0)
        for page in {page for _, page in slots if page}:
            assert sum(minutes for minutes, where in slots if where == page) >= times[page], f"no time to run {page}"
    assert {int(n) for n in re.findall(r"\((\d+) minutes\)", text)} == {90, 210, 420} and "– 7:00 |" in text
    assert set(re.findall(r"xercises? `(\w+)`", text)) <= set(EXERCISES)
    rows = re.findall(r"(?m)^\| (\d\d [^|]+) \| about ([\d.]+) min", text)
    assert [(title, float(minutes)) for title, minutes in rows] == [row[:2] for row in kit.course().values()]
    headings = {heading.replace("$", "") for found in HEADINGS.values() for heading in found}
    for quoted in re.findall(r"(?m)^\| \{.*$", kit.read("plan.md")):
        for name in re.findall(r"“([^”]+)”", quoted):
            assert name == "no roots" or any(heading.startswith(name) or name in heading for heading in headings), name


def test_the_question_bank():
    bank, counts = kit.questions(), Counter(question["page"] for question in kit.questions())
    assert len(bank) >= 40 and all(counts[f"{page:02}"] >= 5 for page in range(1, 9))
    assert len({question["ask"] for question in bank}) == len(bank)
    for question in bank:
        assert len({text for text, _ in question["options"]}) == 4 and all(why for _, why in question["options"])
    assert max(Counter(question["right"] for question in bank).values()) <= len(bank) // 4 + 1
    longest = [max(range(4), key=lambda i: len(question["options"][i][0])) == question["right"] for question in bank]
    assert sum(longest) < len(bank) / 2, "whoever ticks the longest option should fail"
    source = kit.tomllib.loads(kit.read("questions.toml"))["question"]
    assert all(question["options"][question["right"]] == told["right"] for question, told in zip(bank, source))


def test_the_papers_of_the_question_bank():
    bank, asked, told = kit.questions(), kit.paper(False), kit.paper(True)
    for question in bank:
        assert question["ask"] in asked and question["ask"] in told
        text, why = question["options"][question["right"]]
        assert f"- **{'ABCD'[question['right']]}. {text}**<br>Right. {why}" in told
        assert why not in asked
    records = re.split(r"\n\n", kit.gift().strip())
    assert len(records) == len(bank)
    assert all(record.count("\n  =") == 1 and record.count("\n  ~") == 3 for record in records)


def test_every_page_has_wrong_ideas():
    for page in PAGES:
        assert len(re.findall(r"(?m)^- \*\*“.+”\*\*", classroom.bulleted(page))) >= 2, page
    assert classroom.bulleted("98") == ""


TERM = re.compile(r"(?m)^- \*\*(.+?)\*\*: (.+) \[(\d\d), “(.+?)”\]\((\w+\.ipynb)#(\S+)\)$")


def test_the_glossary_is_sorted_and_leads_to_where_each_term_is_taught():
    text = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf8")
    terms = TERM.findall(text)
    assert len(terms) == text.count("\n- ") >= 50
    names = [name for name, *_ in terms]
    assert names == sorted(set(names), key=str.casefold)
    for name, said, page, heading, file, anchor in terms:
        assert file == PAGES[page].name and len(said) > 20
        (taught,) = [found for found in HEADINGS[page] if found.replace("$", "") == heading]
        assert anchor == taught.replace(" ", "-")
        words = "\n".join(cell.source for cell in NOTEBOOKS[page].cells if cell.cell_type == "markdown")
        section = re.search(rf"(?ms)^#+ {re.escape(taught)}$(.*?)(?=^#|\Z)", words)[1] + taught
        spelt = [name.partition(" (")[0], *re.findall(r"\((.+)\)", name), *WRITTEN.get(name, [])]
        plain = re.sub(r"[*`]", "", " ".join(section.split())).lower()
        assert any(word.lower() in plain for word in spelt), f"{name} is not taught in “{heading}” of page {page}"
        before = " ".join(cell.source for number in PAGES if number < page for cell in NOTEBOOKS[number].cells
                          if cell.cell_type == "markdown").lower()
        used = re.search(rf"(?<!\w){re.escape(name.partition(' (')[0].lower())}(?!\w)", before)
        assert not used or name in EARLIER, f"{name} is used before page {page}, where the glossary says it is taught"


EARLIER = {"copy", "Judge", "label", "noise", "spread", "tile", "DDPM", "KID"}     # plain words; two that are announced
WRITTEN = {"alpha": [r"\alpha_t"], "alpha_bar": [r"\bar\alpha"], "beta": [r"\beta"], "augmentation": ["augment"],
           "clamp": ["clamps"], "copy": ["copies"], "epsilon (eps)": [r"\varepsilon"], "eta": [r"\eta"],
           "early stopping": ["stop early"], "held out": ["put aside", "held-out"], "logit": ["*logit*"],
           "mean squared error": ["mean squared"], "partial denoising": ["denoise"], "median": ["median"],
           "sample": ["samples"], "segmentation": ["segmentation"], "t and T": ["$t = 0$"], "v": ["$v"],
           "x_0, x_t": ["x_0"], "x_0 hat": [r"\hat x_0"], "residual block": ["residual"], "fit": ["fit"],
           "time embedding": ["sines and cosines"], "variational bound": ["bounds the bits"],
           "bits per value": ["bits are"], "cosine schedule": ["squared cosine"]}


# ----------------------------------------------------------------------------------------------------- doctor, machines

def test_the_doctor_needs_python_alone():
    run = subprocess.run([sys.executable, "-S", "-m", "tools.teaching.doctor"], cwd=ROOT, capture_output=True,
                         text=True)
    assert run.returncode == 1 and run.stderr == ""
    assert "torch is not installed." in run.stdout and "processor core" in run.stdout
    assert run.stdout.rstrip().endswith("said above.")


def test_the_doctor_outside_of_a_kit(tmp_path):
    """Its file alone says what is missing."""
    shutil.copy(ROOT / "tools" / "teaching" / "doctor.py", tmp_path)
    run = subprocess.run([sys.executable, "-S", "doctor.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and f"{tmp_path} holds no folder helpers: run it in the kit." in run.stderr


@pytest.mark.parametrize("there", [True, False])
def test_the_doctor_looks_for_what_makes_environments(monkeypatch, there):
    said = []
    monkeypatch.setattr(doctor, "needed", lambda: {"nothing-like-it": "1.0"})
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object() if there else None)
    assert not doctor.examine(said.append)
    assert any("sudo apt install python3-venv" in line for line in said) != there


def test_the_doctor_foretells_times(monkeypatch):
    said = []
    reference = json.loads((classroom.TEXTS.parent / "speed.json").read_text(encoding="utf8"))
    monkeypatch.setattr(doctor, "speed", lambda: reference["steps_per_second"] / 2)
    monkeypatch.setattr(doctor, "cores", lambda: 2)
    assert doctor.examine(said.append), said
    told = {line.split()[0]: float(re.search(r"([\d.]+) minutes", line)[1]) for line in said if line.startswith("    ")}
    clocks = {page: clock for page, (_, _, clock) in doctor.notebooks().items()}
    assert clocks["03"] == 5 and not any(clock for page, clock in clocks.items() if page != "03")
    for page, notebook in NOTEBOOKS.items():                   # half as fast: all but a training by the clock doubles
        assert told[page] == pytest.approx(2 * classroom.minutes(notebook) - clocks[page], abs=0.06)
    assert said[-1] == "This machine is ready."
    monkeypatch.setattr(doctor, "needed", lambda: {"torch": "999", "nothing-like-it": "1.0"})
    said.clear()
    assert not doctor.examine(said.append)
    assert any("the course needs 999 or newer. nothing-like-it is not installed." in line for line in said)


def test_the_doctor_measures(one_thread):
    assert 0.01 < doctor.speed(seconds=0.01) < 10_000
    assert doctor.older("2.9.0+cpu", "2.10") and not doctor.older("2.10.1", "2.9")


def test_the_kit_says_how_to_install_without_a_network(tmp_path):
    """The commands of the text about machines, run as they stand, from a shelf in place of the package index."""
    commands = re.findall(r"(?m)^ {4}(\S.* -m (?:pip|venv) .*)$", kit.texts()["machines"])
    fetch, *_ = (line for line in commands if "pip download" in line)
    make, install, *_ = (line for line in commands if line.startswith(("python3 -m venv", ".venv/bin/python -m pip")))
    assert "--only-binary=:all:" in fetch and "--no-index" in install
    (tmp_path / "shelf").mkdir()
    for name, needs in {"stick": "Requires-Dist: leaf\n", "leaf": ""}.items():
        with zipfile.ZipFile(tmp_path / "shelf" / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "found = True\n")
            files = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}", "RECORD": "",
                     "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
            for file, text in files.items():
                wheel.writestr(f"{name}-1.0.dist-info/{file}", text)
    (tmp_path / "requirements.txt").write_text("stick>=1.0\n", encoding="utf8")
    run = functools.partial(subprocess.run, shell=True, cwd=tmp_path, check=True, capture_output=True)
    python = f'"{sys.executable}" '
    run(python + fetch.partition(" ")[2], env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "shelf"})
    assert sorted(path.name for path in (tmp_path / "wheels").iterdir()) == [
        "leaf-1.0-py3-none-any.whl", "stick-1.0-py3-none-any.whl"]
    shutil.rmtree(tmp_path / "shelf")
    run(python + make.partition(" ")[2])
    run(install)
    assert run(".venv/bin/python -c 'import leaf, stick; print(stick.found)'").stdout == b"True\n"


def test_the_kit_patches_nothing():
    for path in (ROOT / "tools").rglob("*.py"):
        assert "pip._" not in path.read_text(encoding="utf8"), path


# ---------------------------------------------------------------------------------------------------------------- kit

@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The kit without slides, zipped and unpacked: (the zip, its folder)."""
    place = tmp_path_factory.mktemp("kit")
    kit.build(place / "kit", decks=False)
    kit.zipped(place / "kit", place / "a-kit.zip")
    with zipfile.ZipFile(place / "a-kit.zip") as archive:
        archive.extractall(place)
    return place / "a-kit.zip", place / "a-kit"


class Links(HTMLParser):
    """.found: where a page leads."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if tag == "a" and name == "href"]


def test_the_kit_is_whole_and_its_texts_load_nothing(unpacked):
    _, folder = unpacked
    for kind in ("student", "instructor"):
        assert [path.name for path in sorted((folder / kind).iterdir())] == [path.name for path in PAGES.values()]
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf8")
        words = re.sub(r"(?s)<style>.*?</style>|<pre>.*?</pre>|<code>.*?</code>", "", text)
        assert loads(text) == [] and "{" not in words, f"a placeholder was left in {path.name}"
        for link in Links(text).found:
            if not re.match(r"\w+:|#", link) and not link.startswith("slides/"):
                assert (path.parent / link.partition("#")[0]).exists(), f"{path.name} leads to {link}"
    assert len([*folder.glob("data/weights/*.safetensors")]) == len([*ROOT.glob("data/weights/*.safetensors")])
    assert json.loads((folder / "texts" / "questions.json").read_text(encoding="utf8")) == kit.questions()


def test_equal_kits_make_equal_zips(unpacked, tmp_path):
    archive, _ = unpacked
    kit.build(tmp_path / "again", decks=False)
    kit.zipped(tmp_path / "again", tmp_path / "a-kit.zip")
    assert archive.read_bytes() == (tmp_path / "a-kit.zip").read_bytes()


OFFLINE = """
import json, sys
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"no network: {event} {args}")
sys.addaudithook(hook)
scope = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), "cell", "exec"), scope)
from pathlib import Path
import helpers
print("ran", Path(helpers.__file__).parent.parent)
"""


def test_a_student_page_runs_from_the_kit_without_a_network(unpacked):
    _, folder = unpacked
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    environment |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    run = subprocess.run([sys.executable, "-c", OFFLINE, PAGES["02"].name], cwd=folder / "student", env=environment,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.rstrip().endswith(f"ran {folder.resolve()}")
    net = subprocess.run([sys.executable, "-c", OFFLINE.partition("scope")[0] +
                          "import socket; socket.create_connection(('127.0.0.1', 9))"], capture_output=True, text=True)
    assert "no network" in net.stderr                          # the block blocks


# ------------------------------------------------------------------------------------------------------------- slides

def has(*names):
    try:
        return all(metadata.version(name) for name in names)
    except metadata.PackageNotFoundError:
        return False


def test_a_gist_keeps_questions_and_equations():
    from tools.teaching import slides
    text = "## Head\n\nIt is so. **Bold** it is. Why is it so?\n\n$$x = 1$$\n\nPlain words. More of them."
    assert slides.gist(text) == "## Head\n\n**Bold** it is. Why is it so?\n\n$$x = 1$$"
    assert slides.gist("## Head\n\nPlain words. More of them.") == "## Head\n\nPlain words."


@pages
def test_slides_show_every_figure_and_load_nothing_from_outside(page):
    from tools.teaching import slides
    html = slides.deck(PAGES[page])
    assert loads(html) == []
    whole = [output for cell in NOTEBOOKS[page].cells for output in cell.get("outputs", [])
             if "image/png" in output.get("data", {})]
    assert len(re.findall(r'<img[^>]* src="data:image/png;base64', html)) == len(whole) > 0
    assert "No description has been provided" not in html
    used = set(re.findall(r'(?:src|href)="(reveal/[^"]+)"', html))
    assert used == {f"reveal/{part}" for part in [*slides.PARTS[1:], "dist/theme/course.css", "mathjax.js"]}
    assert html.count('class="notes"') >= len([c for c in NOTEBOOKS[page].cells if c.cell_type == "markdown"]) // 2


@pytest.mark.skipif(not has("sphinx-revealjs", "sphinx-mathjax-offline"), reason="`make kit` installs what slides need")
def test_what_slides_need_lies_beside_them():
    from tools.teaching import slides
    parts = slides.reveal()
    assert {"LICENSE", "dist/reveal.js", "mathjax.js"} <= set(parts) and b"MIT" in parts["LICENSE"] or (
        b"Permission is hereby granted" in parts["LICENSE"])
    for name, content in parts.items():
        if name.endswith(".css"):
            assert IN_STYLE.findall(content.decode()) == [] and b"@import" not in content
