"""The instructor's kit: notebooks for class and teacher, slides, texts, weights and the room's doctor, in one zip.

    python -m tools.teaching.kit         # build/kit and build/craters-from-noise-kit.zip; works without a network

The zip is the same, byte for byte, wherever the same notebooks, texts and packages are.
"""
import json
import random
import re
import shutil
import sys
import tomllib
import zipfile

import nbformat
from nbconvert.filters import markdown2html

from tools.authoring.exercises import prompt
from tools.teaching import classroom
from tools.teaching.classroom import EXERCISES, ROOT, TEXTS

FOLDER = ROOT / "build" / "kit"
ZIP = ROOT / "build" / "craters-from-noise-kit.zip"
LETTERS = "ABCD"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }}
table {{ border-collapse: collapse; margin: 1em 0 }}
th, td {{ text-align: left; vertical-align: top; padding: 0.35em 0.7em; border-bottom: 1px solid #ccc }}
pre {{ background: #f4f4f4; padding: 0.7em; overflow-x: auto }} a {{ color: #00507f }}
td:first-child {{ white-space: nowrap }} code {{ font-size: 0.92em }} h2 {{ margin-top: 2em }}
.anchor-link {{ display: none }}
@media print {{ body {{ font-size: 11px; margin: 0 }} a {{ color: inherit }} }}</style></head><body>{body}</body></html>
"""


def read(name):
    return (TEXTS / name).read_text(encoding="utf8")


def course():
    """{number: (title, minutes, names of the exercises)} of all notebooks."""
    found = {}
    for page, path in classroom.notebooks().items():
        notebook = nbformat.read(path, as_version=4)
        found[page] = classroom.title(notebook), classroom.minutes(notebook), classroom.exercises(notebook)
    return found


def clock(minutes):
    return f"{minutes // 60}:{minutes % 60:02}"


def plan():
    """The plan with its clock: each {minutes} of a table becomes from–to, counted from 0:00 under each heading."""
    out = []
    now = 0
    for line in read("plan.md").splitlines():
        now = 0 if line.startswith("## ") else now
        if slot := re.match(r"\| \{(\d+)\} \|", line):
            line = f"| {clock(now)} – {clock(now + int(slot[1]))} |" + line[slot.end():]
            now += int(slot[1])
        out.append(line)
    rows = [f"| {title} | about {minutes:g} min | {', '.join(f'`{name}`' for name in names) or '–'} | "
            f"{len(re.findall(r'(?m)^- ', classroom.bulleted(page)))} |"
            for page, (title, minutes, names) in course().items()]
    return "\n".join(out).replace("{pages}", "\n".join(rows)) + "\n"


def questions():
    """The question bank as it is handed out: dictionaries of page, ask, options [[text, why]] and right (0 to 3)."""
    bank = tomllib.loads(read("questions.toml"))["question"]
    draw = random.Random(0)
    places = []
    while len(places) < len(bank):                             # each place as often as the others, in no order
        places += draw.sample(range(4), 4)
    out = []
    for question, right in zip(bank, places):
        options = list(question["wrong"])
        options.insert(right, question["right"])
        out.append({"page": question["page"], "ask": question["ask"], "options": options, "right": right})
    return out


def paper(answered):
    """The questions as Markdown; answered: with the right letter and what to say to each option."""
    out = ["# Questions" + " with answers" * answered]
    titles = {page: title for page, (title, _, _) in course().items()}
    page = None
    for number, question in enumerate(questions(), 1):
        if question["page"] != page:
            page = question["page"]
            out.append(f"## {titles.get(page, page)}")
        lines = [f"**{number}.** {question['ask']}\n"]
        for i, (text, why) in enumerate(question["options"]):
            mark = "**" * (answered and i == question["right"])
            lines.append(f"- {mark}{LETTERS[i]}. {text}{mark}" + f"<br>{'Right. ' if mark else ''}{why}" * answered)
        out.append("\n".join(lines))
    return "\n\n".join(out) + "\n"


def gift():
    """The questions in the format that Moodle imports."""
    safe = lambda text: re.sub(r"([~=#{}:\\])", r"\\\1", text)
    out = []
    for number, question in enumerate(questions(), 1):
        lines = [f"::{question['page']}-{number:02}:: {safe(question['ask'])} {{"]
        lines += [f"  {'=' if i == question['right'] else '~'}{safe(text)} # {safe(why)}"
                  for i, (text, why) in enumerate(question["options"])]
        out.append("\n".join([*lines, "}"]))
    return "\n\n".join(out) + "\n"


def answer_key():
    """All exercises with their answers, and what each check recognises, as Markdown."""
    out = ["# Answer key", "Every answer here passes its check; a test of the course sees to it."]
    for title, _, names in course().values():
        out += [f"## {title}"] * bool(names)
        for name in names:
            asked = re.sub(r"(?s)\$\$?(.+?)\$\$?", r"`\1`", prompt(EXERCISES[name]))       # no MathJax here: as LaTeX
            out += [f"### {name}", asked, f"```python\n{EXERCISES[name].source()}\n```",
                    classroom.mistakes(name)]
    return "\n\n".join(out) + "\n"


def glossary():
    """The glossary, its links leading to the pages of the class."""
    text = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf8")
    return re.sub(r"\]\((\d\d_\w+\.ipynb)", r"](../student/\1", text)


def texts():
    """{name: Markdown} of what lies in texts/."""
    return {"plan": plan(), "misconceptions": read("misconceptions.md"), "answer-key": answer_key(),
            "machines": read("machines.md"), "nbgrader": read("nbgrader.md"),
            "questions": paper(False), "questions-answered": paper(True), "glossary": glossary()}


def html(text):
    """A text as a page of its own; links between texts lead to pages."""
    text = re.sub(r"\]\(([\w-]+)\.md", r"](\1.html", text)
    return PAGE.format(title=re.match(r"# (.+)", text)[1], body=markdown2html(text))


def requirements():
    """What pip is to install: the course's packages and Jupyter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return "\n".join([*project["dependencies"], *project["optional-dependencies"]["lab"]]) + "\n"


def build(folder, decks=True):
    """Write the kit into folder, which is emptied first; decks: with slides, which want the extras kit and site."""
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("student", "instructor"):
        classroom.write(kind, folder / kind)
    (folder / "texts").mkdir()
    for name, text in texts().items():
        (folder / "texts" / f"{name}.md").write_text(text, encoding="utf8")
        (folder / "texts" / f"{name}.html").write_text(html(text), encoding="utf8")
    bank = json.dumps(questions(), indent=1, ensure_ascii=False)
    start = html(read("start.md").replace("{questions}", str(len(questions()))))
    for name, text in {"texts/questions.json": bank, "texts/questions.gift": gift(), "START.html": start,
                       "requirements.txt": requirements()}.items():
        (folder / name).write_text(text, encoding="utf8")
    for package in ("helpers", "exercises"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data" / "weights").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "README.md", folder / "data")
    for path in [*(ROOT / "data" / "weights").glob("*.safetensors"), *(ROOT / "data" / "weights").glob("*.md"),
                 *(ROOT / "data" / "weights").glob("*.json")]:
        shutil.copy(path, folder / "data" / "weights")
    for path in [ROOT / "LICENSE", TEXTS.parent / "doctor.py", TEXTS.parent / "speed.json"]:
        shutil.copy(path, folder)
    if decks:
        slides_into(folder / "slides")


def slides_into(folder):
    """The slides of all notebooks, what they need, and a page that links to them."""
    from tools.teaching import slides
    for part, content in slides.reveal().items():
        (folder / "reveal" / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / "reveal" / part).write_bytes(content)
    lines = ["# Slides", "Arrow keys lead on; S opens the speaker's notes, F fills the screen, O shows all slides."]
    for page, path in classroom.notebooks().items():
        (folder / f"{path.stem}.html").write_text(slides.deck(path), encoding="utf8")
        lines.append(f"- [{course()[page][0]}]({path.stem}.html)")
    (folder / "index.html").write_text(html("\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])), encoding="utf8")


def zipped(folder, target):
    """Put folder into the zip at target: sorted, with one date, so that equal folders make equal zips."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{target.stem}/{path.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def main():
    build(FOLDER)
    zipped(FOLDER, ZIP)
    print(f"The kit is {ZIP.relative_to(ROOT)}, {ZIP.stat().st_size / 2**20:.0f} MB: unpack it, open START.html.")


if __name__ == "__main__":
    sys.exit(main())
