"""Draws docs/architecture.svg, the picture of the model in the README: python docs/draw_architecture.py.

Plain SVG and nothing but the standard library. A test compares the file with what this script makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path(__file__).with_name("architecture.svg")
WIDTH, HEIGHT = 980, 392
LINE_PX = 17
INK, PAPER, LINE = "#1f2933", "#ffffff", "#52606d"
DATA, NETWORK, ANSWER, BAND = "#e3f0fb", "#fdebd0", "#dff3e3", "#f5f7fa"


@dataclass(frozen=True)
class Node:
    """A rounded rectangle: its left top corner, size, colour, and lines of text, the first one bold."""

    x: int
    y: int
    width: int
    height: int
    colour: str
    lines: tuple[str, ...]

    @property
    def middle_y(self) -> int:
        """Give the height of its middle."""
        return self.y + self.height // 2

    def svg(self) -> str:
        """Draw it."""
        first = self.middle_y - LINE_PX * (len(self.lines) - 1) / 2 + 5
        texts = [
            f'<text x="{self.x + self.width // 2}" y="{first + LINE_PX * number:g}" text-anchor="middle"'
            f"{' font-weight=' + chr(34) + 'bold' + chr(34) if number == 0 else ''}>{escape(line)}</text>"
            for number, line in enumerate(self.lines)
        ]
        frame = (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="8" '
            f'fill="{self.colour}" stroke="{LINE}"/>'
        )
        return "\n".join([frame, *texts])


SLICE = Node(20, 48, 130, 76, DATA, ("slice", "H x W", "any size"))
CHANNELS = ("raw; smoothed, edges kept;", "contrast equalised in tiles")
CANVAS = Node(190, 48, 230, 76, DATA, ("canvas, 256 x 256, 3 channels", *CHANNELS))
ENCODER = Node(470, 48, 190, 76, NETWORK, ("image encoder", "plain convolutions,", "a feature pyramid"))
EMBEDDING = Node(720, 48, 180, 76, DATA, ("embedding", "64 x 32 x 32", "what surrounds the object"))
BOX = Node(20, 210, 130, 76, DATA, ("box", "in pixels of", "the slice"))
SEEN = ("the enlarged box at full detail,", "maps of where the box lies,")
SEEN_IN_VOLUMES = ("volumes: neighbouring slice", "and the mask found there")
VIEW = Node(190, 192, 230, 112, DATA, ("view, 128 x 128", *SEEN, *SEEN_IN_VOLUMES))
DECODER = Node(470, 210, 190, 76, NETWORK, ("box-frame decoder", "a small U-Net", "on the view"))
GATE = Node(700, 210, 120, 76, NETWORK, ("ellipse gate", "contour, or the", "box's ellipse?"))
MASK = Node(860, 210, 100, 76, ANSWER, ("mask", "in pixels of", "the slice"))
PROPAGATION = "volumes: the mask gives the box and the hint for the next slice (propagation)"
NODES = (SLICE, CANVAS, ENCODER, EMBEDDING, BOX, VIEW, DECODER, GATE, MASK)


def arrow(*points: tuple[int, int], dashed: bool = False) -> str:
    """Draw a line through points with a head at its end."""
    path = " ".join(f"{x},{y}" for x, y in points)
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.6"{dash} marker-end="url(#head)"/>'


def between(left: Node, right: Node) -> str:
    """Draw an arrow from a node to the one on its right."""
    return arrow((left.x + left.width, left.middle_y), (right.x - 2, right.middle_y))


def note(x: int, y: int, text: str, *, anchor: str = "start") -> str:
    """Write a small remark."""
    return f'<text x="{x}" y="{y}" font-size="13" fill="{LINE}" text-anchor="{anchor}">{escape(text)}</text>'


def band(y: int, height: int, title: str) -> str:
    """Lay a pale ground with a title under a row of nodes."""
    ground = f'<rect x="6" y="{y}" width="{WIDTH - 12}" height="{height}" rx="10" fill="{BAND}"/>'
    return f"{ground}\n{note(20, y + 20, title)}"


def draw() -> str:
    """Give the picture as the text of an SVG file."""
    half = EMBEDDING.x + EMBEDDING.width // 2
    decoder_x, view_x, mask_x = (node.x + node.width // 2 for node in (DECODER, VIEW, MASK))
    below = VIEW.y + VIEW.height + 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="DejaVu Sans, Verdana, Arial, sans-serif" font-size="13" fill="{INK}" role="img">',
        "<title>GraySAM: one encoder for each slice, one decoder for each box</title>",
        f'<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L10,5 L0,10 z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
        band(8, 130, "once for each slice"),
        band(150, 234, "once for each box"),
        *(between(left, right) for left, right in ((SLICE, CANVAS), (CANVAS, ENCODER), (ENCODER, EMBEDDING))),
        *(between(left, right) for left, right in ((BOX, VIEW), (VIEW, DECODER), (DECODER, GATE), (GATE, MASK))),
        arrow((half, EMBEDDING.y + EMBEDDING.height), (half, 168), (decoder_x, 168), (decoder_x, DECODER.y - 2)),
        arrow((170, SLICE.middle_y), (170, 168), (view_x, 168), (view_x, VIEW.y - 2)),
        arrow((mask_x, MASK.y + MASK.height), (mask_x, 346), (view_x, 346), (view_x, below), dashed=True),
        note((view_x + mask_x) // 2, 366, PROPAGATION, anchor="middle"),
        *(node.svg() for node in NODES),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
