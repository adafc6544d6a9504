"""The files of the page as they lie there: nothing from elsewhere, nothing inline, no word or element missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import graysam

PAGE = Path(graysam.__file__).resolve().parent / "view" / "page"
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))}
SOURCES = "\n".join(SCRIPTS.values())


def test_the_page_names_no_address_outside_its_server():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace('"http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(https?:)?//[\w.-]+\.\w+|@import|url\(", text), path.name


def test_the_page_has_no_inline_script_or_style_that_its_security_policy_would_refuse():
    assert re.findall(r"<script(?![^>]*\bsrc=)", HTML) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", HTML) == []
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", SOURCES)


def test_every_element_that_the_scripts_look_up_stands_in_the_page():
    there = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(there) == len(set(there))
    wanted = set(re.findall(r'\belement\("([\w-]+)"\)', SOURCES))
    assert len(wanted) > 30
    assert wanted - set(there) == set()
    icons = set(re.findall(r'href="#(i-\w+)"', HTML))
    icons |= {f"i-{name}" for name in re.findall(r'\bicon\("(\w+)"\)', SOURCES)}
    assert icons - set(there) == set()


def test_every_file_that_one_names_is_there():
    named = set(re.findall(r'(?:src|href)="page/([\w.]+)"', HTML))
    named |= set(re.findall(r'from "\./([\w.]+)"', SOURCES))
    assert named <= {path.name for path in PAGE.iterdir()}
    assert {"main.js", "style.css", "icon.svg", "text.js"} <= named


def test_every_script_is_checked_for_types_and_says_what_it_is_for():
    for name, script in SCRIPTS.items():
        assert script.startswith("// @ts-check\n/** "), name


def all_texts() -> dict[str, str]:
    """The texts of text.js by key, as Node reads them."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here to read text.js with")
    print_texts = f"import({json.dumps((PAGE / 'text.js').as_uri())}).then((m) => console.log(JSON.stringify(m.TEXT)))"
    done = subprocess.run([node, "--input-type=module", "-e", print_texts], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = {}

    def collect(texts, before):
        for key, value in texts.items():
            if isinstance(value, dict):
                collect(value, f"{before}{key}.")
            else:
                found[f"{before}{key}"] = value

    collect(json.loads(done.stdout), "")
    return found


def test_every_word_that_the_page_shows_stands_in_one_file_and_none_is_left_over():
    texts = all_texts()
    used = set(re.findall(r'data-(?:text|label|hold)="([\w.]+)"', HTML))
    used |= set(re.findall(r'\bsay\(\s*"([\w.]+)"', SOURCES))
    used |= set(re.findall(r'[?:] "(\w+\.\w+)"', SOURCES))  # one of two, chosen by a condition
    assert used - set(texts) == set()
    # `say` with a part of the key filled in: tools.${tool} uses all of tools
    groups = {each.split(".")[0] for each in re.findall(r"\bsay\(`([\w.]+)\$", SOURCES)}
    left = {key for key in set(texts) - used if key.split(".")[0] not in groups}
    assert left == set()


def test_the_page_itself_holds_no_words():
    body = re.sub(r"<!--.*?-->|<noscript>.*?</noscript>|<title>.*?</title>", "", HTML, flags=re.DOTALL)
    words = [text.strip() for text in re.findall(r">([^<]+)<", body) if text.strip()]
    assert words == ["GraySAM"]
