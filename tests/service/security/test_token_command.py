"""A token is told once; what the server keeps of it lets its holder in."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import cli
from service.security.principal import Right
from service.security.principals_file import parse_principals
from service.security.token_command import make_token


def test_the_entry_goes_to_the_output_and_the_token_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["token", "web", "--right", "score", "--right", "path"]) == 0
    captured = capsys.readouterr()
    token = captured.err.strip()
    assert token not in captured.out
    found = parse_principals(captured.out).by_token(token)
    assert found is not None
    assert (found.name, found.rights) == ("web", {Right.SCORE, Right.PATH})


def test_entries_of_several_callers_make_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("web", "batch-2"):
        assert cli.run(["token", name]) == 0
    captured = capsys.readouterr()
    principals = parse_principals(captured.out)
    found = [principals.by_token(token) for token in captured.err.split()]
    assert [each.name for each in found if each] == ["web", "batch-2"]
    assert all(each.rights == frozenset() for each in found if each)


def test_a_token_file_is_readable_by_its_owner_alone_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.token"
    assert cli.run(["token", "web", "--token-file", str(file)]) == 0
    captured = capsys.readouterr()
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text().strip()
    assert captured.err == ""
    assert parse_principals(captured.out).by_token(token) is not None
    assert cli.run(["token", "web", "--token-file", str(file)]) == 2
    captured = capsys.readouterr()
    assert "new file" in captured.err
    assert captured.out == ""
    assert file.read_text().strip() == token


@pytest.mark.parametrize("name", ["two words", "", "a" * 65, "a.b", "ä", 'a"]'])
def test_a_name_that_cannot_be_a_principals_is_one_sentence(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["token", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_tokens_are_long_random_and_known_to_scanners() -> None:
    made = {make_token("web").token for _ in range(100)}
    assert len(made) == 100
    assert all(token.startswith("offpath_") and len(token) == 51 for token in made)


def test_a_new_token_does_not_show_itself() -> None:
    made = make_token("web")
    assert made.token not in repr(made)
