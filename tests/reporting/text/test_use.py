"""Commands to use the recommended network."""

import shlex

import typer

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.cli import app
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.use import use_commands


def test_the_commands_to_use_the_network_exist(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("resnet18", "unet")), cases=3)
    commands = [command for _, command in use_commands(results)]
    assert commands[0].startswith("wbcstudy segment my_images --model demo ")
    run = commands[1].split("--model ")[1].split()[0]
    assert run.removeprefix("outputs/demo/runs/") in {run.name for run in results.best_runs}
    for command in commands:
        words = shlex.split(command)
        typer.main.get_command(app).commands[words[1]].make_context(words[1], words[2:])
    assert use_commands(with_runs(results, [])) == []
