"""The lists of packages: complete, without contradiction, and what the sources import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "requirements").glob("*.txt"))
OURS = {"graysam", "evaluation", "data_prep", "train", "examples", "benchmarks", "tests", "predict"}
# The lists that stand beside a list wherever it is used (Makefile, Dockerfile, pyproject.toml).
BESIDE = {"train": ("base", "torch", "openvino", "evaluation")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), f"{path.name}: wanted name==version only"
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_list_holds_all_that_its_packages_bring_in(path: Path) -> None:
    """So that an installation with --no-deps is whole, and nothing unpinned slips into one without."""
    listed = pins(path)
    known = set(listed)
    for name in BESIDE.get(path.stem, ("base",)):
        known |= set(pins(path.with_name(f"{name}.txt")))
    try:
        needs = {name: [Requirement(text) for text in distribution(name).requires or []] for name in listed}
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name} is not installed here")
    wanted = {name: [each for each in group if applies(each)] for name, group in needs.items()}
    extras = {(canonical(each.name), extra) for group in wanted.values() for each in group for extra in each.extras}
    for owner, extra in extras:
        wanted.get(owner, []).extend(each for each in needs.get(owner, []) if applies(each, extra))
    for name, group in wanted.items():
        missing = {canonical(each.name) for each in group} - known
        assert not missing, f"{path.name}: {name} also needs {sorted(missing)}"


def test_no_two_lists_want_different_versions() -> None:
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for name, version in pins(path).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_list_is_read_by_the_makefile_and_offered_as_an_extra() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    dynamic = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["dynamic"]
    offered = {*dynamic["dependencies"]["file"]}
    for extra in dynamic["optional-dependencies"].values():
        offered |= {*extra["file"]}
    for path in FILES:
        assert f"requirements/{path.name}" in makefile
    assert offered == {f"requirements/{path.name}" for path in FILES}


def third_party_imports(root: Path) -> set[str]:
    found = set()
    for source in [*root.glob("*.py"), *(each for name in OURS for each in (root / name).rglob("*.py"))]:
        siblings = {each.stem for each in source.parent.glob("*.py")}
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {top for name in names if (top := name.split(".")[0]) not in siblings}
    return found - OURS - set(sys.stdlib_module_names)


def test_every_package_that_the_sources_import_is_listed() -> None:
    listed = {name for path in FILES for name in pins(path)}
    owners = packages_distributions()
    unlisted = {
        module: owners[module]
        for module in third_party_imports(ROOT)
        if module in owners and not listed & {canonical(name) for name in owners[module]}
    }
    assert unlisted == {}
