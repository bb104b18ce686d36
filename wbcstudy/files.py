"""The project's folders, and files that are written completely or not at all."""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbcstudy.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

# Browsers then refuse all requests and scripts, also those inside a printed result.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:\">"
)
# Starts of the names of temporary files and folders; the others are of earlier versions.
_PARTS = (".part-", ".fetching-", ".making-")
_swept: set[Path] = set()
# Starts of text that is a formula in a spreadsheet, and of text that `escape_cell` has changed.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
# The largest table and the largest JSON record that are read, in bytes: as Python objects they need ten times as much.
MOST_BYTES, _MOST_JSON_BYTES = 100_000_000, 50_000_000
# The largest file of any kind.
MOST_HASHED_BYTES = 10_000_000_000


def project_root() -> Path:
    """Return the checkout: `$WBCSTUDY_ROOT`, or the current folder or its nearest parent that holds the notebooks.

    A notebook opened in JupyterLab runs in notebooks/, `wbcstudy run` in the checkout; both must use the same outputs/.

    Raises:
        StudyError: there is no checkout.
    """
    given = os.environ.get("WBCSTUDY_ROOT")
    folders = [Path(given)] if given else [Path.cwd(), *Path.cwd().parents]
    for folder in folders:
        if (folder / "notebooks" / "2_train.ipynb").is_file():
            return folder.resolve()
    raise StudyError(
        f"No wbcstudy checkout at {folders[0]}" + ("." if given else " or above it."),
        expected="a folder with notebooks/2_train.ipynb, params/ and Snakefile",
        fix="Go to your copy of the wbcstudy repository, or set WBCSTUDY_ROOT to it.",
    )


def outputs_folder() -> Path:
    """Return the folder of all studies: `$WBCSTUDY_OUTPUTS`, or outputs/ in the checkout."""
    given = os.environ.get("WBCSTUDY_OUTPUTS")
    return Path(given).resolve() if given else project_root() / "outputs"


def data_folder() -> Path:
    """Return the folder of fetched and generated datasets: `$WBCSTUDY_DATA`, or data/ in the checkout."""
    given = os.environ.get("WBCSTUDY_DATA")
    return Path(given).resolve() if given else project_root() / "data"


def weights_cache() -> Path:
    """Return the folder of downloaded weights: `$WBCSTUDY_WEIGHTS`, or ~/.cache/wbcstudy/weights; it need not exist."""
    given = os.environ.get("WBCSTUDY_WEIGHTS")
    if given:
        return expand_home(given).resolve()
    try:
        return Path.home() / ".cache" / "wbcstudy" / "weights"
    except RuntimeError:
        # A user without a home folder, as in some containers.
        return data_folder() / "weights"


def read_number(variable: str, default: float, meaning: str) -> float:
    """Return the number in an environment variable, or the default if it is not set.

    Args:
        variable: its name.
        default: a number of 0 or more.
        meaning: what it is, with its unit, for the error.

    Raises:
        StudyError: it is not a number of 0 or more.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise StudyError(
            f"{variable}={text!r} is not valid.",
            expected=f"{meaning}, a number of 0 or more",
            fix=f"Set it to a number, or unset it for the default of {default:g}.",
        )
    return number


def expand_home(path: str | Path) -> Path:
    """Replace `~` by the home folder; where there is no such user, the path stays unchanged."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def candidate_paths(path: Path) -> list[Path]:
    """Return the paths that a given one may mean: from the current folder and, if it is relative, from the checkout."""
    if path.is_absolute():
        return [path]
    try:
        return [path, project_root() / path]
    except StudyError:
        return [path]


def path_exists(path: Path) -> bool:
    """Whether there is a file or folder; False for impossible paths (too long, with a NUL).

    Raises:
        StudyError: no permission to enter one of its folders.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise StudyError(
            f"Cannot access {path}: {error.strerror}.",
            expected="a path whose folders you may enter",
            fix="Ask its owner for permission, or copy the files to your own folder.",
        ) from None
    except (OSError, ValueError):
        return False


def short_path(path: Path) -> str:
    """Return a path as a person types it: relative if it is inside the current folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def cannot_write(path: Path, error: OSError, *, instead: str = "set WBCSTUDY_OUTPUTS to another folder") -> StudyError:
    """Return the error for a path that cannot be written: no permission, disk full, read-only, a file in the way.

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
    """Yield a temporary path, which becomes `target` only when the block ends without an error.

    The temporary file is in the target's folder and keeps its suffix, from which writers choose a format.
    """

    def make() -> str:
        handle, name = tempfile.mkstemp(prefix=_PARTS[0], suffix=target.suffix, dir=target.parent)
        os.close(handle)
        return name

    with _locked(target.parent, make) as part:
        try:
            # mkstemp makes files private; results may be shared.
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new private folder in `parent`, which is deleted at the end with everything that is still in it."""
    with _locked(parent, lambda: tempfile.mkdtemp(prefix=_PARTS[0], dir=parent)) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(parent: Path, make: Callable[[], str]) -> Iterator[Path]:
    """Make a temporary file or folder in `parent`, locked until the block ends: `sweep` deletes only unlocked ones.

    The first call for a folder sweeps it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    if parent not in _swept:
        _swept.add(parent)
        sweep(parent)
    while True:
        path = Path(make())
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            # Swept before it was locked.
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink and path.exists():
            break
        os.close(handle)
    try:
        yield path
    finally:
        os.close(handle)


def sweep(folder: Path, *, deep: bool = False) -> None:
    """Delete the temporary files and folders that killed processes left in a folder.

    Those in use are locked by their process. Where the file system has no locks, only those of an earlier day are
    deleted.

    Args:
        folder: need not exist.
        deep: also sweep all folders below.
    """
    search = folder.rglob if deep else folder.glob
    for path in [path for part in _PARTS for path in search(f"{part}*")]:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unused = True
            except BlockingIOError:
                unused = False
            except OSError:
                unused = time.time() - path.stat().st_mtime > 86_400
            try:
                if unused and path.is_dir():
                    shutil.rmtree(path)
                elif unused:
                    path.unlink()
            finally:
                os.close(handle)


def md5_sum(path: Path) -> str:
    """Return the MD5 sum of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON in one step; NaN is refused, since it is not valid JSON."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        sync(part)


def sync(path: Path) -> None:
    """Flush a file to the disk, so that a power cut cannot leave it empty."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where the file is absent, damaged or holds another type."""
    try:
        values = json.loads(read_json_bytes(path))
    except (OSError, ValueError, RecursionError):
        # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        return None
    return values if isinstance(values, dict) else None


def check_file(path: Path, most: int) -> None:
    """Check that a path is a regular file, or a link to one, of at most `most` bytes.

    A pipe or a device has no end, and a file of many gigabytes does not fit in memory.

    Raises:
        OSError: there is no such file, it is not a regular file, or it is larger; the reason is in `strerror`.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    if status.st_size > most:
        reason = f"it has {status.st_size / 1e6:,.1f} MB, more than the {most / 1e6:,.1f} MB that such a file may have"
        raise OSError(errno.EFBIG, reason, str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes. Errors as `check_file`."""
    check_file(path, most)
    return path.read_bytes()


def read_json_bytes(path: Path) -> bytes:
    """Read a JSON file; errors as `check_file`."""
    return read_bytes(path, _MOST_JSON_BYTES)


def sha256_sum(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits; errors as `check_file`."""
    check_file(path, MOST_HASHED_BYTES)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def escape_cell(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet program would run as a formula; `unescape_cell` removes it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def unescape_cell(value: Any) -> Any:
    """Return the text that `escape_cell` was given."""
    return value[1:] if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) else value


def escape_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose text is safe in a spreadsheet program, see `escape_cell`."""
    text = [name for name in frame if frame[name].dtype.kind == "O"]
    return frame.assign(**{name: frame[name].map(escape_cell, na_action="ignore") for name in text})


def page_policy(scripts: Iterable[str] = ()) -> str:
    """Return the element that makes browsers refuse all requests, and all scripts but these.

    It also holds for anything inside a printed result.

    Args:
        scripts: text of each `<script>` element of the page, exactly.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = "script-src " + " ".join(f"'sha256-{value}'" for value in hashes) + "; " if hashes else ""
    return (
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src data:; font-src data:\">"
    )


def read_template(name: str) -> str:
    """Return the text of a file in wbcstudy/templates/ as it is, for a script or style of a page."""
    return (resources.files("wbcstudy") / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def page_template(name: str):
    """Return the Jinja template of a self-contained page: values are escaped, and a missing value is an error.

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
