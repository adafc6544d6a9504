"""The page of `graysam view` in a browser, as tests use it: everything is done with mouse, keys and what is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

FITTED = 0.96  # share of the canvas that an image fills; viewport.js
BUTTONS = {"left": 1, "right": 2, "middle": 4}


@dataclass
class DrivenPage:
    """A tab with the page.

    Attributes:
        driver: of Selenium.
        size_wh: of the open case's slices, so that pixels can be pointed at.
        patience: seconds that anything may take before a test fails.
    """

    driver: Any
    size_wh: tuple[int, int] = (1, 1)
    patience: float = 60.0

    # --- looking ---

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """Wait until a script gives something true, and give it."""
        deadline = time.monotonic() + self.patience
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"in vain: {script} {arguments}; {self.texts()}"
            time.sleep(0.02)
        return found

    def texts(self):
        """Give what the page says, for messages of failed tests."""
        return self.run(
            "return ['kept', 'notices', 'hint-text', 'case-name'].map(e => document.getElementById(e).innerText)"
        )

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.textContent", selector)

    def wait_text(self, selector, part):
        script = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1])"
        self.wait(script, selector, part)

    def drawn(self):
        """Wait until the page shows what it knows: it is drawn with the next frame, which is late where much runs."""
        self.driver.set_script_timeout(self.patience)
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def settled(self):
        """Wait until all that was done is shown and kept and nothing is under way."""
        self.drawn()
        self.wait("return document.querySelector('#kept').innerText.trim() === 'All changes kept'")

    def objects(self):
        """Give the names of the objects in the list."""
        return self.run("return [...document.querySelectorAll('#object-list input[type=text]')].map(e => e.value)")

    def colour_at(self, x, y, canvas="axial"):
        """Give the colour (R, G, B) that is drawn at the middle of a pixel."""
        left, top = self.css(x, y, canvas, in_page=False)
        script = """
            const canvas = document.getElementById(arguments[0]);
            const ratio = canvas.width / canvas.getBoundingClientRect().width;
            const at = [arguments[1], arguments[2]].map((each) => Math.round(each * ratio));
            return [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3);
        """
        return tuple(self.run(script, canvas, left, top))

    # --- places ---

    def css(self, x, y, canvas="axial", *, in_page=True):
        """Give the CSS pixel of the middle of an image pixel, as long as the image is fitted and pixels are square."""
        rect = self.run("return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()", canvas)
        width, height = self.size_wh
        scale = min(rect["width"] / width, rect["height"] / height) * FITTED
        left = (rect["width"] - width * scale) / 2 + (x + 0.5) * scale
        top = (rect["height"] - height * scale) / 2 + (y + 0.5) * scale
        return (left + rect["left"], top + rect["top"]) if in_page else (left, top)

    # --- mouse ---

    def mouse(self, kind, place, button="left", held="", modifiers=0, **more):
        event = {"type": kind, "x": place[0], "y": place[1], "modifiers": modifiers, **more}
        if kind in ("mousePressed", "mouseReleased"):
            event |= {"button": button, "clickCount": 1}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {**event, "buttons": BUTTONS.get(held, 0)})

    def drag(self, places, button="left", *, release=True):
        """Press at the first CSS place, move over the others, let go."""
        self.mouse("mouseMoved", places[0])
        self.mouse("mousePressed", places[0], button, held=button)
        for place in places[1:]:
            self.mouse("mouseMoved", place, button, held=button)
        if release:
            self.mouse("mouseReleased", places[-1], button)

    def draw(self, x_min, y_min, x_max, y_max, *, steps=4, release=True):
        """Draw a box from pixel to pixel."""
        shares = [step / steps for step in range(steps + 1)]
        places = [self.css(x_min + (x_max - x_min) * s, y_min + (y_max - y_min) * s) for s in shares]
        self.drag(places, release=release)

    def press_button(self, selector):
        """Click on an element in its middle."""
        rect = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'nearest'}); "
            "return e.getBoundingClientRect().toJSON()",
            selector,
        )
        place = (rect["x"] + rect["width"] / 2, rect["y"] + rect["height"] / 2)
        self.mouse("mousePressed", place, held="left")
        self.mouse("mouseReleased", place)

    # --- keys ---

    def key(self, key, *, times=1, ctrl=False, shift=False, alt=False):
        """Press a key by its name in browsers, such as "ArrowLeft" or "b"."""
        modifiers = 1 * alt + 2 * ctrl + 8 * shift
        event = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": _CODES.get(key, ord(key[0].upper()))}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 and not ctrl and not alt else "")
        for _ in range(times):
            down = {"type": "keyDown", **event, **({"text": text} if text else {})}
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", down)
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    # --- cases ---

    def open(self, name, size_wh):
        """Click on a case of the list, and wait until it is shown."""
        script = """
            const rows = [...document.querySelectorAll('#case-list button')];
            const row = rows.find((each) => each.querySelector('b').textContent === arguments[0]);
            row?.click();
            return Boolean(row);
        """
        self.wait(script, name)
        self.wait("return document.querySelector('#case-name').textContent === arguments[0]", name)
        self.size_wh = size_wh
        self.shown()

    def shown(self):
        """Wait until the slice is drawn: something on the canvas is not black."""
        script = """
            const canvas = document.getElementById('axial');
            const {width, height} = canvas;
            const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
            return data.some((value, at) => at % 4 < 3 && value > 30);
        """
        self.wait(script)


def brightness(colour):
    return float(np.mean(colour))


_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Delete": 46,
    "[": 219,
    "]": 221,
}
