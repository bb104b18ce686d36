"""A damaged file of a finished study is named or has no effect; `python -m tests.damage` tries all damages."""

import pytest

from tests.damage import FILES, READERS, RUN, cut, damage_all, edit, remove, replace_by_folder, swap


@pytest.mark.parametrize("digests", [True, False])
def test_damaged_files_are_named_by_status_and_segment(tmp_path, digests):
    names = ("run.json", "scores.csv", "params.yaml", "model.keras")
    files = {path: other for path, other in FILES.items() if path in [f"runs/{RUN}/{name}" for name in names]}
    readers = {name: READERS[name] for name in ("status", "verify", "export")}
    damages = (cut, swap, remove, replace_by_folder, *([edit] if digests else []))
    lines = []
    totals = damage_all(tmp_path, files, damages, readers, digests, lines.append)
    assert totals["SILENT"] + totals["TRACEBACK"] == 0, "\n".join(lines)
    assert totals["named"] > len(files)
