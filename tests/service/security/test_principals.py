"""The file of principals says all that is wrong with it, and finds callers by what they show."""

from __future__ import annotations

import hmac
from pathlib import Path
from types import SimpleNamespace

import pytest

from detector.errors import InvalidInputError
from service.errors import StartError
from service.security import principals as module
from service.security.principal import ALL_RIGHTS, Principal, Rate, Right
from service.security.principals import KnownPrincipal, Principals, token_digest
from service.security.principals_file import load_principals, parse_principals

DIGEST = token_digest("secret").hex()
TOKEN = f'token_sha256 = ["{DIGEST}"]\n'


def test_a_principal_has_the_rights_and_quotas_of_its_table() -> None:
    found = parse_principals(
        f'[web]\n{TOKEN}rights = ["score", "alpha"]\n'
        "calls_per_s = 20\nimages_per_s = 0.5\nimages_burst = 8\n"
    ).by_token("secret")
    assert found == Principal(
        name="web",
        rights=frozenset({Right.SCORE, Right.ALPHA}),
        calls=Rate(per_s=20, burst=20),
        images=Rate(per_s=0.5, burst=8),
    )


def test_a_principal_has_no_right_and_no_quota_unless_it_is_given_one() -> None:
    assert parse_principals(f"[web]\n{TOKEN}").by_token("secret") == Principal(name="web")


def test_two_tokens_count_while_one_is_exchanged() -> None:
    both = [DIGEST, token_digest("newer").hex()]
    found = parse_principals(f"[web]\ntoken_sha256 = {both}\n")
    assert found.by_token("secret") is found.by_token("newer") is not None


def test_a_certificate_names_a_principal() -> None:
    found = parse_principals('[web]\ncertificate = "web.example"\n')
    assert found.by_certificate("web.example") == Principal(name="web")
    assert found.by_certificate("other.example") is None
    assert found.by_token("web.example") is None


BAD_FILES = {
    "no TOML": ("[web", "TOML"),
    "empty": ("", "at least one"),
    "value outside": ("x = 1", "table"),
    "nothing to show": ("[web]\nrights = []", "offpath token"),
    "unknown field": (f"[web]\n{TOKEN}right = []", "Found right"),
    "unknown right": (f'[web]\n{TOKEN}rights = ["all"]', "score, path, explanation, alpha"),
    "rights as text": (f'[web]\n{TOKEN}rights = "score"', "list of strings"),
    "short digest": ('[web]\ntoken_sha256 = ["abc"]', "64 hexadecimal"),
    "digest in capitals": (f'[web]\ntoken_sha256 = ["{DIGEST.upper()}"]', "lower case"),
    "too many tokens": (
        "[web]\ntoken_sha256 = " + str([token_digest(str(i)).hex() for i in range(5)]),
        "at most 4",
    ),
    "token of two": (f"[a]\n{TOKEN}[b]\n{TOKEN}", "once"),
    "certificate of two": ('[a]\ncertificate = "c"\n[b]\ncertificate = "c"', "once"),
    "certificate without a name": ('[a]\ncertificate = ""', "common name"),
    "bad name": (f'["a b"]\n{TOKEN}', "letters"),
    "rate of zero": (f"[web]\n{TOKEN}calls_per_s = 0", "above 0"),
    "rate without end": (f"[web]\n{TOKEN}calls_per_s = inf", "above 0"),
    "burst below one": (f"[web]\n{TOKEN}calls_per_s = 1\ncalls_burst = 0.5", "at least 1"),
    "burst alone": (f"[web]\n{TOKEN}images_burst = 5", "images_per_s"),
    "rate as text": (f'[web]\n{TOKEN}calls_per_s = "5"', "number"),
    "rate as truth": (f"[web]\n{TOKEN}calls_per_s = true", "number"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_at_fault_is_one_clear_error(case: str, tmp_path: Path) -> None:
    text, said = BAD_FILES[case]
    file = tmp_path / "principals.toml"
    file.write_text(text)
    with pytest.raises(StartError, match="Found") as caught:
        load_principals(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_token_pasted_in_place_of_its_hash_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_principals('[web]\ntoken_sha256 = ["offpath_precious"]')
    assert "precious" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * (2**20 + 1)])
def test_a_file_that_cannot_be_read_is_one_clear_error(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "principals.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartError, match=r"principals\.toml"):
        load_principals(file)


def test_more_principals_than_a_call_can_be_compared_with_are_refused() -> None:
    known = [
        KnownPrincipal(principal=Principal(name=f"p{i}"), token_digests=(token_digest(str(i)),))
        for i in range(module.MOST_PRINCIPALS + 1)
    ]
    assert Principals(known[:-1]).by_token("7") == Principal(name="p7")
    with pytest.raises(InvalidInputError, match="at most"):
        Principals(known)


@pytest.mark.parametrize("token", ["0", "1", "9", "wrong", ""])
def test_every_token_is_compared_with_all_of_them_in_constant_time(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [
        KnownPrincipal(principal=Principal(name=f"p{i}"), token_digests=(token_digest(str(i)),))
        for i in range(10)
    ]
    compared: list[bytes] = []

    def compare(known: bytes, sent: bytes) -> bool:
        compared.append(known)
        return hmac.compare_digest(known, sent)

    monkeypatch.setattr(module, "hmac", SimpleNamespace(compare_digest=compare))
    Principals(known).by_token(token)
    assert compared == [token_digest(str(i)) for i in range(10)]


def test_every_right_can_be_given() -> None:
    rights = [str(right) for right in Right]
    found = parse_principals(f"[web]\n{TOKEN}rights = {rights}").by_token("secret")
    assert found is not None
    assert found.rights == ALL_RIGHTS
