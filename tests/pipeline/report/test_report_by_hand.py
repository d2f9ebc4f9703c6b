"""What a reader does with the page, in a real browser: keys, addresses, search, slider, truth, marks, a phone."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from maskmill.models.segmenter import Segmenter
from maskmill.pipeline.output import Output
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.table.filters import SegmentFilter
from tests import plain_run
from tests.chromium import Page, chromium

OPEN = "document.getElementById('large').open"
CLOSED = f"!{OPEN} && !location.hash.includes('/')"  # the way back in the history, which restores the view, ends later
READY = "document.getElementById('large-canvas').dataset.painted !== undefined"
SHOWN = "[...document.querySelectorAll('.card a')].map((card) => decodeURIComponent(card.hash.split('/')[1]))"
HASH = "decodeURIComponent(location.hash)"
PICTURES = "JSON.parse(document.getElementById('data').textContent).pictures"
TWIN = "кот/1 猫?#%"
"""A key of two samples, with all that an address has to write otherwise."""

ALL_PAINTED = "[...document.querySelectorAll('.card canvas')].slice(0, 4).every((one) => one.dataset.painted === 'yes')"
PIXELS = (
    "(() => { const canvas = document.querySelector('{}'); return canvas.getContext('2d')"
    ".getImageData(0, 0, canvas.width, canvas.height).data.reduce((sum, one) => (sum * 31 + one) % 1000000007, 0); })()"
)


def pixels(selector: str) -> str:
    """A number that changes with the pixels of a canvas."""
    return PIXELS.replace("{}", selector)


def numbers_of(text: str) -> list[int]:
    return [int(word) for word in text.replace(",", "").split() if word.isdigit()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def file(tiny: Segmenter, scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a shard of scenes, with truth, and one without, in which two samples have one key."""
    import tarfile

    folder = tmp_path_factory.mktemp("by-hand")
    with tarfile.open(scenes[0]) as archive:
        images = [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")]
    members = {f"{TWIN}.jpg": images[0], f"{TWIN}.txt": "Красный диск".encode(), "other.jpg": images[1]}
    twins = plain_run.write_tar(folder / "twins-0.tar", members), plain_run.write_tar(folder / "twins-1.tar", members)
    plain_run.label(tiny, [scenes[0], *twins], Output.of(str(folder / "out")))
    target = folder / "report.html"
    made = report(str(folder / "out"), SegmentFilter(), ReportConfig(title="Сцены 猫 <b>"))
    target.write_bytes(made.html)
    return target


@pytest.fixture
def page(browser: Page, file: Path) -> Iterator[Page]:
    browser.open(file)
    yield browser
    browser.run("localStorage.clear()")
    assert browser.errors == []


def test_the_title_is_text(page):
    assert page.run("document.querySelector('h1').textContent") == "Сцены 猫 <b>"
    assert page.run("document.title").startswith("Сцены 猫 <b>")
    assert page.run("document.getElementById('about').textContent").count("/out")


def test_the_segment_under_the_mouse_is_filled(page):
    page.click("#tab-all")
    page.write("#find", "000000002")
    page.run("document.activeElement.blur()")
    page.press("t")  # the truth has no gaps
    page.until("document.querySelector('.card canvas').dataset.painted === 'yes'")
    outlined = page.run(pixels(".card canvas"))
    page.hover(".card canvas", 0.1, 0.9)
    page.until(f"{pixels('.card canvas')} !== {outlined}")
    page.hover("h1")
    page.until(f"{pixels('.card canvas')} === {outlined}")


def test_an_image_has_an_address_and_the_way_back_leads_to_its_view(page):
    page.click("#tab-worst")
    assert page.run(HASH) == "#worst"
    key = page.run(SHOWN)[0]
    page.click(".card")
    page.until(READY)
    assert page.run(HASH).startswith(f"#worst/{key}")
    page.back()
    page.until(CLOSED)
    assert page.run(HASH) == "#worst"
    page.back()
    page.until("location.hash === ''")
    assert page.run("document.querySelector('#tabs [aria-selected=true]').id") == "tab-random"
    page.run("void history.forward()")
    page.until("location.hash === '#worst'")
    page.run("void history.forward()")
    page.until(READY)
    page.press("Escape")
    page.until("location.hash === '#worst'")
    assert not page.run(OPEN)


def test_an_address_opens_its_image_when_the_page_is_loaded(browser, file):
    browser.open(file, fragment="#best/other")
    browser.until(READY)
    assert browser.run("document.getElementById('large-title').textContent") == "other"
    browser.click("#large-close")
    browser.until(CLOSED)
    assert browser.run("location.hash") in ("#best", "#all")
    assert browser.errors == []


@pytest.mark.parametrize("place", [1, 2])
def test_samples_of_one_key_have_addresses_of_their_own(browser, file, place):
    ending = "" if place == 1 else "/2"
    browser.open(file, fragment=f"#all/{quote(TWIN, safe='')}{ending}")
    browser.until(READY)
    assert browser.run("document.getElementById('large-title').textContent") == TWIN
    assert f"twins-{place - 1}.tar" in browser.run("document.getElementById('large-facts').textContent")
    assert browser.errors == []


@pytest.mark.parametrize("fragment", ["#all/nowhere", "#all/%E0%A4%A", "#all/other/99", "#all/other/x"])
def test_an_address_of_no_image_is_told(browser, file, fragment):
    browser.open(file, fragment=fragment)
    assert browser.run("document.getElementById('lost').hidden") is False
    assert not browser.run(OPEN)
    assert browser.errors == []


@pytest.mark.parametrize("fragment", ["#ledger", "#nonsense/a/b", "#class", "#class-99999", "#__proto__/x", "#"])
def test_other_addresses_do_no_harm(browser, file, fragment):
    browser.open(file, fragment=fragment)
    assert browser.run("document.getElementById('cards').childElementCount") > 0
    assert browser.errors == []


def test_search_finds_keys_and_captions(page):
    page.press("/")
    assert page.run("document.activeElement.id") == "find"
    page.write("#find", "КРАСНЫЙ")
    assert page.run(SHOWN) == [TWIN, TWIN]
    assert page.run("location.hash") == "#all"
    page.write("#find", "猫?#")
    assert page.run(SHOWN) == [TWIN, TWIN]
    page.write("#find", "m")
    assert page.run("document.getElementById('sheet-masks').checked"), "letters in a field are no commands"
    page.write("#find", "no such words")
    assert page.run(SHOWN) == []
    assert "No key or caption" in page.run("document.getElementById('cards').textContent")


def slide(page: Page, value: float) -> None:
    page.run(f"(() => {{ const it = document.getElementById('least'); it.value = '{value}'; it.oninput(); }})()")


def test_the_slider_hides_segments_and_moves_the_counts(page):
    page.click("#tab-all")
    scores = page.run(f"{PICTURES}.flatMap((picture) => picture.segments.map((segment) => segment.score))")
    middle = sorted(scores)[len(scores) // 2]
    said = "document.getElementById('tab-note').textContent"
    assert numbers_of(page.run(said).replace(".", " "))[-1] == len(scores)
    page.until(ALL_PAINTED)
    before = page.run(pixels(".card canvas"))
    slide(page, round(middle + 0.005, 2))
    value = page.run("Number(document.getElementById('least').value)")
    passing = sum(score >= value for score in scores)
    assert f"{passing} of {len(scores)} segments" in page.run(said)
    classes = page.run(
        f"new Set({PICTURES}.flatMap((picture) => picture.segments.filter((one) => one.score >= {value})"
        ".map((one) => one.id))).size"
    )
    assert page.run("document.querySelector('#tab-class .count').textContent") == str(classes)
    slide(page, 1)
    page.until(f"{pixels('.card canvas')} !== {before}")
    page.write("#find", "000000008")
    page.click(".card")
    page.until(READY)
    assert page.run("[...document.querySelectorAll('#large-segments tbody tr')].every((row) => row.hidden)")
    assert "below the score" in page.run("document.getElementById('large-left').textContent")


def test_truth_is_shown_in_place_of_labels(page):
    page.click("#tab-all")
    page.write("#find", "0000")
    page.until(ALL_PAINTED)
    labels = page.run(pixels(".card canvas"))
    page.press("Escape")
    page.run("document.activeElement.blur()")
    page.press("t")
    assert page.run("document.getElementById('sheet-truth').checked")
    assert page.run(pixels(".card canvas")) != labels
    page.click(".card")
    page.until(READY)
    key = page.run("document.getElementById('large-title').textContent")
    names = page.run("[...document.querySelectorAll('#large-segments tbody bdi')].map((one) => one.textContent)")
    shown = page.run(f"{PICTURES}.find((one) => one.key === {json.dumps(key)}).truth.segments.map((one) => one.name)")
    assert names == shown
    assert "Pixels right" in page.run("document.getElementById('large-facts').textContent")
    page.press("t")
    assert page.run("document.querySelector('#large-segments th').textContent") == "Segment"


def test_images_are_put_in_order_of_their_iou(page):
    page.click("#tab-all")
    read = (
        "[...document.querySelectorAll('.card')].map((one) => one.querySelector('.iou')?.textContent.slice(4) ?? null)"
    )
    for order, sign in (("low", 1), ("high", -1)):
        page.run(f"(() => {{ const it = document.getElementById('order'); it.value = '{order}'; it.onchange(); }})()")
        found = page.run(read)
        with_truth = [float(one) for one in found if one is not None]
        assert len(with_truth) == 10
        assert with_truth == sorted(with_truth, key=lambda one: sign * one)
        assert found[10:] == [None] * 4, "images without truth come last"


def test_digits_switch_the_classes_of_the_sheet(page):
    page.until(ALL_PAINTED)
    pressed = "document.querySelector('#legend button').getAttribute('aria-pressed')"
    sheet = (
        f"[...document.querySelectorAll('.card canvas')].map((_, place) => {pixels('.card:nth-child(PLACE) canvas')})"
    )
    sheet = sheet.replace("'.card:nth-child(PLACE) canvas'", "`.card:nth-child(${place + 1}) canvas`")
    page.until("[...document.querySelectorAll('.card canvas')].every((one) => one.dataset.painted === 'yes')")
    before = page.run(sheet)
    page.press("1")
    assert page.run(pressed) == "false"
    page.until(f"JSON.stringify({sheet}) !== {json.dumps(json.dumps(before, separators=(',', ':')))}")
    page.press("1")
    assert page.run(pressed) == "true"


def test_marked_images_are_a_list_of_keys(page, file):
    page.click("#tab-all")
    page.hover(".card:nth-child(2)")
    page.click(".card:nth-child(2) .star")
    page.click(".card:nth-child(4) a")
    page.until(READY)
    page.press("s")
    marked = {page.run(SHOWN)[1], page.run(SHOWN)[3]}
    assert page.run("document.querySelector('#large-star .star').getAttribute('aria-pressed')") == "true"
    page.press("Escape")
    page.until(CLOSED)
    page.click("#tab-marked")
    assert set(page.run(SHOWN)) == marked
    assert set(page.run("document.getElementById('marked-keys').value").split("\n")) == marked
    page.click("#marked-copy")
    page.until("document.getElementById('marked-copied').textContent.endsWith('copied.')")
    page.reload()
    assert page.run("document.querySelector('#tab-marked .count').textContent") == "2"
    page.click(".card .star")
    assert page.run("document.querySelector('#tab-marked .count').textContent") == "1"


TARGETS = (
    "[...document.querySelectorAll('button, select, input, summary, .card a, .notice a')].filter((one) => "
    "one.offsetParent).map((one) => (one.closest('label.check, .segments label') || one))"
    ".map((one) => { const box = one.getBoundingClientRect(); "
    "return [one.id || one.className || one.textContent, box.width, box.height]; })"
    ".filter(([, width, height]) => Math.min(width, height) < 43.5)"
)
"""What a finger has to hit that is smaller than 44 pixels, with its sizes."""


def test_on_a_phone_the_page_is_short_and_fingers_find_their_targets(browser, file):
    browser.open(file, size=(390, 844))
    assert browser.run("document.documentElement.scrollHeight") < 5000
    assert browser.run(TARGETS) == []
    lefts = "new Set([...document.querySelectorAll('{}')].map((one) => Math.round(one.getBoundingClientRect().x))).size"
    assert browser.run(lefts.format(".card")) == 2
    assert browser.run(lefts.format("#numbers > div")) == 2
    browser.run("document.querySelector('.card a').click()")
    browser.until(READY)
    assert browser.run(TARGETS) == []
    assert browser.errors == []


def test_on_a_phone_no_number_of_a_class_is_hidden(browser, file):
    browser.open(file, size=(390, 844))
    outside = browser.run(
        "[...document.querySelectorAll('#class-table tbody td')].filter((cell) => { const box = "
        "cell.getBoundingClientRect(); return box.width < 20 || box.left < 0 || box.right > 390 || "
        "cell.scrollWidth > cell.clientWidth + 1; }).map((cell) => cell.textContent)"
    )
    assert outside == []
    assert browser.run("document.querySelectorAll('#class-table tbody tr').length") == 10


def test_more_images_come_when_they_are_asked_for(browser, file):
    browser.open(file, size=(390, 844), fragment="#all")
    assert browser.run("document.querySelectorAll('.card').length") == 8
    browser.click("#cards-more")
    assert browser.run("document.querySelectorAll('.card').length") == 14
    assert browser.run("document.getElementById('cards-more').hidden")
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(browser, file, dark):
    browser.open(file, dark=dark)
    ratios = browser.run(
        """(() => {
          const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
            .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
            .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
          const ground = (one) => { for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)|transparent/.test(colour)) return colour; } return 'rgb(255, 255, 255)'; };
          return ['h1', '.about', '.note', '.numbers dt', '.card .words', '.card .iou', '.tabs button', '.field span',
            '.legend .count', 'td.kind', 'footer p', '.check', '.keys'].map((name) => {
            const one = document.querySelector(name);
            const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
            return [name, (a + 0.05) / (b + 0.05)]; });
        })()"""
    )
    assert [(name, ratio) for name, ratio in ratios if ratio < 4.5] == []


def test_every_control_has_a_name(page):
    unnamed = page.run(
        "[...document.querySelectorAll('button, input, select, textarea, a, canvas, svg')].filter((one) => "
        "!(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length || one.closest('label')))"
        ".map((one) => one.outerHTML.slice(0, 200))"
    )
    assert unnamed == []
