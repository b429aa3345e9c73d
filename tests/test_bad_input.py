"""Bad and odd arguments of all public functions: refused in our own words, or understood.

In a process of its own, without the type checks around functions that all other tests run under:
whoever uses the package does not have them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path

import pytest
import torch

from tools.search.inputs import CALLS

CODE = "import json; from tools.search import inputs; print(json.dumps(inputs.tried(16)))"


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, str]]:
    """For every function, what went wrong with each of some bad or odd arguments."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_there_are_many_cases(said):
    assert sum(len(cases) for cases in said.values()) > 1000


@pytest.mark.parametrize("function", CALLS)
def test_bad_arguments_are_refused_and_odd_ones_understood(said, function):
    assert {case: wrong for case, wrong in said[function].items() if wrong} == {}


@pytest.mark.parametrize("function", CALLS)
def test_another_default_device_changes_nothing(function):
    call = CALLS[function]
    arguments = call.arguments()
    with torch.device("meta"):  # where nothing can be computed
        made = call.function(**arguments)
    assert not any(tensor.is_meta for tensor in tensors_in(made))


def tensors_in(value) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(tensors_in, value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(tensors_in, value))
    elif is_dataclass(value):
        yield from chain.from_iterable(tensors_in(getattr(value, f.name)) for f in fields(value))
