"""Headless Chromium as the tests drive it: what it fetches and complains of is logged; skipped where there is none."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium(profile: Path):
    """Give a driver of a new browser with a profile folder of its own."""
    webdriver = pytest.importorskip("selenium.webdriver")
    service_module = pytest.importorskip("selenium.webdriver.chrome.service")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver_program = shutil.which("chromedriver")
    if program is None or driver_program is None:
        pytest.skip("no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=service_module.Service(driver_program))
    driver.execute_cdp_cmd("Network.enable", {})
    driver.get("about:blank")
    network_events(driver)  # of the browser's own first page
    try:
        yield driver
    finally:
        driver.quit()


def set_width(driver, width: int, *, height: int = 900, mobile: bool = False) -> None:
    """Give the page another size, in CSS pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def network_events(driver) -> list[dict]:
    """Give what the browser did on the network since the last call: events of the DevTools protocol."""
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
