"""The leaderboard page: what stands in it, and that a real browser shows, sorts, switches, enlarges and prints it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from browsers import chromium, network_events, set_width

from evaluation.rank.examples import Example
from evaluation.rank.page import PageText, render_report
from evaluation.rank.panels import draw_panels, fullest_slice
from evaluation.rank.read import TeamScores, build_table
from evaluation.rank.statistics import rank_teams

HOSTILE = '<script>alert("x")</script> & Söhne'


def pixels(png: bytes | None):
    """Decode a PNG to (H, W, 3) RGB."""
    assert png is not None
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def example_page(notes: tuple[str, ...] = ()) -> str:
    """Three teams, two modalities; the order by place is Alpha, Beta, hostile; by runtime the reverse."""
    cases = [f"2DBox_CT_{index}" for index in range(4)] + [f"3DBox_MR_{index}" for index in range(4)]

    def team(name: str, score: float, seconds: float) -> TeamScores:
        rows = {case: {"dsc": score - 0.01 * i, "nsd": score, "seconds": seconds} for i, case in enumerate(cases)}
        return TeamScores(name, rows)

    ranking = rank_teams(
        build_table([team("Beta", 0.8, 5.0), team("Alpha", 0.9, 7.0), team(HOSTILE, 0.7, 3.0)]), resamples=50
    )
    image = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (12, 1))
    labels = np.zeros((12, 16), np.uint8)
    labels[3:8, 4:9] = 1
    panels = draw_panels(image, labels, np.roll(labels, 2, axis=1), longest_px=96)
    lost = draw_panels(image, labels, None, longest_px=96)
    examples = [
        Example(team=name, case=case, kind=kind, panels=lost if kind == "worst" else panels)
        for name in ("Alpha", "Beta", HOSTILE)
        for case, kind in ((cases[0], "best"), (cases[7], "worst"))
    ]
    return render_report(
        ranking, text=PageText(title=f"Board {HOSTILE}", scoring="official", notes=notes), examples=examples
    )


class Links(HTMLParser):
    """Collects every address that a browser might fetch, and the tags that stand open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_nested_and_fetches_nothing():
    page = example_page()
    parser = Links()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses
    assert all(address.startswith("data:") for address in parser.addresses)
    assert not re.search(r"@import|url\(|https?://", page)


def test_names_and_notes_are_escaped_everywhere():
    page = example_page(notes=(HOSTILE,))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") > 10


def test_scores_are_shown_as_percent_and_times_as_seconds():
    page = example_page()
    # Alpha's DSC: 0.9 minus the mean of 0, 0.01 .. 0.07, that is 0.865
    assert re.search(r'data-value="0.865000"><b>86.50</b>', page)
    assert re.search(r'data-label="Runtime \(s\)" data-value="7.000000">7.00<', page)


def test_one_team_alone_has_a_page_without_a_matrix():
    ranking = rank_teams(build_table([TeamScores("solo", {"2DBox_CT_1": {"dsc": 1.0, "nsd": 1.0}})]), resamples=0)
    page = render_report(ranking, text=PageText(title="t", scoring="honest"))
    assert "1 team<" in page
    assert 'id="significance"' not in page
    assert 'id="cases"' not in page


def test_a_volume_is_shown_by_its_slice_with_most_reference():
    reference = np.zeros((4, 3, 3), np.uint8)
    reference[1, 0, 0] = 1
    reference[2, :2, 0] = 3
    assert fullest_slice(reference, None) == 2
    prediction = np.zeros_like(reference)
    prediction[3, 0, 0] = 1
    assert fullest_slice(np.zeros_like(reference), prediction) == 3
    assert fullest_slice(np.zeros_like(reference), None) == 2  # nothing anywhere: the middle of 0..3


def test_panels_keep_the_images_proportions_and_show_where_the_prediction_is_wrong():
    image = np.zeros((20, 40), np.uint8)
    reference = np.zeros((20, 40), np.uint8)
    reference[5:15, 5:15] = 1
    panels = draw_panels(image, reference, np.zeros_like(reference), longest_px=80)
    assert pixels(panels.image).shape == (40, 80, 3)
    drawn = pixels(panels.prediction)
    # the reference's outline in dashes of 3, though nothing was predicted: (10 + 10) // 3 is even, (10 + 11) // 3 odd
    assert drawn[10, 10].tolist() == [255, 255, 255]
    assert drawn[10, 11].tolist() == [0, 0, 0]
    assert drawn[20, 20].tolist() == [0, 0, 0]
    assert panels.slice_index is None


@pytest.mark.parametrize("image", [np.full((6, 6), 7.5, np.float32), np.full((6, 6, 3), 300, np.int32)])
def test_a_constant_image_of_another_type_is_drawn_black(image):
    panels = draw_panels(image, np.zeros((6, 6), np.uint8), None)
    assert not pixels(panels.image).any()


def test_a_prediction_of_another_shape_is_not_drawn():
    panels = draw_panels(np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8), np.zeros((6, 5), np.uint8))
    assert panels.prediction is None


# --- in a real browser ---


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Open the page in headless Chromium, network and console logged; skip where there is no Chromium."""
    page = tmp_path_factory.mktemp("page") / "leaderboard.html"
    page.write_text(example_page(), encoding="utf-8")
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        driver.get(page.as_uri())
        yield driver


def click(driver, selector: str, index: int = 0) -> None:
    element = driver.find_elements("css selector", selector)[index]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def column(driver, number: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll('.sortable tbody tr')].map(row => row.cells[arguments[0]].dataset.value)"
    )
    return driver.execute_script(script, number)


@pytest.mark.slow
def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round(browser):
    set_width(browser, 1280)
    assert column(browser, 1) == ["Alpha", "Beta", HOSTILE]
    click(browser, ".sortable thead button", 5)  # runtime: the shortest first
    assert column(browser, 1) == [HOSTILE, "Beta", "Alpha"]
    click(browser, ".sortable thead button", 5)
    assert column(browser, 1) == ["Alpha", "Beta", HOSTILE]
    click(browser, ".sortable thead button", 3)  # DSC: the greatest first
    values = [float(value) for value in column(browser, 3)]
    assert values == sorted(values, reverse=True)
    sorted_by = browser.find_elements("css selector", ".sortable thead [aria-sort]")
    assert [head.text.split()[0] for head in sorted_by] == ["DSC"]


@pytest.mark.slow
def test_tabs_show_one_metric_and_one_team_at_a_time(browser):
    set_width(browser, 1280)
    for section, panels in (("modalities", 3), ("significance", 4), ("cases", 3)):
        for index in range(panels):
            click(browser, f"#{section} [role=tab]", index)
            shown = [p.is_displayed() for p in browser.find_elements("css selector", f"#{section} .panel")]
            assert shown == [other == index for other in range(panels)]


@pytest.mark.slow
def test_a_click_on_a_case_shows_it_large_and_closes_again(browser):
    set_width(browser, 1280)
    click(browser, "#cases [role=tab]", 0)
    click(browser, "figure .pictures", 1)
    dialog = browser.find_element("css selector", "dialog")
    assert dialog.is_displayed()
    assert "2DBox_CT_0" in dialog.text
    small = browser.find_element("css selector", "figure .pictures img").size["width"]
    assert dialog.find_element("css selector", "img").size["width"] > 2 * small
    click(browser, "dialog .close")
    assert not dialog.is_displayed()


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_reaches_over_the_side_of_any_screen(browser, width):
    set_width(browser, width, mobile=width < 700)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('#leaderboard .number, #leaderboard th, figure, .bar em, .tabs "
        "button')]"
        ".filter(e => e.offsetParent && (e.getBoundingClientRect().right > innerWidth || "
        "e.getBoundingClientRect().left < 0))"
        ".map(e => e.outerHTML)"
    )
    assert outside == []


@pytest.mark.slow
def test_every_picture_is_decoded(browser):
    sizes = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    # 3 teams x (2 pictures of a lost case + 3 of another)
    assert len(sizes) >= 15
    assert min(sizes) > 0


@pytest.mark.slow
def test_print_shows_all_panels_and_no_buttons(browser):
    set_width(browser, 1280)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('.panel')].filter(e => getComputedStyle(e).display === 'none').length"
    )
    buttons = [tab.is_displayed() for tab in browser.find_elements("css selector", "[role=tab]")]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert (hidden, any(buttons)) == (0, False)
    document = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert document.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", document)) <= 8


@pytest.mark.slow
def test_the_browser_fetched_one_file_and_complained_of_nothing(browser):
    """Runs last: looks back on everything that the tests before it did."""
    events = network_events(browser)
    addresses = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    outside = [address for address in addresses if not address.startswith("data:")]
    assert [address.rsplit("/", 1)[-1] for address in outside] == ["leaderboard.html"]
    assert browser.get_log("browser") == []
