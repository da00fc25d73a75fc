"""The page in a real browser: it plays, scrubs, and asks nobody outside."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="module")
def address(demo, tmp_path_factory):
    """A running dashboard."""
    if not CHROMIUM.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs the Debian package chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app", "--data", demo / "data", "--runs", demo / "runs", "--port", str(port)]
    log = tmp_path_factory.mktemp("server") / "log"
    with open(log, "w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    yield url
    server.terminate()
    server.wait(20)


@pytest.fixture
def page(address):
    """The replay page; console errors and outside requests fail the test."""
    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))

        def watch(request):
            if not request.url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
                faults.append(f"outside request: {request.url}")

        page.on("request", watch)
        page.goto(address)
        page.wait_for_selector(".player[data-frame]", timeout=60_000)
        yield page
        browser.close()
    assert faults == []


def frame(page):
    return int(page.get_attribute(".player", "data-frame"))


def test_it_plays_and_pauses(page):
    page.click("button[aria-label=play]")
    page.wait_for_timeout(2000)
    assert frame(page) > 5
    page.click("button[aria-label=pause]")
    stopped = frame(page)
    page.wait_for_timeout(500)
    assert frame(page) == stopped


def test_it_scrubs_and_steps(page):
    page.fill("input[type=range]", "12")
    page.wait_for_timeout(200)
    assert frame(page) == 12
    assert "frame 13 of" in page.inner_text(".numbers")
    page.focus(".player")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert frame(page) == 14
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    assert frame(page) == 0


def test_the_canvases_are_drawn(page):
    page.fill("input[type=range]", "10")
    page.wait_for_timeout(300)
    for name in ("street", "spectrum", "rssi"):
        colours = page.locator(f"canvas.{name}").evaluate(
            "(c) => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colours > 3, name


def test_predictions_are_named_and_another_run_can_be_chosen(page):
    page.fill("input[type=range]", "15")
    page.wait_for_timeout(200)
    assert "predicted" in page.inner_text(".numbers")
    page.locator("[data-testid=stSelectbox]").nth(2).click()
    page.get_by_role("option", name="no prediction").click()
    page.wait_for_timeout(2500)
    assert "predicted" not in page.inner_text(".legend")
