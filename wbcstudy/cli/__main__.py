"""Lets `python -m wbcstudy.cli` run the command."""

from wbcstudy.cli import main

main()
