"""The download is complete and verified, or nothing is written."""

import hashlib
import http.server
import io
import stat
import threading
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from wbcstudy.data import fetch
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.fetch import fetch_segmentation_wbc
from wbcstudy.errors import StudyError


def png(value, form):
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4) if form == "png" else (4, 4, 3), value, np.uint8)).save(out, form)
    return out.getvalue()


def small_files():
    """What the archive looks like, with three images instead of four hundred."""
    files = {"LICENSE": b"licence", "README.rst": b"x" * 3000}
    for number, cases in (("1", ("001", "002")), ("2", ("001",))):
        rows = [f"{int(case)},{k + 4}\r\n" for k, case in enumerate(cases)]
        files[f"Class Labels of Dataset {number}.csv"] = ("image ID,class\r\n" + "".join(rows)).encode()
        for k, case in enumerate(cases):
            files[f"Dataset {number}/{case}.bmp"] = png(k + 50, "bmp")
            files[f"Dataset {number}/{case}.png"] = png(128, "png")
    return files


def write_zip(path, files, top="segmentation_WBC-master/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in files.items():
            content.writestr(top + name, data)
    return path


@pytest.fixture
def small(tmp_path):
    """A small archive and the manifest of it."""
    files = small_files()
    rows = [f"{name},{len(data)},{hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(files.items())]
    (tmp_path / "manifest.csv").write_text("file,bytes,sha256\n" + "".join(rows))
    return write_zip(tmp_path / "small.zip", files), tmp_path / "manifest.csv"


def get(small, tmp_path, **more):
    archive, manifest = small
    options = {"archive": archive, "data_folder": tmp_path / "data", "progress": False, "manifest": manifest} | more
    return fetch_segmentation_wbc(**options)


def nothing_left(tmp_path):
    data = tmp_path / "data"
    return not data.exists() or list(data.iterdir()) == []


class TestArchive:
    def test_both_sets_can_be_loaded_afterwards(self, small, tmp_path):
        folder = get(small, tmp_path)
        assert folder == tmp_path / "data" / "segmentation_wbc"
        one, two = (load_dataset(f"segmentation_wbc_{k}", tmp_path / "data") for k in (1, 2))
        assert [(case.case_id, case.cell_type) for case in one.cases] == [("001", "eosinophil"), ("002", "basophil")]
        assert "Tecom" in one.spec.acknowledgement and "CellaVision" in two.spec.acknowledgement
        assert all("Micron 107" in dataset.spec.citation and "GPL" in dataset.spec.licence for dataset in (one, two))
        assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["segmentation_wbc"]

    @pytest.mark.parametrize("top", ["", "segmentation_WBC-fa9c016/", "a/b/"])
    def test_the_top_folder_may_have_any_name(self, small, tmp_path, top):
        archive = write_zip(tmp_path / "other.zip", small_files(), top)
        assert (get(small, tmp_path, archive=archive) / "README.rst").is_file()

    def test_other_files_in_it_are_left_out(self, small, tmp_path):
        archive = write_zip(tmp_path / "other.zip", small_files() | {"virus.exe": b"x", ".DS_Store": b"x"})
        assert not (get(small, tmp_path, archive=archive) / "virus.exe").exists()

    def test_citation_and_licence_are_printed(self, small, tmp_path, capsys):
        get(small, tmp_path, progress=True)
        assert fetch._NOTICE in capsys.readouterr().out
        assert all(
            word in fetch._NOTICE for word in ("Micron 107", "Jiangxi Tecom", "CellaVision", "GPL-3", "own risk")
        )

    def test_a_second_time_nothing_is_needed(self, small, tmp_path):
        folder = get(small, tmp_path)
        (folder / "Dataset 1" / "cases.csv").unlink()
        assert get(small, tmp_path, archive=tmp_path / "gone.zip") == folder
        assert (folder / "Dataset 1" / "cases.csv").is_file()

    def test_a_dataset_yaml_that_the_user_changed_stays(self, small, tmp_path):
        path = get(small, tmp_path) / "Dataset 1" / "dataset.yaml"
        path.write_text(path.read_text().replace("tolerance: 64", "tolerance: 3"))
        get(small, tmp_path)
        assert "tolerance: 3" in path.read_text()

    @pytest.mark.parametrize("change", ["changed", "missing"])
    def test_a_folder_that_was_changed_is_named_and_not_repaired(self, small, tmp_path, change):
        file = get(small, tmp_path) / "Dataset 2" / "001.bmp"
        if change == "changed":
            file.write_bytes(file.read_bytes()[:-1] + b"x")
        else:
            file.unlink()
        with pytest.raises(StudyError, match=r"files are missing or changed: Dataset 2/001\.bmp"):
            get(small, tmp_path)


class TestWrongArchives:
    def refused(self, small, tmp_path, archive, message):
        with pytest.raises(StudyError, match=message) as caught:
            get(small, tmp_path, archive=archive)
        assert str(archive) in caught.value.message
        assert nothing_left(tmp_path)

    def test_no_such_file(self, small, tmp_path):
        self.refused(small, tmp_path, tmp_path / "gone.zip", "No such file")

    @pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
    def test_not_a_zip(self, small, tmp_path, content):
        (tmp_path / "page.zip").write_bytes(content)
        self.refused(small, tmp_path, tmp_path / "page.zip", "not a zip file")

    def test_cut_off(self, small, tmp_path):
        (tmp_path / "cut.zip").write_bytes(small[0].read_bytes()[:-100])
        self.refused(small, tmp_path, tmp_path / "cut.zip", "not a zip file, or is truncated")

    def test_damaged_inside(self, small, tmp_path):
        content = bytearray(small[0].read_bytes())
        start = content.index(b"README.rst") + len("README.rst")
        content[start + 2 : start + 8] = b"\xff" * 6
        (tmp_path / "bad.zip").write_bytes(bytes(content))
        self.refused(small, tmp_path, tmp_path / "bad.zip", r"damaged at .*README\.rst")

    def test_missing_files_are_named(self, small, tmp_path):
        files = {name: data for name, data in small_files().items() if "002" not in name}
        self.refused(
            small, tmp_path, write_zip(tmp_path / "a.zip", files), r"lacks Dataset 1/002\.bmp and Dataset 1/002\.png"
        )

    def test_another_set_is_recognised_as_such(self, small, tmp_path):
        self.refused(small, tmp_path, write_zip(tmp_path / "a.zip", {"cat.png": b"x"}), "lacks .* more")

    @pytest.mark.parametrize("data", [b"licencE", b"licence and more", b""])
    def test_different_files_are_named(self, small, tmp_path, data):
        archive = write_zip(tmp_path / "a.zip", small_files() | {"LICENSE": data})
        self.refused(small, tmp_path, archive, "differs from the published archive in LICENSE")

    @pytest.mark.parametrize(
        "name",
        ["../evil.txt", "/etc/evil", "a/../../evil", "C:/evil", "c:evil", "..\\evil", "\\\\host\\evil", "a/b/.."],
    )
    def test_nothing_is_written_outside_the_folder(self, small, tmp_path, name):
        archive = write_zip(tmp_path / "a.zip", small_files())
        with zipfile.ZipFile(archive, "a") as content:
            content.writestr(name, b"x")
        self.refused(small, tmp_path, archive, "would be written outside its folder")
        assert not list(tmp_path.rglob("*evil*"))

    def test_a_link_is_refused(self, small, tmp_path):
        link = zipfile.ZipInfo("segmentation_WBC-master/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive = write_zip(tmp_path / "a.zip", small_files())
        with zipfile.ZipFile(archive, "a") as content:
            content.writestr(link, "/etc/passwd")
        self.refused(small, tmp_path, archive, "is a link")

    def test_a_link_in_place_of_a_file_is_refused(self, small, tmp_path):
        archive = write_zip(tmp_path / "a.zip", {name: b for name, b in small_files().items() if name != "LICENSE"})
        link = zipfile.ZipInfo("segmentation_WBC-master/LICENSE")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(archive, "a") as content:
            content.writestr(link, "/etc/passwd")
        self.refused(small, tmp_path, archive, "is a link")

    def test_a_bomb_is_not_unpacked(self, small, tmp_path):
        archive = write_zip(tmp_path / "a.zip", small_files() | {"LICENSE": b"\0" * 50_000_000})
        self.refused(small, tmp_path, archive, "differs from the published archive in LICENSE")

    def test_a_bomb_with_a_false_size_is_not_unpacked(self, small, tmp_path):
        archive = write_zip(tmp_path / "a.zip", small_files() | {"LICENSE": b"\0" * 5_000_000})
        altered = archive.read_bytes().replace((5_000_000).to_bytes(4, "little"), (7).to_bytes(4, "little"))
        (tmp_path / "altered.zip").write_bytes(altered)
        self.refused(small, tmp_path, tmp_path / "altered.zip", "LICENSE")

    def test_no_write_permission(self, small, tmp_path):
        (tmp_path / "data").touch()
        with pytest.raises(StudyError, match="Cannot write to"):
            get(small, tmp_path)


@pytest.fixture
def server():
    """A server on this machine that answers each request with the next of `answers`, the last one again and again."""

    class Handler(http.server.BaseHTTPRequestHandler):
        answers, requests = [], []

        def do_GET(self):
            self.requests.append(self.path)
            status, content, length = self.answers[min(len(self.requests), len(self.answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    Handler.url = f"http://127.0.0.1:{service.server_port}/set.zip"
    yield Handler
    service.shutdown()
    service.server_close()


class TestDownload:
    @pytest.fixture(autouse=True)
    def no_waiting(self, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda _: None)

    def test_a_whole_one(self, small, tmp_path, server):
        content = small[0].read_bytes()
        server.answers.append((200, content, len(content)))
        folder = get(small, tmp_path, archive=None, url=server.url)
        assert (folder / "Dataset 2" / "dataset.yaml").is_file()
        assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["segmentation_wbc"]

    def test_a_broken_transfer_and_a_busy_server_are_tried_again(self, small, tmp_path, server):
        content = small[0].read_bytes()
        server.answers += [(200, content[:500], len(content)), (503, b"", 0), (200, content, len(content))]
        assert (get(small, tmp_path, archive=None, url=server.url) / "README.rst").is_file()
        assert len(server.requests) == 3

    def test_a_transfer_that_always_breaks(self, small, tmp_path, server):
        server.answers.append((200, b"PK", 1000))
        with pytest.raises(StudyError, match="Cannot download http://127") as caught:
            get(small, tmp_path, archive=None, url=server.url)
        assert len(server.requests) == 4
        assert "wbcstudy data fetch segmentation_wbc --archive FILE" in caught.value.fix
        assert nothing_left(tmp_path)

    def test_a_login_page_instead_of_the_zip(self, small, tmp_path, server):
        page = b"<html>Welcome to the hospital's network</html>"
        server.answers.append((200, page, len(page)))
        with pytest.raises(StudyError, match="not a zip file"):
            get(small, tmp_path, archive=None, url=server.url)
        assert nothing_left(tmp_path)

    def test_no_network(self, small, tmp_path):
        with pytest.raises(StudyError, match="Cannot download"):
            get(small, tmp_path, archive=None, url="http://127.0.0.1:9/set.zip")
        assert nothing_left(tmp_path)

    def test_the_bar_is_shown_on_request(self, small, tmp_path, server, capfd):
        content = small[0].read_bytes()
        server.answers.append((200, content, len(content)))
        get(small, tmp_path, archive=None, url=server.url, progress=True)
        assert "100%" in capfd.readouterr().err


def test_the_shipped_manifest():
    sums = fetch._read_manifest(fetch._MANIFEST)
    ends = Counter(name.split("/")[0] + name[-4:] for name in sums if "/" in name)
    assert ends == {"Dataset 1.bmp": 300, "Dataset 1.png": 300, "Dataset 2.bmp": 100, "Dataset 2.png": 100}
    assert all(len(digest) == 64 for _, digest in sums.values())


@pytest.fixture(scope="module")
def data(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fetch_segmentation_wbc(archive, folder, progress=False)
    return folder


@pytest.mark.real
class TestRealImages:
    def test_dataset_1(self, data):
        report = check_dataset("segmentation_wbc_1", data)
        frame = report.frame()
        assert report.ok
        sizes = Counter(zip(frame.width_px, frame.height_px, strict=True))
        assert (len(frame), len(sizes), sizes[120, 120]) == (300, 30, 224)
        assert Counter(frame.cell_type) == {
            "neutrophil": 176, "lymphocyte": 53, "monocyte": 48, "eosinophil": 22, "basophil": 1
        }  # fmt: skip
        assert [pair.case_ids for pair in find_duplicates(load_dataset("segmentation_wbc_1", data), near=False)] == [
            ("112", "139")
        ]

    def test_dataset_2(self, data):
        report = check_dataset("segmentation_wbc_2", data)
        frame = report.frame()
        assert report.ok
        assert Counter(zip(frame.width_px, frame.height_px, strict=True)) == {(300, 300): 100}
        assert Counter(frame.cell_type) == {
            "neutrophil": 33, "lymphocyte": 37, "monocyte": 15, "eosinophil": 12, "basophil": 3
        }  # fmt: skip
        strays = frame.set_index("case_id").stray_pixels
        assert strays[strays > 0].to_dict() == {"034": 97, "035": 3, "047": 179, "050": 22, "076": 3}

    def test_the_manifest_is_what_the_script_makes(self, archive, tmp_path):
        import runpy
        from pathlib import Path

        script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "make_manifest.py"))
        assert script["write_manifest"](archive, tmp_path / "m.csv") == len(fetch._read_manifest(fetch._MANIFEST))
        assert (tmp_path / "m.csv").read_bytes() == fetch._MANIFEST.read_bytes()
