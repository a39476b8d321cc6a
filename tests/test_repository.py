"""What the repository says about itself is true: its records, links, targets, locks and wheel."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNKEPT = {".git", ".venv", ".narthex", "node_modules", "dist", "build"}
CHANGELOG_ORDER = ["Security", "Removed", "Deprecated", "Added", "Changed", "Fixed"]


def ours(ending: str) -> list[Path]:
    """Every file of ours whose name ends so."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in UNKEPT]
        found += [Path(folder, name) for name in files if name.endswith(ending)]
    return sorted(found)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(markdown: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {re.match(r"[\w.-]+", line)[0] for line in asked}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_every_dependency_has_a_line_saying_why_it_is_here() -> None:
    explained = re.findall(r"^\| `([\w.-]+)` \| .+ \|$", (ROOT / "docs/decisions/0001-the-stack.md").read_text(), re.M)
    assert sorted(dependencies()) == sorted(explained)


@pytest.mark.parametrize("lock", ["build.lock", "runtime.lock", "dev.lock", "fuzz.lock"])
def test_locks_pin_every_file_by_hash_and_name_no_registry(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    requirements = re.split(r"\n(?=\w)", text)
    assert "://" not in text
    assert [] == [line for line in requirements if "==" not in line or "--hash=sha256:" not in line]


def test_npm_locks_name_no_registry() -> None:
    assert [] == [name_of(path) for path in ours("package-lock.json") if '"resolved": "http' in path.read_text()]


@pytest.mark.parametrize("page", ours(".md"), ids=name_of)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        path, _, fragment = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        known = target.exists() and (not fragment or target.suffix != ".md" or fragment in anchors(target))
        if not known:
            broken.append(link)
    assert [] == broken


@pytest.mark.parametrize("page", ours(".md"), ids=name_of)
def test_make_targets_that_a_page_names_exist(page: Path) -> None:
    code = re.findall(r"`([^`\n]+)`", page.read_text()) + re.findall(r"^(?:\$ )?(make .*)$", page.read_text(), re.M)
    named = {target for line in code for target in re.findall(r"^make ([a-z][a-z-]*)", line)}
    assert set() == named - targets()


def test_make_help_lists_every_target_that_explains_itself() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    explained = re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    assert sorted(explained) == sorted(re.findall(r"^  make ([a-z-]+)", shown, flags=re.M))


def test_every_decision_is_in_the_index_with_a_status_and_a_date() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    records = sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
    assert [] == [record.name for record in records if f"({record.name})" not in index]
    dated = r"\A# \d{4} .+\n\n- Status: .+\n- Date: \d{4}-\d\d-\d\d\n"
    assert [] == [record.name for record in records if not re.search(dated, record.read_text())]


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    pages = [path for path in ours(".md") if path.is_relative_to(docs) and path.parent != docs / "decisions"]
    named = [path.relative_to(docs).as_posix() for path in pages if path != docs / "README.md"]
    assert [] == [name for name in named if f"({name})" not in index]


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.M)[1:]
    assert versions[0].startswith("Unreleased\n")
    for version in versions:
        title, _, body = version.partition("\n")
        assert re.fullmatch(r"Unreleased|\d+\.\d+\.\d+ · \d{4}-\d\d-\d\d", title)
        kinds = re.findall(r"^### (.+)$", body, flags=re.M)
        assert kinds == [kind for kind in CHANGELOG_ORDER if kind in kinds]
        entries = [line for line in body.splitlines() if line and not line.startswith("### ")]
        assert [] == [line for line in entries if not re.fullmatch(r"- .+\.", line)]


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("narthex/")}
    source = ROOT / "src"
    written = {path.relative_to(source).as_posix() for path in source.glob("narthex/**/*") if path.is_file()}
    assert {name for name in written if "__pycache__" not in name} == held


def modules_with_examples() -> list[str]:
    source = ROOT / "src"
    files = [path for path in ours(".py") if path.is_relative_to(source) and ">>> " in path.read_text()]
    return [".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_in_docstrings_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert 0 == result.failed
    assert result.attempted > 0
