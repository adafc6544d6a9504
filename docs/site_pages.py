"""Hook of mkdocs: adds the Markdown files that lie outside docs/ to the site, and mends their links.

README.md becomes the start page; CONTRIBUTING.md, CHANGELOG.md and the model card become pages with their pictures. In
the repository links lead from file to file. On the site a link to a page leads there; a link to a file of the
repository that is no page is shown as its text. A link to nothing is left as it is, so that `--strict` finds it.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ADDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "weights/MODEL_CARD.md": "MODEL_CARD.md",
    "weights/failures.png": "failures.png",
}
"""File of the repository -> its place on the site."""
SOURCES = {place: source for source, place in ADDED.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside docs/."""
    for source, place in ADDED.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to places on the site."""
    source = SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return with_site_links(markdown, source)


def with_site_links(markdown: str, source: str) -> str:
    """Give the text of the repository's file `source` with its relative links as the site wants them."""

    def mend(link: re.Match[str]) -> str:
        picture, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = ADDED.get(wanted, wanted.removeprefix("docs/"))
        if wanted in ADDED or (wanted.startswith("docs/") and place.endswith((".md", ".png", ".svg"))):
            here = posixpath.dirname(ADDED.get(source, source.removeprefix("docs/")))
            return f"{picture}[{text}]({posixpath.relpath(place, here or os.curdir)}{anchor})"
        return text if (ROOT / wanted).exists() else link[0]

    return _LINK.sub(mend, markdown)
