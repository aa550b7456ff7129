"""What a newcomer copies from the pages works."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from simrack.cli.main import build
from simrack.controller.config.files import read_file

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README.replace("\n   ", "\n"), re.DOTALL))
LINES = sorted(set(re.findall(r"^simrack (.*?)(?: *#.*)?$", BLOCKS, re.MULTILINE) + re.findall(r"`simrack ([a-z][^`]*)`", README)))
COMMANDS = get_command(build())


def test_the_example_routing_file_is_accepted(tmp_path: Path) -> None:
    (example, *_) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.DOTALL)
    path = tmp_path / "routing.toml"
    path.write_text(example)
    assert [sender.name for sender in read_file(path).sender] == ["pbx"]


def test_the_readme_names_commands() -> None:
    assert len(LINES) > 10


@pytest.mark.parametrize("line", LINES)
def test_commands_of_the_readme_exist_with_their_options(line: str) -> None:
    command = COMMANDS
    words = line.replace(",", " ").split()
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known | {"--help"}
