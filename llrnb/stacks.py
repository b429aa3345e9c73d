"""The parameters of many networks of one kind: one of them, some of them, a file and back."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llrnb import checks


class DamagedStack(Exception):
    """A file that is not the whole of what `Stack.save` wrote."""


@dataclass(frozen=True, eq=False, repr=False)
class Stack(Mapping[str, Tensor]):
    """The parameters of many networks: by name with a leading axis `net`, or network by network.

    It is read like a dict of tensors, so its `len` is the number of names; that of networks is
    `nets`. A number gives one network's parameters, and a slice, numbers or a mask give a stack.
    One network and a slice share their memory with the stack. As for models, `==` asks whether two
    are one object.

    Attributes:
        params: every parameter (net, ...), of floats.

    Raises:
        TypeError: values that are not tensors of real floats, or an index of another kind.
        ValueError: no parameters, or other numbers of networks for another parameter.
        IndexError: networks that are not there.

    >>> stack = Stack({"w": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "c": torch.ones(3)})
    >>> stack
    Stack(3 networks: w (2,), c ())
    >>> stack[0]["w"].tolist(), stack[[True, False, True]]["w"].tolist(), stack["c"].shape
    ([1.0, 2.0], [[1.0, 2.0], [5.0, 6.0]], torch.Size([3]))
    """

    params: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        params = checks.mapping(self.params, "a stack")
        shapes = {name: tuple(checks.tensor(v, name).shape) for name, v in params.items()}
        if len({shape[:1] for shape in shapes.values()} | {()}) != 2:
            raise ValueError(
                f"a stack needs parameters with one leading axis for the networks, got {shapes}"
            )
        checks.settle(self, params=params)

    @classmethod
    def of(cls, networks: Iterable[Mapping[str, Tensor]]) -> "Stack":
        """Networks of the same parameters, one after the other.

        Raises:
            ValueError: no networks, or parameters of other names or shapes.
        """
        networks = networks if isinstance(networks, Iterable) else [networks]
        networks = [checks.mapping(params, "each of the networks") for params in networks]
        if not networks:
            raise ValueError("a stack needs at least 1 network, got none")
        shapes = {name: tuple(checks.tensor(v, name).shape) for name, v in networks[0].items()}
        for params in networks:
            checks.shapes(params, shapes)
        return cls({name: torch.stack([params[name] for params in networks]) for name in shapes})

    @classmethod
    def joined(cls, stacks: Iterable["Stack"]) -> "Stack":
        """The networks of all stacks, in order.

        Raises:
            TypeError: something else than stacks.
            ValueError: no stacks, or parameters of other names or shapes.
        """
        stacks = [checks.instance(stack, Stack, "each of the stacks") for stack in stacks]
        if not stacks:
            raise ValueError("a stack needs at least 1 stack to join, got none")
        first = stacks[0].shapes
        if others := [stack.shapes for stack in stacks if stack.shapes != first]:
            raise ValueError(f"stacks need parameters of shapes {first} to join, got {others[0]}")
        return cls({name: torch.cat([stack[name] for stack in stacks]) for name in first})

    @property
    def nets(self) -> int:
        """Number of networks."""
        return len(next(iter(self.params.values())))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one network's parameters."""
        return {name: tuple(value.shape[1:]) for name, value in self.params.items()}

    def each(self) -> Iterator[dict[str, Float[Tensor, "..."]]]:
        """The parameters of one network after the other."""
        return (self[net] for net in range(self.nets))

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "Stack":
        """On another device, or in another precision."""
        return Stack({name: value.to(device, dtype) for name, value in self.params.items()})

    def save(self, path: str | Path) -> None:
        """Write a file of NumPy's arrays (`.npz`) that `load` reads; it is never a part of one.

        Raises:
            FileExistsError: the file is there.
            ValueError: floats that NumPy does not have (bfloat16).
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"a stack needs a new file, and {path} is there")
        if odd := {value.dtype for value in self.params.values()} - _SAVED:
            raise ValueError(f"a file needs parameters in {_SAVED}, got {odd}")
        unnamed = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
        try:
            with zipfile.ZipFile(unnamed, "x") as file:
                file.comment = self._names_hash()
                for name, value in self.params.items():
                    with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                        array = value.detach().cpu().numpy()
                        np.lib.format.write_array(member, array, allow_pickle=False)
            unnamed.replace(path)
        finally:
            unnamed.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Stack":
        """The stack of a file that `save` wrote.

        Raises:
            FileNotFoundError: there is none.
            DamagedStack: it is cut off, altered or of another kind.
        """
        try:
            with zipfile.ZipFile(path) as file:
                names, comment = file.namelist(), file.comment
                stack = cls({name.removesuffix(".npy"): _read(file, name) for name in names})
            if comment != stack._names_hash():
                raise ValueError(f"other parameters than were saved: {stack}")
            return stack
        except FileNotFoundError:
            raise
        except Exception as error:  # of many kinds, by what is wrong with the bytes
            raise DamagedStack(
                f"{path} needs to be a whole file of a stack, got: {error}"
            ) from error

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: int | np.integer) -> dict[str, Tensor]: ...

    @overload
    def __getitem__(self, key: slice | Sequence[int] | np.ndarray | Tensor) -> "Stack": ...

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.params[key]
        if not isinstance(key, slice):
            key = self._numbers(key)
        found = {name: value[key] for name, value in self.params.items()}
        return found if isinstance(key, int) else Stack(found)

    __eq__, __hash__ = object.__eq__, object.__hash__  # a mapping's would compare tensors

    def __contains__(self, name: object) -> bool:
        return name in self.params

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)

    def __repr__(self) -> str:
        shapes = (f"{name} {shape}" for name, shape in self.shapes.items())
        return f"Stack({self.nets} networks: {', '.join(shapes)})"

    def _names_hash(self) -> bytes:
        """Of what nothing else in a file's zip protects: which arrays it holds, of how many."""
        text = json.dumps([self.nets, *self.params])
        return hashlib.sha256(text.encode()).hexdigest().encode()

    def _numbers(self, key: object) -> int | Tensor:
        """The number of a network, or those of several."""
        index = np.asarray(key.cpu() if isinstance(key, Tensor) else key)
        if index.shape == (0,):
            index = index.astype(int)
        kinds = "iu" if index.ndim == 0 else "iub"
        if isinstance(key, tuple) or index.ndim > 1 or index.dtype.kind not in kinds:
            raise TypeError(
                "a stack needs a name, the number of a network, or a slice, a list of numbers or a "
                f"mask of networks, got {checks.came(key)}"
            )
        try:
            found = np.arange(self.nets)[index]
        except IndexError:
            raise IndexError(
                f"a stack of {self.nets} networks needs their numbers, or a mask for all of them, "
                f"got {checks.came(key)}"
            ) from None
        return torch.from_numpy(found) if index.ndim else int(found)


_SAVED = {torch.float16, torch.float32, torch.float64}


def _read(file: zipfile.ZipFile, name: str) -> Tensor:
    return torch.from_numpy(np.lib.format.read_array(file.open(name), allow_pickle=False))
