import hashlib
import http.server
import io
import runpy
import shutil
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from menet_mm import InputError
from menet_mm.datasets import download as module
from menet_mm.datasets.archives import unpack
from menet_mm.datasets.download import ARCHIVES, download, download_voc
from menet_mm.datasets.shapes import make_shapes

CONTENT = bytes(range(256)) * 20_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges as the VOC server does; notes what was asked for."""

    asked: list[str | None] = []

    def do_GET(self):
        header = self.headers.get('Range')
        self.asked.append(header)
        start = int(header.removeprefix('bytes=').rstrip('-')) if header else 0
        if self.path == '/missing':
            self.send_error(404)
        elif start >= len(CONTENT):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header('Content-Length', str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:1000] if self.path == '/half.pth' else CONTENT[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    Server.asked.clear()
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()


def test_fetches_once(server, tmp_path):
    path = tmp_path / 'voc.tar'
    download(f'{server}/voc.tar', path, MD5)
    download(f'{server}/voc.tar', path, MD5)
    assert path.read_bytes() == CONTENT
    assert len(Server.asked) == 1


@pytest.mark.parametrize('done', [1_000_000, len(CONTENT)])
def test_goes_on_where_it_stopped(server, tmp_path, done):
    (tmp_path / 'voc.tar.partial').write_bytes(CONTENT[:done])
    download(f'{server}/voc.tar', tmp_path / 'voc.tar', MD5)
    assert (tmp_path / 'voc.tar').read_bytes() == CONTENT
    assert Server.asked == [f'bytes={done}-']


def test_wrong_content_is_refused_and_removed(server, tmp_path):
    with pytest.raises(InputError, match='not the file that was expected'):
        download(f'{server}/voc.tar', tmp_path / 'voc.tar', '0' * 32)
    assert not list(tmp_path.iterdir())


def test_unreachable_server_or_file_is_one_sentence(server, tmp_path):
    for url, advice in [
        (f'{server}/missing', 'status 404.; check the address'),
        ('http://127.0.0.1:9/voc.tar', 'run the same command again'),
    ]:
        with pytest.raises(InputError, match=f'cannot be fetched .*{advice}'):
            download(url, tmp_path / 'voc.tar', MD5)
        assert not list(tmp_path.iterdir())


def test_half_a_file_is_not_taken_for_the_whole(server, tmp_path):
    """Without a checksum its length must tell: the server announces more than it sends."""
    with pytest.raises(InputError, match='run the same command again'):
        download(f'{server}/half.pth', tmp_path / 'half.pth')
    assert not (tmp_path / 'half.pth').exists()
    download(f'{server}/voc.tar', tmp_path / 'whole.pth')
    assert (tmp_path / 'whole.pth').read_bytes() == CONTENT


def test_processes_that_fetch_the_same_file_do_not_meet(server, tmp_path, monkeypatch):
    other = tmp_path / 'weights.pth.partial'
    other.write_bytes(b'what another process has so far')
    download(f'{server}/weights.pth', tmp_path / 'weights.pth')
    assert other.read_bytes() == b'what another process has so far'
    assert (tmp_path / 'weights.pth').read_bytes() == CONTENT
    with pytest.raises(InputError):
        download(f'{server}/half.pth', tmp_path / 'half.pth')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['weights.pth', 'weights.pth.partial']


def test_a_file_that_is_there_is_taken_without_asking(tmp_path):
    (tmp_path / 'weights.pth').write_bytes(b'there already')
    download('http://127.0.0.1:9/weights.pth', tmp_path / 'weights.pth')
    assert (tmp_path / 'weights.pth').read_bytes() == b'there already'


def test_others_may_read_what_was_fetched(server, tmp_path):
    """Weights may lie in a cache that several users share."""
    (tmp_path / 'plain').touch()
    for name, md5 in [('weights.pth', None), ('voc.tar', MD5)]:
        download(f'{server}/{name}', tmp_path / name, md5)
        assert (tmp_path / name).stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_what_is_unpacked_already_is_not_fetched(tmp_path, monkeypatch, capsys):
    folder = make_shapes(tmp_path / 'VOCdevkit', train=2, test=1) / 'VOC2007'
    archives = [dict(archive, pictures=count) for archive, count in zip(ARCHIVES['2007'], (2, 1), strict=True)]
    fetched = []

    def fail(url, path, md5):
        fetched.append(path.name)
        raise InputError('no network')

    monkeypatch.setattr(module, 'ARCHIVES', {'2007': archives})
    monkeypatch.setattr(module, 'download', fail)
    monkeypatch.setattr(sys, 'argv', ['download_voc.py', '--root', str(tmp_path)])

    def call() -> None:
        runpy.run_path('tools/download_voc.py', run_name='__main__')

    call()
    assert not fetched
    assert f'{folder} has all 2 pictures of trainval already' in capsys.readouterr().out
    for missing in ('JPEGImages/test_00000.jpg', 'Annotations/test_00000.xml'):
        path = folder / missing
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(SystemExit):
            call()
        path.write_bytes(content)
    archives[0]['pictures'] = 5011
    with pytest.raises(SystemExit):
        call()
    assert fetched == [archives[1]['filename'], archives[1]['filename'], archives[0]['filename']]


def serve_archive(tmp_path: Path, monkeypatch, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    """Let the archives of VOC 2012 be one with an entry of that name; returns the folder to unpack in."""
    with tarfile.open(tmp_path / 'voc.tar', 'w') as tar:
        first = tarfile.TarInfo('VOCdevkit/first')
        tar.addfile(first, io.BytesIO())
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, '/etc/passwd' if kind == tarfile.SYMTYPE else 'VOCdevkit/first'
        info.size = int(kind == tarfile.REGTYPE)
        tar.addfile(info, io.BytesIO(b'x'))
    archive = dict(ARCHIVES['2012'][0], md5=hashlib.md5((tmp_path / 'voc.tar').read_bytes()).hexdigest())
    monkeypatch.setattr(module, 'ARCHIVES', {'2012': [archive]})
    (tmp_path / 'root').mkdir()
    shutil.move(tmp_path / 'voc.tar', tmp_path / 'root' / archive['filename'])
    return tmp_path / 'root'


@pytest.mark.parametrize('keep', [False, True])
def test_archives_are_unpacked_and_kept_if_asked(tmp_path, monkeypatch, keep):
    root = serve_archive(tmp_path, monkeypatch, 'VOCdevkit/VOC2012/README')
    download_voc(root, '2012', keep)
    assert (root / 'VOCdevkit/VOC2012/README').read_bytes() == b'x'
    assert (root / 'VOCtrainval_11-May-2012.tar').is_file() == keep


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('../evil.txt', tarfile.REGTYPE),
        ('VOCdevkit/../../evil.txt', tarfile.REGTYPE),
        ('{folder}/evil.txt', tarfile.REGTYPE),
        ('evil.txt', tarfile.SYMTYPE),
        ('evil.txt', tarfile.LNKTYPE),
        ('evil.txt', tarfile.CHRTYPE),
        ('evil.txt', tarfile.FIFOTYPE),
    ],
)
def test_archives_hold_files_of_the_folder_alone(tmp_path, monkeypatch, name, kind):
    """Ours alone, without Python's filter."""
    root = serve_archive(tmp_path, monkeypatch, name.format(folder=tmp_path), kind)
    monkeypatch.setattr(tarfile, 'data_filter', lambda member, path: member)
    with pytest.raises(InputError, match='is a link, a device or outside of') as refused:
        download_voc(root, '2012')
    assert '\n' not in str(refused.value)
    assert not list(tmp_path.rglob('evil.txt'))
    assert not list(root.rglob('first'))


def test_a_damaged_archive_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / 'x.tar').write_bytes(b'no archive')
    with pytest.raises(InputError, match='x.tar cannot be unpacked'):
        unpack(tmp_path / 'x.tar', tmp_path)


def test_official_archives_are_known():
    names = [archive['filename'] for year in ('2007', '2012') for archive in ARCHIVES[year]]
    assert names == ['VOCtrainval_06-Nov-2007.tar', 'VOCtest_06-Nov-2007.tar', 'VOCtrainval_11-May-2012.tar']
