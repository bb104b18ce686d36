"""The table of `wbcstudy status`."""

from wbcstudy.study.status import status_lines

LONG = "mobilenetv2__cross_entropy__fine-tuned__fold0__seed{}"
ROW = {"epoch": 10, "epochs": 10, "nucleus": 0.9412, "cytoplasm": 0.8731, "problem": "", "fix": "", "changed": []}
DONE = ROW | {"status": "complete", "files": "checked"}
WAITING = ROW | {"status": "unfinished", "epoch": None, "nucleus": None, "cytoplasm": None, "files": None}


def test_sixty_runs_with_long_names_fit_into_80_columns():
    rows = [(DONE if seed % 2 else WAITING) | {"run": LONG.format(seed)} for seed in range(60)]
    lines = status_lines(rows, 80)
    assert max(map(len, lines)) <= 80
    table = lines[1:61]
    assert len({line.split()[0] for line in table}) == 60, "shortened names are still different"
    assert "60 runs: 30 unfinished, 30 complete. Files of finished runs: 30 checked." in lines


def test_another_program_gets_whole_names_and_all_columns():
    lines = status_lines([DONE | {"run": LONG.format(0)}, WAITING | {"run": "unet__dice__fold0__seed0"}])
    assert lines[0].split() == ["run", "status", "epoch", "nucleus", "cytoplasm", "files"]
    assert lines[1].split() == [LONG.format(0), "complete", "10/10", "0.9412", "0.8731", "checked"]
    assert lines[2].split() == ["unet__dice__fold0__seed0", "unfinished", "0/10", "-", "-", "-"]


def test_problems_follow_the_table():
    bad = WAITING | {
        "run": "a",
        "status": "damaged",
        "files": "damaged",
        "problem": "scores.csv changed",
        "fix": "Copy.",
    }
    changed = DONE | {"run": "b", "changed": ["train.html"], "files": "not verifiable"}
    lines = status_lines([bad, changed], 80)
    assert lines[lines.index("scores.csv changed") + 1] == "  Copy."
    assert any(line.startswith("b: changed") and "train.html" in line for line in lines)
    assert "Not verifiable (made by an earlier version): b." in lines
