from pathlib import Path

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from menet_mm.errors import InputError
from menet_mm.utils.pictures import draw_result, read_image, write_image

PICTURE = np.full((200, 300, 3), 128, np.uint8)


def make_font(path: Path, characters: str) -> Path:
    """Write a font with the given characters, each a bar of its own height."""
    builder = FontBuilder(1000)
    names = ['.notdef', *(f'u{ord(character):04X}' for character in characters)]
    glyphs = {}
    for i, name in enumerate(names):
        pen = TTGlyphPen(None)
        pen.moveTo((50, 0))
        for corner in ((50, 200 + 25 * i), (450, 200 + 25 * i), (450, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (500, 50) for name in names})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName='Bars', styleName='Regular'))
    builder.setupPost()
    builder.save(path)
    return path


def named(name: str, fonts: list[Path], label: int = 7) -> np.ndarray:
    found = {'class': name, 'label': label, 'score': 0.5}
    return draw_result(PICTURE, dict(detections=[dict(found, box=[50, 60, 150, 160])]), fonts)


def test_boxes_and_names_are_drawn_and_the_picture_is_left_alone():
    detections = [
        {'class': 'dog', 'label': 0, 'score': 0.9, 'box': [50, 60, 150, 160]},
        {'class': 'cat', 'label': 1, 'score': 0.8, 'box': [-5, -5, 400, 40]},  # beyond the border
    ]
    drawn = draw_result(PICTURE, dict(detections=detections))
    assert (PICTURE == 128).all()
    assert (drawn[100, 50] != 128).any()  # the left side of the dog
    assert (drawn[110, 100] == 128).all()  # inside of it
    assert (drawn[61:75, 152:] == 128).all()
    assert tuple(drawn[100, 50]) != tuple(drawn[40, 200])  # classes differ in colour
    assert (draw_result(PICTURE, dict(detections=[])) == 128).all()
    labelled = draw_result(PICTURE, dict(classes=[{'class': 'a very long name ' * 5, 'label': 3, 'score': 0.5}]))
    assert (labelled[:10] != 128).any()
    assert (labelled[50:] == 128).all()


def test_names_of_any_script_are_drawn_as_far_as_a_font_has_them(tmp_path):
    font = make_font(tmp_path / 'bars.ttf', ' .0123456789щит犬猫')
    # Has a sign for everything, even for a character that does not exist, as the font LastResort has.
    signs = make_font(tmp_path / 'signs.ttf', ' .0123456789щит犬猫鳥\u0378')
    (tmp_path / 'no-font.ttf').write_text('no font')
    fonts = [tmp_path / 'no-font.ttf', signs, font]
    pictures = [named(name, fonts) for name in ('щит', 'щи', '犬', '猫', 'dog', 'cat', '7')]
    for i, picture in enumerate(pictures):
        assert not any(np.array_equal(picture, other) for other in pictures[:i])
    for name, files in (('щит', []), ('犬', fonts[:2]), ('鳥', fonts), ('犬鳥', fonts), ('dog\u0378', fonts)):
        assert np.array_equal(named(name, files), named('7', files)), name


@pytest.mark.parametrize('size', [(1, 1), (5, 40), (40, 5), (2000, 30)])
def test_labels_fit_into_pictures_of_any_size(size):
    found = {'class': 'a\nname', 'label': 3, 'score': 0.5}
    boxes = [[-10, -10, 5, 5], [1e4, 1e4, 2e4, 2e4], [0, 0, size[1], size[0]]]
    picture = np.zeros((*size, 3), np.uint8)
    assert draw_result(picture, dict(detections=[dict(found, box=box) for box in boxes])).shape == picture.shape
    assert draw_result(picture, dict(classes=[found])).any()


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'no picture', 'cannot identify'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n', 'cannot identify'),  # a program for Ghostscript
        (b'P6 40000 40000 255\n', 'exceeds limit'),
        (b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR', ''),
        (b'', 'cannot identify'),
    ],
)
def test_reading_says_what_is_wrong(tmp_path, content, reason):
    (tmp_path / 'x.jpg').write_bytes(content)
    image, defect = read_image(tmp_path / 'x.jpg')
    assert image is None
    assert reason in defect


def test_what_opencv_alone_reads_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / 'x.hdr'), np.ones((4, 5, 3), np.float32))
    image, defect = read_image(tmp_path / 'x.hdr')
    assert defect is None
    assert image.shape == (4, 5, 3)
    assert read_image(tmp_path / 'none.jpg') == (None, 'no such file')


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    write_image(tmp_path / 'new/x.png', PICTURE)
    assert np.array_equal(read_image(tmp_path / 'new/x.png')[0], PICTURE)
    (tmp_path / 'taken.png').mkdir()
    with pytest.raises(InputError, match='taken.png cannot be written'):
        write_image(tmp_path / 'taken.png', PICTURE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['new', 'taken.png']
