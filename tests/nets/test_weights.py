import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import numpy as np
import pytest

from wbcstudy import registry
from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets import weights
from wbcstudy.nets.weights import fetch_weights, find_weights, list_weights, weights_cache

CONTENT = b"stands in for the weights of resnet18"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """Serve a folder at 127.0.0.1; yield (address, folder)."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", folder
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Set empty caches, and CONTENT as the verified file of resnet18."""
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    row = replace(registry.ENCODERS["resnet18"], weights_md5=hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setattr(weights, "ENCODERS", MappingProxyType({**registry.ENCODERS, "resnet18": row}))
    return tmp_path / "cache"


FILE = registry.ENCODERS["resnet18"].weights_file


def fetch(address):
    return fetch_weights(["resnet18"], urls={"resnet18": address + FILE}, pause_s=0)


def test_a_fetched_file_is_verified_kept_and_not_fetched_again(server, cache):
    address, folder = server
    (folder / FILE).write_bytes(CONTENT)
    assert fetch(address) == [cache / FILE]
    assert (cache / FILE).read_bytes() == CONTENT
    (folder / FILE).unlink()
    assert fetch(address) == [cache / FILE]
    assert find_weights(RunConfig(encoder="resnet18", encoder_weights="imagenet")) == cache / FILE


@pytest.mark.parametrize("served", [CONTENT[:-1], b"<html>please log in</html>", None])
def test_a_failed_download_leaves_no_file_and_explains_the_alternatives(server, cache, served):
    address, folder = server
    if served is not None:
        (folder / FILE).write_bytes(served)
    with pytest.raises(StudyError) as caught:
        fetch(address)
    message = str(caught.value)
    assert address + FILE in message
    assert str(cache / FILE) in message
    assert hashlib.md5(CONTENT).hexdigest() in message
    assert "wbcstudy weights fetch resnet18" in message
    assert not list(cache.glob("*"))
    assert not list(cache.glob(".*"))


def test_without_a_network_the_message_is_the_same():
    with pytest.raises(StudyError, match="Cannot download") as caught:
        fetch("http://127.0.0.1:9/")
    assert "wbcstudy weights fetch resnet18" in str(caught.value)


def test_a_server_that_fails_once_is_asked_again(server, monkeypatch):
    address, folder = server
    (folder / FILE).write_bytes(CONTENT)
    asked = []

    def get(handler):
        asked.append(handler.path)
        if len(asked) == 1:
            return handler.send_error(503)
        return SimpleHTTPRequestHandler.do_GET(handler)

    monkeypatch.setattr(QuietHandler, "do_GET", get, raising=False)
    fetch(address)
    assert len(asked) == 2


def test_a_damaged_file_in_the_cache_is_replaced(server, cache):
    address, folder = server
    (folder / FILE).write_bytes(CONTENT)
    cache.mkdir()
    (cache / FILE).write_bytes(b"cut off")
    fetch(address)
    assert (cache / FILE).read_bytes() == CONTENT


def test_a_file_in_the_cache_of_keras_is_used_if_verified(tmp_path):
    path = tmp_path / "keras" / "models" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch_weights(["resnet18"]) == [path]
    path.write_bytes(b"another file")
    with pytest.raises(StudyError):
        fetch("http://127.0.0.1:9/")


def test_the_list_distinguishes_absent_unreadable_other_and_verified_files(cache, write_h5):
    cache.mkdir()
    (cache / FILE).write_bytes(CONTENT)
    (cache / registry.ENCODERS["vgg16"].weights_file).write_bytes(b"cut off")
    rows = {row.encoder: row for row in list_weights()}
    assert set(rows) == set(registry.ENCODERS) - {"unet"}
    assert (rows["resnet18"].path, rows["resnet18"].state) == (cache / FILE, "verified")
    assert rows["vgg16"].path is not None and rows["vgg16"].state == "unreadable"
    assert (rows["vgg19"].path, rows["vgg19"].state) == (None, "absent")
    # Another file that can be read is not damaged.
    write_h5(cache / registry.ENCODERS["vgg16"].weights_file, {"dense": [np.ones((2, 3), np.float32)]})
    assert {row.encoder: row.state for row in list_weights()}["vgg16"] == "other"


def test_the_file_of_initial_weights(tmp_path):
    assert find_weights(RunConfig(encoder="vgg16", encoder_weights="none")) is None
    mine = tmp_path / "mine.h5"
    mine.touch()
    assert find_weights(RunConfig(encoder="vgg16", encoder_weights=str(mine))) == mine
    with pytest.raises(StudyError, match="there is no file"):
        find_weights(RunConfig(encoder="vgg16", encoder_weights=str(tmp_path / "absent.h5")))


@pytest.mark.parametrize(
    ("name", "message"), [("resnet81", "Did you mean 'resnet18'"), ("unet", "no pretrained weights")]
)
def test_fetch_refuses_encoders_without_weights(name, message):
    with pytest.raises(StudyError, match=message):
        fetch_weights([name])


def test_without_the_variable_the_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("WBCSTUDY_WEIGHTS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_cache() == tmp_path / ".cache" / "wbcstudy" / "weights"


def test_a_relative_file_is_found_in_the_checkout_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.h5").write_bytes(b"")
    monkeypatch.setattr("wbcstudy.files.project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = RunConfig(encoder="resnet18", encoder_weights="data/own.h5")
    assert find_weights(config).samefile(tmp_path / "data" / "own.h5")
