from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maskmill.pipeline.showing.fonts import Fonts, system_folders
from maskmill.pipeline.showing.page import cut, wrap

CJK = "赤い円盤"
INK = (0, 0, 0)


def drawn(fonts: Fonts, text: str, anchor: str = "la") -> np.ndarray:
    picture = Image.new("RGB", (600, 60), (255, 255, 255))
    fonts.at(20).draw(ImageDraw.Draw(picture), (300 if anchor != "la" else 10, 20), text, fill=INK, anchor=anchor)
    return np.asarray(picture.convert("L")) < 128


def boxes(letters: int) -> np.ndarray:
    """What text looks like where no font has its letters."""
    return drawn(Fonts([]), "日" * letters)


@pytest.fixture
def system() -> Fonts:
    fonts = Fonts()
    fonts.at(20).length("Ж")
    if fonts.warnings:
        pytest.skip("no font with Cyrillic here: apt-get install fonts-dejavu-core")
    return fonts


def test_ascii_is_drawn_with_pillows_own_font_and_no_folder_is_searched():
    def never() -> Iterator[Path]:
        raise AssertionError("searched")
        yield

    fonts = Fonts(never())
    assert drawn(fonts, "red disc 0.97").any()
    assert fonts.warnings == []


def test_letters_that_no_font_has_are_boxes_and_a_warning_names_script_and_package():
    fonts = Fonts([])
    assert np.array_equal(drawn(fonts, "日"), boxes(1))
    drawn(fonts, f"Ж {CJK} 고 แ 🙂")
    for script, package in (
        ("CYRILLIC (Ж)", "fonts-dejavu-core"),
        ("CJK (日), HIRAGANA (い), HANGUL (고)", "fonts-noto-cjk"),
        ("THAI (แ)", "fonts-noto-core"),
        ("SYMBOLS (🙂)", "fonts-symbola"),
    ):
        (line,) = (line for line in fonts.warnings if script in line)
        assert line.endswith(f"apt-get install {package}")


def test_latin_and_cyrillic_are_letters_where_the_system_has_a_font(system):
    for text in ("Straße", "éàñłőž", "Красный диск"):
        letters = len(text.replace(" ", ""))
        found = drawn(system, text)
        assert found.any()
        assert not np.array_equal(found, boxes(letters))
    assert not np.array_equal(drawn(system, "Ж"), drawn(system, "Д"))
    assert system.warnings == []


def test_cjk_is_letters_where_the_system_has_a_font():
    fonts = Fonts()
    found = drawn(fonts, CJK)
    if fonts.warnings:
        pytest.skip("no font with CJK here: apt-get install fonts-noto-cjk")
    assert not np.array_equal(found, boxes(len(CJK)))
    assert not np.array_equal(drawn(fonts, "日"), drawn(fonts, "本"))


def test_a_file_that_is_no_font_is_passed_over(tmp_path):
    (tmp_path / "dejavusans.ttf").write_bytes(b"no font at all" * 100)
    (tmp_path / "empty.otf").touch()
    (tmp_path / "broken.ttf").symlink_to(tmp_path / "nowhere")
    fonts = Fonts([tmp_path, tmp_path / "gone"])
    assert np.array_equal(drawn(fonts, "日"), boxes(1))
    assert len(fonts.warnings) == 1


@pytest.mark.parametrize("anchor", ["la", "ra", "mm"])
@pytest.mark.parametrize(
    "text",
    ["", " ", "\x00\x9b31m", "नमस्ते", "\u0301", "\u202egnp.exe", "a\nb\tc",
     "דיסק אדום מול עץ", "قرص أحمر", "e\u0301 o\u0308\u0301", "👩‍👩‍👧 ❤️"],
)  # fmt: skip
def test_any_text_is_one_line_and_nothing_breaks(text, anchor):
    for fonts in (Fonts(), Fonts([])):
        drawn(fonts, text, anchor)
        assert fonts.at(20).length(text) >= 0
        assert len(fonts.at(20).box(text)) == 2


def test_a_right_to_left_word_is_drawn_from_the_right(system):
    if system.at(20).length("א") <= 0 or system.warnings:
        pytest.skip("no font with Hebrew here: apt-get install fonts-dejavu-core")
    from PIL import features

    if not features.check("raqm"):
        pytest.skip("Pillow without raqm")
    alone = [np.flatnonzero(drawn(system, letter).any(0)) for letter in "אי"]
    narrow = alone[1][-1] - alone[1][0]
    both = np.flatnonzero(drawn(system, "אי").any(0))
    assert narrow < alone[0][-1] - alone[0][0]
    first_gap = both[0] + np.argmax(np.diff(both) > 1)
    assert first_gap - both[0] <= narrow + 1, "the last letter, a narrow one, stands on the left"


def test_text_is_cut_and_wrapped_to_its_width_in_any_script(system):
    font = system.at(20)
    for text in ("Красный диск перед деревом " * 20, CJK * 80, "w" * 500):
        lines = wrap(text, font, 300, 3)
        assert len(lines) == 3
        assert lines[-1].endswith("…")
        assert all(font.length(line) <= 300 for line in lines)
        short = cut(text, font, 100)
        assert font.length(short) <= 100 < font.length(text[: len(short) + 1] + "…")


def test_folders_of_fonts_are_absolute():
    assert all(folder.is_absolute() for folder in system_folders())
