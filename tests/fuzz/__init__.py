"""The fuzzer: `python -m tests.fuzz` feeds damaged inputs to the commands that read them."""
