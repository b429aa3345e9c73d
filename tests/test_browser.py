"""The built pages in a browser without a network: each of them, by day and by night.

`make test` builds the pages and says where they are in LLRNB_PAGES.
"""

import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError, sync_playwright

PAGES = Path(os.environ.get("LLRNB_PAGES", "_build/html"))
FILES = sorted(p.relative_to(PAGES) for p in PAGES.rglob("*.html"))
# Without the entry, which only sends on to the first page, and the theme's templates.
NAMES = [p.as_posix() for p in FILES if p.name != "index.html" and p.parts[0] != "_static"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

# A pattern in a console error, and why it does not matter. So far there is none.
HARMLESS: dict[str, str] = {}

SERIOUS = {"serious", "critical"}  # of axe-core's verdicts on accessibility
# By night a page has other colours and is otherwise the same.
RULES = {"light": {}, "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}}}

# Whether a page that has a theme has changed to that of a mode.
IN_MODE = "(mode) => (document.documentElement.dataset.theme ?? mode) === mode"

# What a reader would see to be broken, as a list of sentences.
LOOK = r"""async () => {
    await window.MathJax?.startup?.promise;
    const found = [];
    const all = (selector) => [...document.querySelectorAll(selector)];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const [text, parent] = [texts.currentNode.data, texts.currentNode.parentElement];
        if (text.includes("Traceback (most recent call last)")) found.push("a traceback");
        if (parent.closest("script, style, pre, code, mjx-container")) continue;
        if (/\\\(|\\\[|\$\$/.test(text)) found.push(`raw TeX: ${text.trim().slice(0, 80)}`);
    }
    for (const math of all(".math"))
        if (!math.querySelector("mjx-container")) found.push(`raw formula: ${math.textContent}`);
    for (const error of all("[data-mml-node=merror]"))
        found.push(`formula with an error: ${error.getAttribute("data-mjx-error")}`);
    for (const image of all("img")) {
        const [source, alt] = [image.getAttribute("src"), image.getAttribute("alt")];
        if (!alt?.trim()) found.push(`picture without a description: ${source}`);
        await image.decode().catch(() => {});
        if (!image.naturalWidth) found.push(`picture that does not show: ${source}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the window");
    return found;
}"""


def faults(browser, url: str) -> list[str]:
    """What is wrong with the page at ``url`` on a phone-sized screen, by day and then by night."""
    found = []
    host = "/".join(url.split("/")[:3]) + "/"

    def guard(route):
        outside = not route.request.url.startswith((host, "data:", "blob:"))
        if outside:
            found.append(f"request to another host: {route.request.url}")
        route.abort() if outside else route.continue_()

    def console(message):
        if message.type == "error" and not any(re.search(p, message.text) for p in HARMLESS):
            found.append(f"console: {message.text}")

    def response(response):
        if response.status >= 400:
            found.append(f"missing file: {response.url}")

    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.route("**/*", guard)
    page = context.new_page()
    page.on("console", console)
    page.on("response", response)
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))
    page.emulate_media(color_scheme="light")
    page.goto(url, wait_until="load")
    for mode in ("light", "dark"):
        page.emulate_media(color_scheme=mode)
        try:
            page.wait_for_function(IN_MODE, arg=mode, timeout=2000)
        except TimeoutError:
            found.append(f"{page.get_attribute('html', 'data-theme')} page in {mode} mode")
        found += page.evaluate(LOOK)
        found += [f"{mode}: {obstacle}" for obstacle in obstacles(page, RULES[mode])]
    context.close()
    return found


def obstacles(page, rules: dict) -> list[str]:
    """What axe-core finds to be a serious obstacle to some readers."""
    options = {"resultTypes": ["violations"], "preload": False, **rules}
    # By day formulas are looked at, too; they have the colour of the text around them.
    context = {"exclude": [["mjx-container"]]} if rules else None
    answer = Axe().run(page, context=context, options=options).response
    return [
        f"axe {violation['id']}: {place['html'][:120]}"
        for violation in answer["violations"]
        if violation["impact"] in SERIOUS
        for place in violation["nodes"]
    ]


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"none of {', '.join(BROWSERS)} is on the PATH"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def serve():
    """Serve a folder on this machine; returns its address."""
    servers = []

    def start(folder: Path) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)))
        Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()


def test_the_book_is_built():
    assert NAMES, f"no pages in {PAGES}: `make test` and `make book` build them"
    assert "book/intro.html" in (PAGES / "index.html").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_reads_offline(browser, serve, name):
    assert faults(browser, f"{serve(PAGES)}/{name}") == []


# A page of source code may show the words.
EXPLORERS = [
    name
    for name in NAMES
    if not name.startswith("_modules") and 'class="explorer"' in (PAGES / name).read_text()
]
# Controls without a name, pictures without a description, or wider than their frame.
UNFIT = """(root) => [
    ...[...root.querySelectorAll("select, input")].filter((one) => !one.labels[0]?.innerText),
    ...[...root.querySelectorAll("svg[role=img]")].filter((one) => !one.ariaLabel),
    ...[root, ...root.querySelectorAll(".panel")].filter((b) => b.scrollWidth > b.clientWidth),
].map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture
def from_disk(browser):
    """Open a page as a file, on a phone-sized screen; requests to any host are a failure."""
    contexts = []

    def start(name: str, mode: str = "light"):
        context = browser.new_context(color_scheme=mode, viewport={"width": 390, "height": 844})
        contexts.append(context)
        page = context.new_page()
        asked = []
        page.on("request", lambda r: asked.append(r.url) if r.url.startswith("http") else None)
        page.goto((PAGES / name).absolute().as_uri())
        assert not asked
        return page

    yield start
    for context in contexts:
        context.close()


def seen(explorer) -> tuple[str, str]:
    """What an explorer shows: the picture and the sentence."""
    return explorer.locator(".panels").inner_html(), explorer.locator(".readout").inner_text()


def moved_controls(page, turn: int) -> list[bool]:
    """Move every control by one value, in this or the other order; which of them were free to."""
    moved = []
    for explorer in page.locator(".explorer").all():
        assert explorer.evaluate(UNFIT) == []
        controls = explorer.locator("select, input").all()[::turn]
        moved += [moves(page, explorer, control) for control in controls][::turn]
        assert explorer.evaluate(UNFIT) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return moved


def moves(page, explorer, control) -> bool:
    """Whether the keys move a control; if they do, picture and sentence must change."""
    value, before = control.input_value(), seen(explorer)
    control.focus()
    for key in ("ArrowDown", "ArrowUp"):  # of a slider: one value less, and more
        page.keyboard.press(key)
        if control.input_value() != value:
            assert all(now != then for now, then in zip(seen(explorer), before, strict=True))
            return True
    return False


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", EXPLORERS)
def test_every_control_changes_the_picture_by_keyboard(from_disk, name, mode):
    # A control may be free only after another has moved, or only before.
    moved = [moved_controls(from_disk(name, mode), turn) for turn in (1, -1)]
    assert moved[0] and all(map(any, zip(*moved, strict=True)))


@pytest.mark.parametrize("name", EXPLORERS)
def test_what_plays_can_be_paused(from_disk, name):
    page = from_disk(name)
    for button in page.locator(".explorer button").all():
        explorer = button.locator("xpath=ancestor::div[@class='explorer']")
        before = seen(explorer)
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_timeout(700)
        page.keyboard.press("Enter")
        after = seen(explorer)
        page.wait_for_timeout(400)
        assert after != before and seen(explorer) == after


@pytest.mark.parametrize("name", [name for name in EXPLORERS if "fig3" in name])
def test_hovering_tells_the_numbers(from_disk, name):
    page = from_disk(name)
    explorer = page.locator(".explorer").first
    explorer.locator("svg[role=img]").first.hover(position={"x": 70, "y": 90})
    left = explorer.locator(".readout").inner_text()
    explorer.locator("svg[role=img]").first.hover(position={"x": 250, "y": 90})
    right = explorer.locator(".readout").inner_text()
    for word in ("mean test error", "95% interval", "trials recovered", "train loss"):
        assert word in left and word in right
    assert left != right


@pytest.mark.parametrize("name", EXPLORERS)
def test_day_and_night_have_their_own_inks(from_disk, name):
    ink = """() => {
        const explorer = document.querySelector(".explorer");
        const line = explorer.querySelector("svg [stroke='var(--c0)'], svg [fill*='var(--c']");
        return [getComputedStyle(explorer).color, line && getComputedStyle(explorer)
            .getPropertyValue("--c0")];
    }"""
    day, night = (from_disk(name, mode).evaluate(ink) for mode in ("light", "dark"))
    assert all(one != other for one, other in zip(day, night, strict=True))


# What any page needs: a browser asks for an icon, and a reader for a title and a language.
HEAD = '<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,">'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', "request to another host"),
        ('<img src="//example.org/x.png" alt="x">', "request to another host"),
        (r"<p>let \(x\) be</p>", r"raw TeX: let \(x\) be"),
        ("<p>$$ x $$</p>", "raw TeX"),
        ('<span class="math">x</span>', "raw formula: x"),
        ('<g data-mml-node="merror" data-mjx-error="Undefined"></g>', "error: Undefined"),
        ("<pre>Traceback (most recent call last)</pre>", "a traceback"),
        ('<img src="missing.png" alt="x">', "picture that does not show: missing.png"),
        ('<img src="missing.png" alt="x">', "missing file"),
        ('<img src="missing.png" alt=" ">', "picture without a description"),
        ('<script>console.error("oh")</script>', "console: oh"),
        ("<script>undefinedFunction()</script>", "script error"),
        ('<p style="width: 2000px">wide</p>', "wider than the window"),
        ('<p style="color: #aaa; background: #fff">pale</p>', "axe color-contrast"),
        ("<input>", "axe label"),
        ('<script>document.documentElement.dataset.theme = "dark"</script>', "dark page"),
    ],
)
def test_each_fault_is_seen(browser, serve, tmp_path, body, fault):
    (tmp_path / "page.html").write_text(f"{HEAD}{body}")
    assert any(fault in f for f in faults(browser, f"{serve(tmp_path)}/page.html"))


def test_a_good_page_has_no_faults(browser, serve, tmp_path):
    (tmp_path / "page.html").write_text(rf"{HEAD}<p>Fine.</p><code>\(x\)</code>")
    assert faults(browser, f"{serve(tmp_path)}/page.html") == []
