"""A damaged file of a finished study is named or has no effect; `python -m tests.damage` tries all damages."""

from tests.damage import FILES, READERS, RUN, cut, damage_all, edit, remove, replace_by_folder, swap


def test_damaged_files_are_named_by_status_and_export(tmp_path):
    files = {name: FILES[name] for name in (f"runs/{RUN}/run.json", f"runs/{RUN}/scores.csv")}
    readers = {name: READERS[name] for name in ("status", "verify", "export")}
    lines = []
    totals = damage_all(tmp_path, files, (cut, swap, edit, remove, replace_by_folder), readers, show=lines.append)
    assert totals["named"] == 3 * totals["damages"], "\n".join(lines)
