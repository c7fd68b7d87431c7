"""The examples of README and guide run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from typer.testing import CliRunner

from detector.conformal import Guarantee, Promise
from service import cli
from service.cli import app
from service.local_server import local_server
from tests.project.photographs import trained_resnet18, write_photographs

ROOT = Path(__file__).parents[2]
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "GUIDE.md")}
ADDRESS = "127.0.0.1:50051"


def _blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[name], flags=re.DOTALL)


def _commands(name):
    lines = "\n".join(_blocks(name, "console")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("offpath ")]


def test_python_examples_run_against_a_real_server(default_server, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    examples = _blocks("README.md", "python")
    assert examples
    for example in examples:
        assert ADDRESS in example
        exec(compile(example.replace(ADDRESS, default_server), "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("cat ")


@pytest.mark.slow
def test_the_guide_leads_from_folders_of_images_to_verdicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_photographs(Path("photos"))
    torch.save(trained_resnet18().state_dict(), "resnet18.pt")
    commands = [shlex.split(command)[1:] for command in _commands("GUIDE.md")]
    names = [name for name, *_ in commands]
    assert names == ["train", "extract", "calibrate", "serve", "check", "extract", "calibrate"]
    before, (_, *options), (_, *asked), after = _around(commands, names.index("serve"))
    _run(before)
    with local_server(*options) as server:
        assert asked[-1] == ADDRESS
        capsys.readouterr()
        _run([["check", *asked[:-1], server.address, "--json"]])
        answer = capsys.readouterr().out
    assert re.findall(r'"label": "(\w+)"', answer) == ["apple", "plum"]
    _run(after)
    assert re.findall(r"^(fgsm|pgd).*AUROC [\d.]+", capsys.readouterr().out, flags=re.MULTILINE)


def _around(commands, place):
    return commands[:place], commands[place], commands[place + 1], commands[place + 2 :]


def _run(commands):
    try:
        for command in commands:
            assert cli.run(command) == 0, command
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def test_the_guide_tells_how_many_images_calibration_asks_for():
    rows = re.findall(r"^\| (0\.\d+)[^|]*\| (\d+) \| (\d+) \|$", TEXTS["GUIDE.md"], re.MULTILINE)
    assert len(rows) == 6
    for alpha, *found in rows:
        promises = (Promise(guarantee=guarantee) for guarantee in Guarantee)
        assert [int(number) for number in found] == [
            promise.minimum_images(float(alpha)) for promise in promises
        ]


@pytest.mark.parametrize("command", [each for name in TEXTS for each in _commands(name)])
def test_each_command_has_the_options_that_the_documents_use(command):
    _, name, *arguments = shlex.split(command)
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [name, "--help"]).output
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in shown


@pytest.mark.parametrize(
    "link",
    sorted(
        {
            link
            for text in TEXTS.values()
            for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text)
        }
    ),
)
def test_each_link_leads_to_a_file(link):
    assert (ROOT / link).exists()


def test_the_help_of_make_says_how_long_the_figures_take_as_the_readme_does():
    (told,) = re.findall(
        r"^figures:.*figure, (.+); ", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    readme = " ".join(TEXTS["README.md"].split())
    assert f"`make figures` measures them again, in {told} on two cores" in readme


def test_each_make_command_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    written = "\n".join(_blocks("README.md", "console")) + TEXTS["README.md"]
    used = set(re.findall(r"make ([a-z-]+)", written)) - {"it", "sure"}
    assert used <= targets
