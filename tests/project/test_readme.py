"""The README's examples run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:50051"


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _commands():
    lines = "\n".join(_blocks("console")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("offpath ")]


def test_python_examples_run_against_a_real_server(default_server, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    examples = _blocks("python")
    assert examples
    for example in examples:
        assert ADDRESS in example
        exec(compile(example.replace(ADDRESS, default_server), "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("cat ")


@pytest.mark.parametrize("command", _commands())
def test_each_command_has_the_options_that_the_readme_uses(command):
    _, name, *arguments = shlex.split(command)
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [name, "--help"]).output
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in shown


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_each_link_leads_to_a_file(link):
    assert (ROOT / link).exists()


def test_each_make_command_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = set(re.findall(r"make ([a-z-]+)", "\n".join(_blocks("console")) + README))
    used -= {"it", "sure"}
    assert used <= targets
