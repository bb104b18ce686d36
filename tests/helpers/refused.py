"""Check that bad input on the command line is refused with a short message, and nothing is half-written."""

SCREEN_LINES = 24


def change(study, old, new):
    study.write_text(study.read_text().replace(old, new))


def check_refused(result, places, *texts):
    code, _, message = result
    assert code == 2
    for text in texts:
        assert text in message
    assert "Expected:" in message and "To fix:" in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= SCREEN_LINES
    assert not (places / "outputs").exists() or not any((places / "outputs").rglob("params.yaml"))
