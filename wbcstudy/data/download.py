"""Download a file completely and verified, or not at all, within limits of size and time."""

from __future__ import annotations

import shutil
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, md5_sum

# Attempts to download a file, its largest size, and the time for all attempts: the largest known file has 0.3 GB.
_ATTEMPTS = 4
MOST_DOWNLOADED_BYTES = 2_000_000_000
DOWNLOAD_S = 7200


class DownloadLimitError(Exception):
    """A download was larger or took longer than allowed; a further attempt would, too."""


class _LimitedFile:
    """A file for a download, which refuses to become larger than `MOST_DOWNLOADED_BYTES` or to be written too late."""

    def __init__(self, path: Path, end: float) -> None:
        self._file, self._end, self._size = path.open("wb"), end, 0

    def write(self, data: bytes) -> int:
        self._size += len(data)
        if self._size > MOST_DOWNLOADED_BYTES:
            raise DownloadLimitError(f"it has more than {MOST_DOWNLOADED_BYTES / 1e6:,.0f} MB")
        if time.monotonic() > self._end:
            raise DownloadLimitError(_too_slow())
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _too_slow() -> str:
    return f"it took more than {DOWNLOAD_S / 60:.0f} minutes"


def _fetch(downloader: Callable, url: str, part: Path, end: float) -> None:
    """Download into a file until a time; a server that sends a byte now and then cannot hold the program."""
    file, errors = _LimitedFile(part, end), []

    def run() -> None:
        try:
            downloader(url, file, None)
        except Exception as error:
            errors.append(error)
        finally:
            file.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, end - time.monotonic()))
    if errors:
        raise errors[0]
    if thread.is_alive():
        raise DownloadLimitError(_too_slow())


def download(
    url: str,
    target: Path,
    *,
    fix: str,
    md5: str | None = None,
    pause_s: float = 1.0,
    progress: bool = False,
) -> None:
    """Download one file; `target` is written only when the file is complete and verified.

    Args:
        url: the address.
        target: the file to write.
        fix: how to get the file by hand, for the error message.
        md5: the expected MD5 sum, or None where it is unknown.
        pause_s: wait before the second attempt, in seconds; doubled before each further one.
        progress: show a progress bar.

    Raises:
        StudyError: all four attempts failed, or the file is too large, or takes more than two hours.
    """
    import pooch

    end = time.monotonic() + DOWNLOAD_S

    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            with atomic_write(target) as part:
                _fetch(downloader, url, part, end)
                if md5 and (received := md5_sum(part)) != md5:
                    raise ValueError(f"its MD5 sum is {received}")
            return
        except DownloadLimitError as error:
            reason = str(error)
            break
        except (OSError, ValueError) as error:
            # The errors of `requests` are OSErrors.
            reason = textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__
    free_mb = shutil.disk_usage(target.parent).free / 1e6 if target.parent.is_dir() else None
    raise StudyError(
        f"Cannot download {url}: {reason}"
        + (f" ({free_mb:.0f} MB free on that disk)." if free_mb is not None and free_mb < 1000 else "."),
        expected=f"a file with the MD5 sum {md5}" if md5 else "a connection to that server",
        fix=fix,
    )
