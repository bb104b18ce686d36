"""Where things lie on this computer, and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wbcstudy.errors import StudyError

# The browser refuses all requests and scripts, even those that a printed result asks for.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:\">"
)
# Attempts to download a file.
_ATTEMPTS = 4


def project_root() -> Path:
    """The checkout: `$WBCSTUDY_ROOT`, or the nearest folder upwards that holds the notebooks.

    A notebook opened in JupyterLab runs in notebooks/, a batch in the checkout; both must find the same outputs/.

    Raises:
        StudyError: there is none.
    """
    given = os.environ.get("WBCSTUDY_ROOT")
    places = [Path(given)] if given else [Path.cwd(), *Path.cwd().parents]
    for place in places:
        if (place / "notebooks" / "2_train.ipynb").is_file():
            return place.resolve()
    raise StudyError(
        f"No wbcstudy checkout at {places[0]}" + ("." if given else " or above it."),
        expected="a folder with notebooks/2_train.ipynb, params/ and Snakefile",
        fix="Go to your copy of the wbcstudy repository, or set WBCSTUDY_ROOT to it.",
    )


def outputs_folder() -> Path:
    """Where studies are written: `$WBCSTUDY_OUTPUTS`, or outputs/ in the checkout."""
    given = os.environ.get("WBCSTUDY_OUTPUTS")
    return Path(given).resolve() if given else project_root() / "outputs"


def data_folder() -> Path:
    """Where fetched and generated datasets lie: `$WBCSTUDY_DATA`, or data/ in the checkout."""
    given = os.environ.get("WBCSTUDY_DATA")
    return Path(given).resolve() if given else project_root() / "data"


def weights_cache() -> Path:
    """Where weights are kept: `$WBCSTUDY_WEIGHTS`, or ~/.cache/wbcstudy/weights. Not made here."""
    given = os.environ.get("WBCSTUDY_WEIGHTS")
    return Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "wbcstudy" / "weights"


def expand_home(path: str | Path) -> Path:
    """A path whose `~` is the home of a user; where there is no such user, `~` is a letter like others."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def from_checkout_too(path: Path) -> list[Path]:
    """Where a path may lie: as it is, and a relative one from the checkout, if there is one."""
    if path.is_absolute():
        return [path]
    try:
        return [path, project_root() / path]
    except StudyError:
        return [path]


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; a path that no disk could have (too long, a NUL in it) is not there.

    Raises:
        StudyError: a folder on the way must not be looked into.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise StudyError(
            f"{path} cannot be looked at: {error.strerror}.",
            expected="a path whose folders you may enter",
            fix="Ask its owner for the permission, or copy what is meant to a folder of yours.",
        ) from None
    except (OSError, ValueError):
        return False


def short_path(path: Path) -> str:
    """A path as a person types it: from the current folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def cannot_write(path: Path, error: OSError, *, instead: str = "set WBCSTUDY_OUTPUTS to another folder") -> StudyError:
    """Return the error for a path that cannot be written: no permission, no space, read-only, or a file in the way.

    Args:
        path: the file or folder.
        error: the reason.
        instead: what the user can do if the folder cannot be made writable.
    """
    return StudyError(
        f"Cannot write to {path}: {error.strerror or error}.",
        expected="a folder that you may write to, on a disk with free space",
        fix=f"Check its permissions and the free space, or {instead}.",
    )


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` only when the block ends without an error.

    The temporary file lies beside the target and keeps its suffix, since writers choose a format by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        # mkstemp makes files private; results are for the group.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


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
        StudyError: all four attempts failed.
    """
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            with atomic_write(target) as part:
                downloader(url, part, None)
                if md5 and (received := md5_sum(part)) != md5:
                    raise ValueError(f"its MD5 sum is {received}")
            return
        except (OSError, ValueError) as error:
            # The errors of `requests` are OSErrors.
            reason = " ".join(str(error).split())[:300] or type(error).__name__
    free_mb = shutil.disk_usage(target.parent).free / 1e6 if target.parent.is_dir() else None
    raise StudyError(
        f"Cannot download {url}: {reason}"
        + (f" ({free_mb:.0f} MB free on that disk)." if free_mb is not None and free_mb < 1000 else "."),
        expected=f"a file with the MD5 sum {md5}" if md5 else "a connection to that server",
        fix=fix,
    )


def md5_sum(path: Path) -> str:
    """Return the MD5 sum of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON in one step; NaN is refused, since other readers do not know it."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        sync(part)


def sync(path: Path) -> None:
    """Have a file on the disk, and not only on the way there, where a power cut would empty it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is absent, damaged or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        # Damaged text and damaged JSON are ValueErrors.
        return None
    return values if isinstance(values, dict) else None


def page_template(name: str):
    """A self-contained page's Jinja template: values are escaped, and a missing one is an error.

    Args:
        name: file name in wbcstudy/templates/.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wbcstudy"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
