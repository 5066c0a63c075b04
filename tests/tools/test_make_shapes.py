"""The generated set through the command line."""

from PIL import Image


def test_the_set_is_written_once(tool, tmp_path):
    out = tmp_path / 'shapes'
    arguments = ('make_shapes.py', '--out', out, '--train', 3, '--test', 2, '--seed', 1)
    expected = f'{out}: 3 training and 2 held-out pictures of circle, square, triangle, star'
    assert tool(*arguments).stdout.splitlines()[-1] == expected
    for split, count in (('trainval', 3), ('test', 2)):
        ids = (out / f'VOC2007/ImageSets/Main/{split}.txt').read_text().split()
        assert len(ids) == count
        for name in ids:
            Image.open(out / f'VOC2007/JPEGImages/{name}.jpg').verify()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    tool(*arguments)
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == stamps


def test_no_pictures_is_one_sentence(tool, tmp_path):
    said = tool('make_shapes.py', '--out', tmp_path / 'shapes', '--train', 0, ok=False).stdout
    assert said.startswith('error: both splits need at least one picture')
    assert len(said.splitlines()) == 1
