"""The hidden commands of the Makefile and the Snakefile."""


def test_hidden_commands_are_not_listed(command):
    _, printed, _ = command("--help")
    assert "segment" in printed and "mark-failed" not in printed and "score-on-dataset" not in printed
