"""Stacks against plain dicts of tensors, sliced by hand."""

import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch

from llrnb import cnn, fully_connected, numerical_rank, train
from llrnb.least_squares import draw_starts, fit
from llrnb.stacks import DamagedStack, Stack
from llrnb.targets import draw, paper_target


def params(nets=5, seed=0):
    rng = torch.manual_seed(seed)
    shapes = {"w": (3, 2), "0.weight": (4,), "c": ()}
    return {
        name: torch.randn(nets, *shape, generator=rng, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype


def test_a_stack_is_read_like_the_dict_that_it_holds():
    plain = params()
    stack = Stack(plain)
    assert len(stack) == 3 and stack.nets == 5
    assert_same(dict(stack), plain)
    assert_same({**stack}, plain)
    assert "w" in stack and "b" not in stack and 0 not in stack and stack.get("b") is None
    with pytest.raises(KeyError):
        stack["b"]


@pytest.mark.parametrize("number", [0, -1, np.int64(3), torch.tensor(2)])
def test_a_number_is_one_network(number):
    plain = params()
    found = Stack(plain)[number]
    assert type(found) is dict
    assert_same(found, {name: value[int(number)] for name, value in plain.items()})


SOME = {
    "a slice": (slice(1, 4), [1, 2, 3]),
    "a list": ([3, 0, 3], [3, 0, 3]),
    "none": ([], []),
    "negative ones": (np.array([-1, 1]), [4, 1]),
    "a range": (range(0, 5, 2), [0, 2, 4]),
    "a tensor": (torch.tensor([2, 1]), [2, 1]),
    "a mask": ([True, False, False, True, False], [0, 3]),
    "an array's mask": (np.arange(5) > 2, [3, 4]),
    "a tensor's mask": (torch.arange(5) < 0, []),
}


@pytest.mark.parametrize("name", SOME)
def test_several_numbers_are_a_stack(name):
    key, picked = SOME[name]
    plain = params()
    found = Stack(plain)[key]
    assert isinstance(found, Stack) and found.nets == len(picked)
    assert_same(found, {key: value[picked] for key, value in plain.items()})


def test_each_network_and_back_is_the_same_stack():
    stack = Stack(params())
    each = list(stack.each())
    assert len(each) == 5
    assert_same(Stack.of(each), stack)
    assert_same(Stack.joined([stack[:2], stack[2:]]), stack)
    assert_same(stack.to(dtype=torch.float32)[1], {name: v[1].float() for name, v in stack.items()})


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_a_file_gives_back_what_it_was_given(tmp_path, precision):
    stack = Stack({**params(), "..": torch.zeros(5, 0, dtype=torch.float64)}).to(dtype=precision)
    stack.save(tmp_path / "a stack.npz")
    assert_same(Stack.load(tmp_path / "a stack.npz"), stack)
    assert [path.name for path in tmp_path.iterdir()] == ["a stack.npz"]
    with np.load(tmp_path / "a stack.npz") as arrays:
        assert np.array_equal(arrays["w"], stack["w"].numpy())


def test_a_file_is_never_overwritten_and_a_failed_one_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "stack.npz"
    Stack(params()).save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="needs a new file"):
        Stack(params(seed=1)).save(path)
    assert path.read_bytes() == before
    monkeypatch.setattr(np.lib.format, "write_array", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Stack(params()).save(tmp_path / "other.npz")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="needs parameters in .*bfloat16"):
        Stack(params()).to(dtype=torch.bfloat16).save(tmp_path / "other.npz")


def with_pickle(path):
    with zipfile.ZipFile(path, "w") as file, file.open("w.npy", "w") as member:
        np.lib.format.write_array(member, np.array([{}]), allow_pickle=True)


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "altered": lambda path: path.write_bytes(
        (data := bytearray(path.read_bytes())).__setitem__(200, data[200] ^ 1) or data
    ),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("w = 3"),
    "no arrays": lambda path: zipfile.ZipFile(path, "w").close(),
    "of integers": lambda path: np.savez(path, w=np.arange(3)),
    "of other numbers": lambda path: np.savez(path, w=np.ones(3), b=np.ones(2)),
    "pickled": with_pickle,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named(name, tmp_path):
    path = tmp_path / "stack.npz"
    Stack(params()).save(path)
    DAMAGE[name](path)
    with pytest.raises(DamagedStack, match=r"stack.npz needs to be a whole file"):
        Stack.load(path)
    with pytest.raises(FileNotFoundError):
        Stack.load(tmp_path / "another.npz")


def test_a_flipped_bit_anywhere_in_a_file_is_noticed_or_changes_nothing(tmp_path):
    stack = Stack({"w": torch.arange(2.0), "b": torch.ones(2, 1)})
    stack.save(tmp_path / "stack.npz")
    whole, path = (tmp_path / "stack.npz").read_bytes(), tmp_path / "flipped.npz"
    for index, byte in enumerate(whole):
        flipped = byte ^ 1 << index % 8
        path.write_bytes(whole[:index] + bytes([flipped]) + whole[index + 1 :])
        with suppress(DamagedStack):
            assert_same(Stack.load(path), stack)


def test_a_stack_equals_itself_only():
    stack, other = Stack(params()), Stack(params())
    assert stack == stack and stack != other and len({stack, other, stack}) == 2


W, B = {"w": torch.ones(3)}, {"b": torch.ones(3)}


def joined(*params):
    return Stack.joined(map(Stack, params))


BAD = {
    "no networks": (lambda: Stack({}), ValueError, "one leading axis"),
    "one network": (lambda: Stack({"w": torch.ones(())}), ValueError, "one leading axis"),
    "other numbers": (
        lambda: Stack({"w": torch.ones(3), "b": torch.ones(2)}),
        ValueError,
        r"one leading axis .*got {'w': \(3,\), 'b': \(2,\)}",
    ),
    "integers": (lambda: Stack({"w": torch.arange(3)}), TypeError, "w needs to be a tensor"),
    "none to stack": (lambda: Stack.of([]), ValueError, "at least 1 network, got none"),
    "other names": (
        lambda: Stack.of([{"w": torch.ones(3)}, {"b": torch.ones(3)}]),
        ValueError,
        "needs params of shapes",
    ),
    "none to join": (lambda: Stack.joined([]), ValueError, "at least 1 stack to join, got none"),
    "a name more": (lambda: joined(W, {**W, **B}), ValueError, "shapes {'w': .* to join, got .*b"),
    "a name less": (lambda: joined({**W, **B}, W), ValueError, "shapes {'w': .*b.* to join, got"),
    "other shapes": (
        lambda: joined(W, {"w": torch.ones(3, 2)}),
        ValueError,
        r"shapes {'w': \(\)} to join, got {'w': \(2,\)}",
    ),
    "dicts": (lambda: Stack.joined([W, W]), TypeError, "each of the stacks needs to be a Stack"),
    "another number": (lambda: Stack(params())[5], IndexError, "a stack of 5 networks .*got 5"),
    "a short mask": (lambda: Stack(params())[[True]], IndexError, r"a mask for all .*got \[True\]"),
    "a truth": (lambda: Stack(params())[True], TypeError, "a stack needs .*got True"),
    "a fraction": (lambda: Stack(params())[1.0], TypeError, "a stack needs .*got 1.0"),
    "two axes": (lambda: Stack(params())[0, 1], TypeError, r"a stack needs .*got \(0, 1\)"),
    "nothing": (lambda: Stack(params())[None], TypeError, "a stack needs .*got None"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_a_trained_network_goes_into_a_rank_and_the_fits_into_a_training():
    net, data = cnn(5, 3, 1), draw(paper_target(), 8)
    options = {"engine": "torch", "std": 1.0, "record_at": [0, 50]}
    run = train(net, *data, learning_rates=[0.1, 0.2], steps=50, **options)
    assert numerical_rank(net, run.params[1]).rank == 7
    assert_same(run.history.at(1), run.params)
    fits = fit(net, *data, draw_starts(net, *data, 20))
    again = train(
        net,
        *data,
        learning_rates=[0.1] * 2,
        steps=1,
        engine="torch",
        starts=fits.params[[fits.first] * 2],
    )
    assert [str(status) for status in again.status] == ["converged"] * 2
    over = torch.vmap(torch.vmap(fully_connected(5, 2), (None, 0)), (0, None))
    wide = Stack.of(fully_connected(5, 2).init(1.0, seed) for seed in range(3))
    assert over(dict(wide), data[0]).shape == (3, 8)
