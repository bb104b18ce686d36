"""A download ends: after the whole file, after too many bytes, or after too long a time."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wbcstudy.data import download as module
from wbcstudy.data.download import download
from wbcstudy.errors import StudyError


class Endless(BaseHTTPRequestHandler):
    """Send bytes until the client leaves: at once (/fast), or one a second (/slow)."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.stopped:
                self.wfile.write(bytes(1 if self.path == "/slow" else 100_000))
                time.sleep(0.1 if self.path == "/slow" else 0)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as httpd:
        httpd.stopped, httpd.daemon_threads = False, True
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.stopped = True
        httpd.shutdown()


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("fast", {"MOST_DOWNLOADED_BYTES": 3_000_000}, "it has more than 3 MB"),
        ("slow", {"DOWNLOAD_S": 0.5}, "it took more than 0 minutes"),
    ],
)
def test_an_endless_download_is_given_up_and_leaves_no_file(server, tmp_path, monkeypatch, name, limits, reason):
    for limit, value in limits.items():
        monkeypatch.setattr(module, limit, value)
    with pytest.raises(StudyError, match=f"Cannot download {server}/{name}: {reason}"):
        download(f"{server}/{name}", tmp_path / "file", fix="Copy it.", pause_s=0)
    assert list(tmp_path.iterdir()) == []
