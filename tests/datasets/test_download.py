import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from menet_mm import InputError
from menet_mm.datasets.download import ARCHIVES, download, unpack

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
        assert not (tmp_path / 'voc.tar').exists()


def test_half_a_file_is_not_taken_for_the_whole(server, tmp_path):
    """Without a checksum its length must tell: the server announces more than it sends."""
    with pytest.raises(InputError, match='run the same command again'):
        download(f'{server}/half.pth', tmp_path / 'half.pth')
    assert not (tmp_path / 'half.pth').exists()
    download(f'{server}/voc.tar', tmp_path / 'whole.pth')
    assert (tmp_path / 'whole.pth').read_bytes() == CONTENT


def test_archives_cannot_leave_the_folder(tmp_path):
    with tarfile.open(tmp_path / 'evil.tar', 'w') as tar:
        info = tarfile.TarInfo('../evil.txt')
        info.size = 1
        tar.addfile(info, io.BytesIO(b'x'))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(tmp_path / 'evil.tar', tmp_path / 'folder')
    assert not Path(tmp_path, 'evil.txt').exists()


def test_official_archives_are_known():
    names = [archive['filename'] for year in ('2007', '2012') for archive in ARCHIVES[year]]
    assert names == ['VOCtrainval_06-Nov-2007.tar', 'VOCtest_06-Nov-2007.tar', 'VOCtrainval_11-May-2012.tar']
