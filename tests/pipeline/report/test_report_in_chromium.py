"""The page in a real browser; these tests skip where there is none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from maskmill.pipeline.output import Output
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.table.filters import SegmentFilter
from tests.chromium import Page, chromium
from tests.pipeline.report.conftest import CLASS, SCRIPT
from tests.plain_run import MANY_SEGMENTS, PLAIN, label

NAMES = "[...document.querySelectorAll('#class-table tbody tr')].map((row) => row.cells[0].textContent)"
NUMBERS = "[...document.querySelectorAll('#class-table tbody tr')].map((row) => Number(row.cells[{}].textContent) || 0)"
COLOURS = (
    "(() => { const canvas = document.getElementById('large-canvas'); const context = canvas.getContext('2d'); "
    "return context.getImageData(0, 0, canvas.width, canvas.height).data.reduce((sum, one, i) => "
    "(sum * 31 + one) % 1000000007, 0); })()"
)
"""A number that changes with the pixels of the large picture."""

LARGE_READY = "document.getElementById('large-canvas').dataset.painted === '{}'"
OPEN = "document.getElementById('large').open"


HEADINGS = "document.querySelector('#large-segments thead').textContent"

SHEET = (
    "[...document.querySelectorAll('.card canvas')].map((canvas) => { const data = "
    "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; "
    "return [new Set(data).size, data.reduce((sum, one, i) => (sum * 31 + one) % 1000000007, 0)]; })"
)
"""Of each picture on the contact sheet how many values its pixels have, and a number that changes with them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def file(strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "report.html"
    target.write_bytes(report(str(strangers), SegmentFilter(), ReportConfig()).html)
    return target


@pytest.fixture
def page(browser: Page, file: Path) -> Iterator[Page]:
    """The report, open; whatever a test does to it, the console stays silent and nothing is asked of the network."""
    browser.open(file)
    yield browser
    browser.run("localStorage.clear()")
    assert browser.errors == []
    asked = {url.partition("#")[0] for url in browser.requests if not url.startswith("data:image/jpeg;base64")}
    assert asked == {file.as_uri()}
    assert browser.run("window.pwned") is None


def test_the_contact_sheet_is_painted(page):
    assert page.run("document.querySelectorAll('.card').length") == 15
    page.until("document.querySelectorAll('.card canvas[data-painted=yes]').length === 15")
    with_masks = page.run(SHEET)
    assert all(values > 20 for values, _ in with_masks)
    page.click("#sheet-masks")
    bare = page.run(SHEET)
    page.press("m")
    assert page.run(SHEET) == with_masks
    page.press("f")
    assert len({str(one) for one in (bare, with_masks, page.run(SHEET))}) == 3, "bare, outlined, filled"


def test_text_of_shards_is_text(page):
    assert page.run("document.querySelectorAll('body script').length") == 2
    assert page.run("document.querySelectorAll('img, b[onclick], [onerror]').length") == 0
    for tab in ("random", "best", "worst"):
        page.click(f"#tab-{tab}")
        if SCRIPT in page.run("[...document.querySelectorAll('.words')].map((words) => words.textContent)"):
            break
    else:
        raise AssertionError("no image of strangers is shown")
    assert CLASS in page.run(NAMES)


def test_classes_are_sorted(page):
    assert page.run(NUMBERS.format(3)) == sorted(page.run(NUMBERS.format(3)), reverse=True)
    page.click("th[data-column=name] button")
    names = page.run(NAMES)
    assert page.run("document.querySelector('th[data-column=name]').ariaSort") == "ascending"
    assert page.run(f"JSON.stringify({NAMES}.sort((a, b) => a.localeCompare(b)))") == page.run(
        f"JSON.stringify({NAMES})"
    )
    page.click("th[data-column=name] button")
    assert page.run(NAMES)[0] != names[0]
    page.click("th[data-column=score] button")
    scores = [score for score in page.run(NUMBERS.format(5)) if score]
    assert scores == sorted(scores, reverse=True)
    assert page.run("document.querySelectorAll('th[aria-sort]').length") == 1


def test_classes_are_filtered(page):
    assert page.run(NAMES + ".length") == 40
    page.click("#class-more")
    assert page.run(NAMES + ".length") == 48
    page.write("#class-find", "RED d")
    assert page.run(NAMES) == ["red disc"]
    page.write("#class-find", "no such class")
    assert page.run(NAMES) == []
    page.write("#class-find", "<img")
    assert page.run(NAMES) == [CLASS]


def test_a_class_leads_to_its_images(page):
    page.click("#class-table tbody button")
    assert page.run("document.querySelector('#tabs [aria-selected=true]').id") == "tab-class"
    assert page.run("document.querySelectorAll('.card').length") > 0
    page.until("document.querySelector('.card canvas').dataset.painted === 'yes'")


def test_tabs_change_what_is_shown(page):
    confidences = "[...document.querySelectorAll('.confidence')].map((one) => Number(one.textContent))"
    page.click("#tab-best")
    best = page.run(confidences)
    page.click("#tab-worst")
    worst = page.run(confidences)
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert worst[0] < best[0]
    page.press("ArrowLeft")
    assert page.run("document.activeElement.id") == "tab-best"


def test_an_image_opens_large_and_its_masks_are_toggled(page):
    page.click("#tab-best")
    page.click(".card")
    page.until("document.getElementById('large-canvas').dataset.painted === '0'")
    assert page.run("document.getElementById('large').open")
    rows = page.run("document.querySelectorAll('#large-segments tbody tr').length")
    assert rows > 0
    masked = page.run(COLOURS)
    page.click("#large-segments tbody tr:first-child input")
    page.hover("#large-title")
    without = page.run(COLOURS)
    assert without != masked
    page.press("1")
    assert page.run(COLOURS) == masked
    page.press("m")
    bare = page.run(COLOURS)
    assert bare != masked
    assert (bare == without) == (rows == 1)
    assert page.run("document.getElementById('large-masks').checked") is False


def test_keys_lead_through_large_images(page):
    page.click(".card")
    page.until("document.getElementById('large-canvas').dataset.painted === '0'")
    first = page.run("document.getElementById('large-title').textContent")
    page.press("ArrowRight")
    page.until("document.getElementById('large-canvas').dataset.painted === '1'")
    assert page.run("document.getElementById('large-place').textContent").startswith("2 of ")
    page.press("ArrowLeft")
    page.until("document.getElementById('large-canvas').dataset.painted === '0'")
    assert page.run("document.getElementById('large-title').textContent") == first
    page.press("Escape")
    page.until("!document.getElementById('large').open")


def test_the_segment_under_the_pointer_is_named(page):
    page.click("#tab-best")
    page.click(".card")
    page.until("document.getElementById('large-canvas').dataset.painted === '0'")
    said = page.run(
        "(() => { const canvas = document.getElementById('large-canvas'), box = canvas.getBoundingClientRect(); "
        "const said = new Set(); for (let y = 0; y < 128; y++) for (let x = 0; x < 128; x++) { "
        "canvas.dispatchEvent(new PointerEvent('pointermove', "
        "{pointerType: 'mouse', clientX: box.x + (x + 0.5) * box.width / 128, "
        "clientY: box.y + (y + 0.5) * box.height / 128})); "
        "said.add(document.getElementById('large-here').textContent); } "
        "return [...said]; })()"
    )
    names = page.run("[...document.querySelectorAll('#large-segments bdi')].map((one) => one.textContent)")
    assert any(text.startswith(name) for text in said for name in names)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_page(page, width):
    page.resize((width, 800))
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("document.querySelector('.card a').click()")
    page.until("document.getElementById('large').open")
    assert page.run("document.documentElement.scrollWidth") <= width
    close = page.run(
        "(() => { const box = document.getElementById('large-close').getBoundingClientRect(); return box.right; })()"
    )
    assert close <= width


def test_charts_say_what_they_show(page):
    labels = page.run("[...document.querySelectorAll('#figures svg')].map((svg) => svg.getAttribute('aria-label'))")
    assert len(labels) == 3
    assert all("edian" in label for label in labels)
    assert page.run("document.querySelectorAll('#figures .bars li').length") == 12


def test_it_is_dark_where_the_reader_wants_it_dark(browser, file):
    grounds = []
    for dark in (False, True):
        browser.open(file, dark=dark)
        ground = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        ink = browser.run("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
        assert abs(sum(ground[:3]) - sum(ink[:3])) > 450
        grounds.append(sum(ground[:3]))
    assert grounds[0] > 600
    assert grounds[1] < 120


def test_masks_without_their_image_and_failed_shards_are_told(browser, tiny, scenes, tmp_path):
    import shutil

    from maskmill.pipeline.output import Output
    from tests import plain_run

    shards = [Path(shutil.copy(shard, tmp_path / shard.name)) for shard in scenes]
    plain_run.label(tiny, shards, Output.of(str(tmp_path / "out")), only=1)
    shards[0].unlink()
    target = tmp_path / "report.html"
    target.write_bytes(report(str(tmp_path / "out"), SegmentFilter(), ReportConfig()).html)
    browser.open(target)
    assert "masks alone" in browser.run("document.querySelector('details.notice').textContent")
    assert "1 shard missing" in browser.run("document.getElementById('ledger-lists').textContent")
    assert "incomplete: 1 of 2 shards has no labels" in browser.run("document.getElementById('incomplete').textContent")
    assert "1 missing" in browser.run("document.getElementById('numbers').textContent")
    browser.click(".card")
    browser.until("document.getElementById('large-canvas').dataset.painted === '0'")
    assert "masks alone" in browser.run("document.getElementById('large-notes').textContent")
    assert browser.errors == []


def test_an_empty_report_is_a_page(browser, strangers, tmp_path):
    target = tmp_path / "report.html"
    target.write_bytes(report(str(strangers), SegmentFilter(min_area=10**9), ReportConfig()).html)
    browser.open(target)
    assert "No image has a segment that passes." in browser.run("document.getElementById('cards').textContent")
    assert browser.errors == []


def test_agreement_has_a_column_where_there_is_one(browser, tiny, scenes, tmp_path):
    config = replace(PLAIN, inference=replace(MANY_SEGMENTS, agreement="flip"))
    label(tiny, scenes[:1], Output.of(str(tmp_path / "out")), config)
    (tmp_path / "report.html").write_bytes(report(str(tmp_path / "out"), SegmentFilter(), ReportConfig(images=4)).html)
    browser.open(tmp_path / "report.html")
    browser.click("#tab-best")
    browser.click(".card")
    browser.until("document.getElementById('large-canvas').dataset.painted === '0'")
    assert "Agreement" in browser.run(HEADINGS)
    cells = browser.run("[...document.querySelector('#large-segments tbody tr').cells].map((cell) => cell.textContent)")
    assert len(cells) == 6, "class, score, stability, agreement, IoU, area"
    told = browser.run(
        "JSON.parse(document.getElementById('data').textContent).pictures.flatMap((picture) => picture.segments)"
        ".map((segment) => [segment.name, segment.agreement.toFixed(2)])"
    )
    assert [cells[0].lstrip("123456789"), cells[3]] in told
    assert browser.errors == []


def test_without_agreement_there_is_no_column(page):
    page.click("#tab-best")
    page.click(".card")
    page.until("document.getElementById('large-canvas').dataset.painted === '0'")
    assert "Agreement" not in page.run(HEADINGS)
