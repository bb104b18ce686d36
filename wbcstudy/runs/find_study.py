"""Find the file of a study by its path, its folder or its name."""

from __future__ import annotations

import difflib
from pathlib import Path

from wbcstudy.errors import StudyError, show_value
from wbcstudy.files import candidate_paths, expand_home, outputs_folder, path_exists
from wbcstudy.wording import join_words

_SUFFIXES = (".yaml", ".yml")
# A file to copy, not a study.
_TEMPLATE = "template"


def find_study_file(study: str | Path) -> Path:
    """Return the YAML file of a study.

    Args:
        study: path of the file, relative to the current folder or the checkout; or folder of the study, in
            `outputs_folder()`; or its name: `params/<name>.yaml` in the current folder or the checkout or, where there
            is none, the settings that the study has recorded in `outputs/<name>/`.

    Raises:
        StudyError: there is no such study; the message lists those there are.
    """
    path = expand_home(study)
    if path.suffix in _SUFFIXES:
        files = candidate_paths(path)
    else:
        known = _by_name(path.name) if len(path.parts) == 1 or _is_study_folder(path) else []
        # A file with another suffix: the reader of YAML names the fault.
        files = known + ([path] if path_exists(path) and not path.is_dir() else [])
    for file in files:
        if path_exists(file):
            return file
    raise unknown_study(study)


def unknown_study(study: str | Path) -> StudyError:
    """Return the error for a study that does not exist, with those there are."""
    known = known_study_names()
    closest = difflib.get_close_matches(Path(study).stem[:100], known, n=1, cutoff=0.5)
    names = f"the name of a study: {join_words(known, 'or', most=20)}" if known else "the name of a study"
    return StudyError(
        f"There is no study {show_value(str(study))}.",
        expected=f"params/<study>.yaml, a folder in {outputs_folder()}, or {names}",
        fix=f"Did you mean {closest[0]!r}?" if closest else "Check the name. `wbcstudy init FOLDER` makes a study.",
    )


def known_study_names() -> list[str]:
    """Return the names of the studies in params/ and in outputs/, in the order of the alphabet."""
    files = [file for folder in candidate_paths(Path("params")) for file in folder.glob("*.yaml")]
    files += [file for file in outputs_folder().glob("*/*.yaml") if file.stem == file.parent.name]
    return sorted({file.stem for file in files} - {_TEMPLATE})


def known_run_names(study: str = "") -> list[str]:
    """Return `<study>/<run>` of the runs in outputs/ that have started.

    Args:
        study: name of a study; '' for all.
    """
    records = outputs_folder().glob(f"{study or '*'}/runs/*/params.yaml")
    return sorted(f"{path.parents[2].name}/{path.parent.name}" for path in records)


def _by_name(name: str) -> list[Path]:
    settings = [path for suffix in _SUFFIXES for path in candidate_paths(Path("params") / f"{name}{suffix}")]
    return [*settings, outputs_folder() / name / f"{name}.yaml"] if name else []


def _is_study_folder(path: Path) -> bool:
    try:
        return path.resolve().parent == outputs_folder().resolve()
    except (OSError, RuntimeError, ValueError):
        # A loop of links, or a character that no path has.
        return False
