import inspect

import pytest

from detector import errors


def tree(error=errors.OffpathError, depth=0):
    """Names below an error, with their depth, as the docstring draws them."""
    yield depth, error.__name__
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def test_the_docstring_draws_every_error_where_it_stands():
    drawn = []
    for line in inspect.getdoc(errors).splitlines():
        if line.startswith("    "):
            stem, name = line[4:].split("-- ") if "-- " in line else ("", line.strip())
            drawn.append((len(stem) // 4 + ("-- " in line), name.split()[0]))
    assert sorted(drawn) == sorted(tree())


def test_every_error_is_public():
    assert sorted(errors.__all__) == sorted(name for _, name in tree())


@pytest.mark.parametrize("kind", [errors.ImageError, errors.BudgetError])
def test_an_invalid_input_names_its_field(kind):
    assert kind("message", field="images[2]").field == "images[2]"
    assert kind("message").field == ""
    assert str(kind("message")) == "message"
