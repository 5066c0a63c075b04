"""tools/check_data.py on a set with every kind of damage, each in a picture of its own, among healthy ones."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from menet_mm.datasets.doctor.examine import Exam, Part
from menet_mm.datasets.doctor.kinds import KINDS, find
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.datasets.shapes import make_shapes

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 34  # training pictures, of which the last ones stay healthy
BOX = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'
SCRIPT = '&lt;script&gt;alert(1)&lt;/script&gt;'


class Damage:
    """A set in VOC form, and what is done to its pictures."""

    def __init__(self, root: Path) -> None:
        self.root = root / 'VOC2007'
        self.list = self.root / 'ImageSets/Main/trainval.txt'

    def picture(self, number: int, split: str = 'trainval') -> Path:
        return self.root / f'JPEGImages/{split}_{number:05}.jpg'

    def xml(self, number: int, change: Callable[[str], str]) -> None:
        path = self.root / f'Annotations/trainval_{number:05}.xml'
        path.write_text(change(path.read_text()))

    def size(self, number: int) -> tuple[int, int]:
        return Image.open(self.picture(number)).size

    def add(self, number: int, *box: object, name: str = 'star') -> None:
        self.xml(number, lambda text: text.replace('</annotation>', BOX.format(name, *box) + '</annotation>'))

    def turn(self, number: int, orientation: int) -> None:
        image = Image.open(self.picture(number))
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(self.picture(number), exif=exif)

    def do(self) -> dict[str, list[int]]:
        """Damage the pictures; returns the kinds, with the numbers of the pictures that have them."""
        self.picture(0).unlink()
        self.picture(1).write_bytes(b'')
        content = self.picture(2).read_bytes()
        self.picture(2).write_bytes(content[: len(content) // 2])
        self.picture(3).write_text('no picture')
        Image.open(self.picture(4)).save(self.picture(4), 'PNG')
        self.turn(5, 6)
        self.turn(6, 3)
        self.xml(7, lambda text: re.sub('<width>.*?</width>', '<width>20</width>', text))
        self.xml(8, lambda text: text[:-20])
        self.xml(9, lambda text: '<!DOCTYPE a [<!ENTITY lol "lol">]>' + text)
        (self.root / 'Annotations/trainval_00010.xml').unlink()
        self.add(11, 0.1, 0.2, 0.5, 0.6)
        self.add(12, 90, 20, 40, 60)
        self.add(13, 20, 20, 20, 60)
        width, height = self.size(14)
        self.add(14, width + 9, 10, width + 50, 50)
        width, height = self.size(15)
        self.add(15, 10, 10, width + 20, 50)
        self.add(16, 10, 10, 12, 50)
        width, height = self.size(17)
        self.add(17, 1, 1, width, height)
        self.add(18, 30, 30, 90, 90)
        self.add(18, 30, 30, 90, 90)
        self.add(19, 30, 30, 90, 90, name=SCRIPT)
        self.add(20, 30, 30, 90, 90, name='Circle')
        self.add(21, 30, 30, 90, 90, name='star ')
        self.xml(22, lambda text: re.sub('<object>.*</object>', '', text, flags=re.DOTALL))
        self.copy_of_test(23, 0)
        self.copy_of_test(24, 1)
        Image.open(self.picture(24)).save(self.picture(24), quality=60)
        shutil.copy(self.picture(33), self.picture(25))
        self.xml(25, lambda _: (self.root / 'Annotations/trainval_00033.xml').read_text())
        text = self.list.read_text().replace('trainval_00027\n', 'trainval_00027.jpg  1\n')
        self.list.write_text(f'{text}trainval_00026\n')
        return {
            'picture missing': [0],
            'picture empty': [1],
            'picture truncated': [2],
            'picture undecodable': [3],
            'wrong ending': [4],
            'rotation contradicts': [5],
            'rotation unsure': [6],
            'size differs': [7],
            'annotation unreadable': [8],
            'entity declaration': [9],
            'annotation missing': [10],
            'parts of the side': [11],
            'box inverted': [12],
            'box without area': [13],
            'box outside': [14],
            'box beyond the edge': [15],
            'box tiny': [16],
            'box covers everything': [17],
            'box doubled': [18],
            'picture without objects': [22],
            'listed twice': [26],
        }

    def copy_of_test(self, number: int, other: int) -> None:
        shutil.copy(self.picture(other, 'test'), self.picture(number))
        xml = self.root / f'Annotations/test_{other:05}.xml'
        shutil.copy(xml, self.root / f'Annotations/trainval_{number:05}.xml')


@pytest.fixture(scope='module')
def damaged(tmp_path_factory, tool_here) -> tuple[Path, dict, dict, str]:
    """The damaged set, what it should be accused of, what it is accused of, and the page."""
    folder = tmp_path_factory.mktemp('damaged')
    root = make_shapes(folder / 'set', train=NUMBER, test=6)
    expected = Damage(root).do()
    config = folder / 'damaged.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/ssd_menet228_shapes.py")!r}\n'
        f'train_dataloader = dict(dataset=dict(data_root={str(root)!r}))\n'
        f'val_dataloader = dict(dataset=dict(data_root={str(root)!r}))\ntest_dataloader = val_dataloader\n'
    )
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        tool_here('check_data.py', config, '--html', folder / 'page.html', '--json', folder / 'all.json', '--fix')
    assert ended.value.code == 1
    assert all(path.read_bytes() == content for path, content in before.items())
    return root, expected, json.loads((folder / 'all.json').read_text()), (folder / 'page.html').read_text()


def numbers(finding: dict) -> list[int]:
    return sorted({int(re.search(r'trainval_(\d{5})', case['text'])[1]) for case in finding['cases']})


def test_every_damage_is_named_and_nothing_healthy_is_accused(damaged):
    _, expected, found, _ = damaged
    accused = {finding['kind']: finding for finding in found['findings']}
    assert {kind: numbers(accused[kind]) for kind in expected if kind in accused} == expected
    for kind, words in {
        'class unknown': 'script',
        'class misspelt': "'circle' is meant",
        'same picture in two splits': 'trainval_00023.jpg is the same as',
        'nearly the same picture in two splits': 'trainval_00024.jpg is nearly the same as',
        'same picture in one split': 'trainval_00033.jpg is the same as',
    }.items():
        (case,) = accused.pop(kind)['cases']
        assert words in case['text']
    notes = ' '.join(case['text'] for case in accused.pop('reading')['cases'])
    assert 'blanks around them' in notes
    assert 'more than the id' in notes
    assert accused.keys() == expected.keys()


def test_the_page_needs_nothing_beside_it_and_runs_nothing(damaged):
    page = damaged[3]
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith('data:image/jpeg;base64,') for source in sources)
    assert '<script' not in page


def test_cleaned_lists_have_what_is_sound(damaged, tool_here):
    root = damaged[0]
    lists = root / 'VOC2007/ImageSets/Main'
    kept = {int(line[-5:]) for line in (lists / 'trainval_clean.txt').read_text().split()}
    bad = {0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 14}
    assert not kept & {*bad, 23}
    assert kept >= set(range(NUMBER)) - {*bad, 23, 25, 33}
    assert len(kept & {25, 33}) == 1
    tested = (lists / 'test.txt').read_text()
    assert (lists / 'test_clean.txt').read_text() == tested
    with pytest.raises(SystemExit, match='is there already'):
        tool_here('check_data.py', root.parent / 'damaged.py', '--fix')


def test_a_healthy_folder_ends_with_status_0(shapes, tool_here):
    said = tool_here('check_data.py', shapes, '--format', 'voc')
    assert 'star' in said
    assert '0 kinds of errors, 0 of warnings' in said
    assert '0 kinds of errors, 0 of warnings' in tool_here('check_data.py', shapes, '--format', 'coco')


def part(boxes: list[Box]) -> Part:
    return Part(Labels(Path('set'), pictures={'1': Picture(Path('1.jpg'), (99, 99), boxes)}), Path('list.txt'), ['1'])


@pytest.mark.parametrize(
    ('boxes', 'kind'),
    [
        ([], 'no objects'),
        ([Box('bolt', 0, 0, 9, 9, difficult=True)], 'no objects'),
        ([Box('bolt', 0, 0, 9, 9)], 'class absent'),
        ([*[Box('bolt', 0, 0, 9, 9)] * 200, Box('nut', 0, 0, 9, 9)], 'imbalance'),
    ],
)
def test_what_a_split_lacks(boxes, kind):
    found = {finding.kind for finding in find(Exam({'test': part(boxes)}, ['bolt', 'nut']))}
    assert kind in found
    enough = [Box(name, 0, 0, 9, 9) for name in ('bolt', 'nut')]
    assert not {'no objects', 'class absent', 'imbalance'} & {
        finding.kind for finding in find(Exam({'test': part(enough)}, ['bolt', 'nut']))
    }


def test_boxes_that_no_anchor_reaches():
    exam = Exam({'train': part([Box('bolt', 0, 0, 9, 9)])}, ['bolt'], missed=(100, 0.5))
    assert 'anchors' in {finding.kind for finding in find(exam)}
    exam.missed = (100, 0.05)
    assert 'anchors' not in {finding.kind for finding in find(exam)}


def test_the_table_has_no_kind_twice():
    kinds = [kind for kind, *_ in KINDS]
    assert len(set(kinds)) == len(kinds) >= 25
