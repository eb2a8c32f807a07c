"""What is said in several places is the same in all: floors, Pythons, the install command, targets."""
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf8"))


def conda(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf8"))


def text(path):
    return (ROOT / path).read_text(encoding="utf8")


def steps(path):
    return [step for job in yaml.safe_load(path.read_text(encoding="utf8"))["jobs"].values() for step in job["steps"]]


def test_binder_gets_what_a_learner_gets():
    whole, binder = conda("environment.yml"), conda(".binder/environment.yml")
    tests = {re.match(r"[\w-]+", line)[0] for line in PROJECT["optional-dependencies"]["test"]}
    wanted = [line for line in whole["dependencies"][1:] if re.match(r"[\w-]+", line)[0] not in tests]
    assert binder["dependencies"][1:] == wanted
    assert (binder["name"], binder["channels"]) == (whole["name"], whole["channels"])


def pythons():
    """Each Python that is named with a number of its own: {where: 3.12}."""
    found = {"Binder": re.fullmatch(r"python=([\d.]+)", conda(".binder/environment.yml")["dependencies"][0])[1],
             "dev container": re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:([\d.]+)", CONTAINER["image"])[1]}
    for path in WORKFLOWS:
        for step in steps(path):
            if "python-version" in step.get("with", {}) and "{" not in step["with"]["python-version"]:
                found[path.name] = step["with"]["python-version"]
    return found


def test_one_python_and_not_older_than_the_floor():
    assert len(set(pythons().values())) == 1 and {"Binder", "dev container", "test.yml", "site.yml"} <= set(pythons())
    floor = re.fullmatch(r">=([\d.]+)", PROJECT["requires-python"])[1]
    number = [int(part) for part in pythons()["Binder"].split(".")]
    assert number >= [int(part) for part in floor.split(".")]
    assert f"Python {floor} or newer" in text("README.md")
    ruff = tomllib.loads(text("pyproject.toml"))["tool"]["ruff"]
    assert ruff["target-version"] == "py" + floor.replace(".", "")


def test_the_dev_container_installs_as_the_readme_does():
    by_hand = re.findall(r"(?m)^ {4}((?:python3 -m venv|\.venv/bin/python -m pip) .*)$", text("README.md"))
    assert len(by_hand) == 2 and CONTAINER["postCreateCommand"] == " && ".join(by_hand)
    settings = CONTAINER["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


def test_every_extra_that_is_asked_for_exists():
    asked = set()
    for path in ["README.md", "CONTRIBUTING.md", ".devcontainer/devcontainer.json", "tools/authoring/html.py"]:
        asked |= {name for names in re.findall(r"-e [\"'\\]*\.\[([\w,]+)\]", text(path)) for name in names.split(",")}
    asked |= set(re.findall(r"\.venv/\.(\w+)", text("Makefile"))) - {"python"}        # the environment itself
    assert {"lab", "test", "site"} <= asked <= set(PROJECT["optional-dependencies"])


TARGETS = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf8")))


def test_every_target_has_its_line_in_make_help_and_is_phony():
    told = set(re.findall(r"(?m)^([a-z][a-z-]*):.*##", text("Makefile")))
    phony = set(re.search(r"(?m)^\.PHONY: (.*)$", text("Makefile"))[1].split())
    assert told == TARGETS == phony


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "data/README.md", ".ci/run",
                                  *(f".github/workflows/{path.name}" for path in WORKFLOWS)])
def test_every_make_command_exists(path):
    commands = re.findall(r"(?:^|`|\s{4}|run: )make ([a-z][a-z-]*)(?!\$)\b", text(path), re.M)
    assert set(commands) <= TARGETS
    assert commands or path != "README.md"


def test_every_file_that_a_command_names_exists():
    for path in ["README.md", "CONTRIBUTING.md", "Makefile", ".pre-commit-config.yaml"]:
        for name in re.findall(r"\b((?:tools|tests|notebooks|helpers|benchmarks)/[\w/]+\.\w+)", text(path)):
            assert (ROOT / name).exists(), f"{path} names {name}"


def test_the_weekly_run_takes_all_three_and_the_floor_on_the_oldest_python():
    weekly = yaml.safe_load(text(".github/workflows/weekly.yml"))
    assert weekly[True]["schedule"][0]["cron"].split()[2:] == ["*", "*", "1"]          # YAML reads "on" as True
    matrix = weekly["jobs"]["versions"]["strategy"]["matrix"]["include"]
    environments = {row["environment"]: row["python"] for row in matrix}
    assert {f"test-{name}" for name in environments} == {"test-floor", "test-latest", "test-colab"} <= TARGETS
    assert PROJECT["requires-python"] == ">=" + environments["floor"]
    assert all(f".venv-{name}/bin/python" in text("Makefile") for name in environments)


def test_hooks_are_local():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert {hook["language"] for hook in hooks[0]["hooks"]} == {"system"}
