"""Every command of the README and of docs/ is run: here word for word and in order, or where ELSEWHERE says.

The sandbox is made once and looks like a checkout after `make demo`; the commands of all pages share it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

import graysam
from benchmarks.smoke import write_sources
from examples.phantoms import make_phantoms, write_phantoms
from graysam.formats.npz import read_case
from train.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# In the order in which their commands are run: what the first ones make is used by the later ones.
PAGES = (
    "README.md",
    "docs/files.md",
    "docs/prompts.md",
    "docs/view.md",
    "docs/prepare-data.md",
    "docs/train.md",
    "docs/adapt.md",
    "docs/evaluate.md",
    "docs/cluster.md",
    "docs/how-it-works.md",
    "docs/extend.md",
    "docs/models.md",
    "docs/results.md",
    "docs/peers.md",
    "docs/experiments.md",
    "CONTRIBUTING.md",
)
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
WITH_PYTHON = ("README.md", "docs/prompts.md")  # whose programs are run below
MOST_WORDS = 1300  # of the README
HAS_WEIGHTS = (ROOT / "weights" / "graysam" / "spec.json").is_file()

# Commands that would set up a machine or take longer than a test may, and what runs them: a file and a text in it.
ELSEWHERE = {
    "make demo": (".ci/run", "make demo"),
    "make test": (".ci/run", "make test"),
    "make setup": (".ci/run", "make setup"),
    'pip install ".[files]"': ("tests/test_install.py", '"install", *options, wheel'),
    'pip install ".[view,files]"': ("tests/test_install.py", '"install", *options, wheel'),
    "graysam view demo/scans": ("tests/graysam/cli/test_view_command.py", '"graysam", "view", *map(str, options)'),
    "graysam adapt --data my-cases --out my-weights --minutes 10": (
        "tests/train/test_adapt.py",
        'graysam.cli.main(["adapt"',
    ),
    "graysam predict -i inputs -o outputs --weights my-weights": (
        "tests/train/test_adapt.py",
        'graysam.cli.main(["predict"',
    ),
    "make train-smoke": ("tests/benchmarks/test_chain.py", "run_chain"),
}
# What would take hours, and what is run in its place; all else of the command stays.
SHORTENED = {
    "train/configs/graysam.toml": "train/configs/smoke.toml",
    "train/configs/graysam-narrow.toml": "train/configs/smoke.toml",
    "--minutes 90": "--steps 2 --device cpu --validate-prompts 2",
    "--minutes 30": "--steps 2 --device cpu",
    "--teacher weights/litemedsam": "--teacher weights/graysam --trust-slices 1",
    "--minutes 240": "--minutes 0.2",
    "--minutes 20 --designs graysam graysam-narrow": (
        "--minutes 0.02 --designs smoke --processes 1 --threads 1 --per-modality 2"
    ),
    "--cases US_0525 MR_0179 --runs 3": "--cases US_0525 --runs 1",
    "--calibration store/all.store": "--calibration store/all.store --calibration-slices 4",
    "python -m benchmarks.validate": "python -m benchmarks.validate --per-modality 1 --most-volumes 1",
}
# The folders and files that the commands may find beside them.
LINKED = ("graysam", "data_prep", "evaluation", "train", "examples", "benchmarks", "predict.py", "weights", "Makefile")

# Stands in for the scheduler: runs what it is given once for each task of the array, as SLURM would.
SBATCH = """\
#!/bin/sh
range=${1#--array=}; first=${range%-*}; last=${range#*-}
[ "$2" = --wrap ] || exit 2
export SLURM_ARRAY_TASK_MIN=$first SLURM_ARRAY_TASK_COUNT=$((last - first + 1))
for task in $(seq "$first" "$last"); do
    SLURM_ARRAY_TASK_ID=$task sh -c "$3" || exit 1
done
"""
# Stands in for the installed command, which tests/test_install.py installs.
GRAYSAM = '#!/bin/sh\nexec python -m graysam "$@"\n'
# The real docker, but with the names of the images that tests/test_container.py builds, so that nobody's image named
# graysam is replaced, and building the project from where it lies.
DOCKER = """\
#!{python}
import os, shlex, sys
names = {{"graysam": "graysam-test", "graysam:latest": "graysam-test:latest", "graysam-torch": "graysam-test-torch"}}
words = [names.get(word, word) for word in sys.argv[1:]]
if words[0] == "build":
    extra = shlex.split(os.environ.get("DOCKER_BUILD_ARGS", ""))
    if index := os.environ.get("TORCH_PIP_ARGS"):
        extra += ["--build-arg", "TORCH_PIP_ARGS=" + index]
    words = ["build", *extra, *words[1:-1], {root!r}]
    os.environ["DOCKER_BUILDKIT"] = "1"
os.execv({docker!r}, ["docker", *words])
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language and its text."""

    language: str
    text: str


def fenced_blocks(markdown: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)]


@dataclass(frozen=True)
class Command:
    """A command line, its page, and whether it or another one of its block needs a Docker engine."""

    page: str
    text: str
    needs_docker: bool


def commands_of(page: str, markdown: str) -> list[Command]:
    """All command lines of a page, with continued lines joined."""
    commands = []
    for block in fenced_blocks(markdown):
        if block.language != "sh":
            continue
        lines = block.text.replace("\\\n", " ").splitlines()
        needs_docker = "docker " in block.text
        commands += [
            Command(page, " ".join(line.split()), needs_docker or "--image" in line)
            for line in lines
            if line.strip() and not line.lstrip().startswith("#")
        ]
    return commands


def commands_of_all_pages() -> list[Command]:
    """The commands of all pages, each text once."""
    found: dict[str, Command] = {}
    for page, markdown in TEXTS.items():
        for command in commands_of(page, markdown):
            found.setdefault(command.text, command)
    return list(found.values())


COMMANDS = commands_of_all_pages()


def marked(command: Command) -> object:
    marks = [pytest.mark.slow, pytest.mark.weights, *([pytest.mark.docker] if command.needs_docker else [])]
    return pytest.param(command, marks=marks, id=f"{command.page}: {command.text[:90]}")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout after `make demo`; what commands write stays in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    write_phantoms(folder / "demo", make_phantoms())
    write_sources(folder / "data", make_phantoms(seed=1, count=2))
    for name in ("store", "runs"):
        (folder / name).mkdir()
    programs = folder / ".programs"
    programs.mkdir()
    docker = shutil.which("docker") or "/usr/bin/docker"
    texts = {
        "sbatch": SBATCH,
        "graysam": GRAYSAM,
        "docker": DOCKER.format(python=sys.executable, root=str(ROOT), docker=docker),
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return folder


def run_in(sandbox: Path, command: str) -> subprocess.CompletedProcess[str]:
    for long, short in SHORTENED.items():
        command = command.replace(long, short)
    path = os.pathsep.join([str(sandbox / ".programs"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=sandbox,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )


@pytest.mark.parametrize("command", [marked(each) for each in COMMANDS if each.text not in ELSEWHERE])
def test_a_command_of_a_page_works_as_printed(sandbox: Path, command: Command) -> None:
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    if command.needs_docker:
        need_docker()
    done = run_in(sandbox, command.text)
    assert done.returncode == 0, f"{command.text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def need_docker() -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        reason = "no Docker engine that this process may use"
        (pytest.fail if os.environ.get("GRAYSAM_REQUIRE_DOCKER") else pytest.skip)(reason)


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_command_that_is_run_elsewhere_is_in_a_page_and_there(command: str) -> None:
    path, text = ELSEWHERE[command]
    assert command in [each.text for each in COMMANDS], "no longer in any page: take it out of ELSEWHERE"
    assert text in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.weights
def test_the_three_lines_of_python_work() -> None:
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    (block,) = [block for block in fenced_blocks(README) if block.language == "python"]
    names: dict[str, object] = {"image": np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)}
    exec(block.text, names)
    labels = names["labels"]
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (300, 400)
    assert len(block.text.strip().splitlines()) == 3


@pytest.mark.weights
def test_the_programs_of_the_page_on_prompts_work_one_after_the_other() -> None:
    if not HAS_WEIGHTS:
        pytest.skip("no weights under weights/graysam")
    image = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    boxes = [[120, 80, 260, 210], [20, 20, 80, 60]]
    names: dict[str, object] = {"image": image, "boxes": boxes, "segmenter": graysam.Segmenter.load(threads=1)}
    blocks = [block for block in fenced_blocks(TEXTS["docs/prompts.md"]) if block.language == "python"]
    assert len(blocks) == 2
    for block in blocks:
        exec(block.text, names)
    assert np.array_equal(names["mask"].shape, image.shape)  # type: ignore[attr-defined]
    assert 0 <= float(names["confidence"]) <= 1  # type: ignore[arg-type]


def test_the_kubernetes_job_tells_each_pod_how_many_there_are() -> None:
    (job,) = [block.text for block in fenced_blocks(TEXTS["docs/cluster.md"]) if block.language == "yaml"]
    completions = re.search(r"completions: (\d+)", job)
    count = re.search(r'GRAYSAM_NUM_PARTS, value: "(\d+)"', job)
    assert completions
    assert count
    assert completions[1] == count[1]
    assert "completionMode: Indexed" in job


def test_what_is_shortened_is_in_a_page() -> None:
    printed = "\n".join(each.text for each in COMMANDS)
    assert [text for text in SHORTENED if text not in printed] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_block_of_a_page_escapes_these_tests(page: str) -> None:
    blocks = fenced_blocks(TEXTS[page])
    assert {block.language for block in blocks} <= {"sh", "yaml", *(["python"] if page in WITH_PYTHON else [])}
    assert TEXTS[page].count("```") == 2 * len(blocks)


@pytest.mark.parametrize("page", [*PAGES, "weights/MODEL_CARD.md", "CHANGELOG.md", "train/README.md"])
def test_the_files_that_a_page_shows_and_links_to_are_there(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_hides_no_unfinished_part(page: str) -> None:
    assert "<!--" not in TEXTS[page]
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b", TEXTS[page])


def test_the_readme_is_short_and_goes_in_the_order_of_a_first_time_user() -> None:
    assert len(README.split()) <= MOST_WORDS
    steps = ["docs/demo.png", "## Two commands", "## Input and output", "## Install and predict", "### From Python"]
    steps += ["### As a container", "## Results", "## How it works", "## Limits", "## Licences", "## More"]
    places = [README.index(step) for step in steps]
    assert places == sorted(places)
    assert "docs/architecture.svg" in README


@pytest.mark.parametrize("page", [*PAGES, "weights/MODEL_CARD.md"])
def test_a_page_uses_no_word_that_only_this_project_knows(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.findall(r"\b(jit5|walks?|beside|asked for|design\.md|house_style)\b", text) == []


def test_extend_names_files_and_things_that_are_there() -> None:
    rows = re.findall(r"^\| [^|]+ \| `([\w/.]+)` \| `(\w+)` \|$", TEXTS["docs/extend.md"], re.MULTILINE)
    assert len(rows) >= 8
    missing = [(path, name) for path, name in rows if not re.search(rf"\b{name}\b", (ROOT / path).read_text())]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_ours_that_a_page_names_are_there(page: str) -> None:
    ours = "graysam|evaluation|data_prep|train|benchmarks|examples|tests|docs|requirements|weights"
    named = re.findall(rf"`((?:{ours})/[\w/.-]+)`", TEXTS[page])
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_keys_of_a_config_that_the_page_on_training_explains_are_there() -> None:
    rows = re.findall(r"^\| ((?:`[\w.]+`,? ?)+) \|", TEXTS["docs/train.md"].split("| key |")[1], re.MULTILINE)
    known = RunConfig(steps=1).to_dict()
    for row in rows:
        section = ""
        for key in re.findall(r"`([\w.]+)`", row):
            *before, name = key.split(".")
            section = before[0] if before else section
            assert name in {**(known[section] if section else known), "preset": None}, key


def test_the_citation_names_this_version_and_invents_no_address() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = yaml.safe_load(text)
    assert citation["version"] == graysam.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all({"type", "title", "authors"} <= set(each) for each in citation["references"])
    assert not re.search(r"\b(doi|url|repository-code)\b", text)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_model_is_what_its_script_draws() -> None:
    drawn = load(ROOT / "docs" / "draw_architecture.py").draw()
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == drawn


def test_the_site_links_to_pages_and_shows_other_files_as_text() -> None:
    pytest.importorskip("mkdocs")
    mend = load(ROOT / "docs" / "site_pages.py").with_site_links
    assert mend("[a](docs/train.md#go) ![b](docs/demo.png)", "README.md") == "[a](train.md#go) ![b](demo.png)"
    assert mend("[a](../README.md) [b](../weights/MODEL_CARD.md)", "docs/x.md") == "[a](index.md) [b](MODEL_CARD.md)"
    assert mend("[the licence](LICENSE)", "README.md") == "the licence"
    assert mend("[gone](gone.md) [out](https://x.org/a.md)", "README.md") == "[gone](gone.md) [out](https://x.org/a.md)"


def test_the_site_is_built_without_a_dead_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Not for clinical use" in page
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page)  # it is whole without a network


def test_the_demo_cases_of_the_readme_have_boxes(tmp_path: Path) -> None:
    write_phantoms(tmp_path, make_phantoms()[:1])
    (path,) = (tmp_path / "inputs").iterdir()
    assert read_case(path).boxes
