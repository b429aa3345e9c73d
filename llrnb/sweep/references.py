"""References: "folder/file.py:name" or "package.module:name" for a function of one's own."""

import hashlib
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getfile
from pathlib import Path
from types import ModuleType
from typing import Any

from llrnb import checks

# Modules' texts when they were first referred to; one that is loaded again has another spec.
_first_texts: dict[str, tuple[ModuleSpec | None, bytes]] = {}


def referred(reference: str) -> Any:
    """What a reference names: "package.module:name", or "folder/file.py:name".

    Raises:
        ValueError: another form, no such module or file, or no such name in it.
    """
    place, colon, name = checks.text(reference, "a reference").rpartition(":")
    if not (colon and place and name):
        raise ValueError(
            f"a reference needs the form module:name or file.py:name, got {reference!r}"
        )
    module = _module(place)
    if not hasattr(module, name):
        raise ValueError(f"{place} needs to define {name!r}, which it does not")
    return getattr(module, name)


def reference_to(function: Callable | str) -> str:
    """The reference of a function, with the whole path of a file, for workers that start elsewhere.

    A function of a package is named by its module, any other by its file. A text is a reference.

    Raises:
        TypeError: something else.
        ValueError: a function without a name of its own, or without a file.

    >>> reference_to(referred)
    'llrnb.sweep.references:referred'
    """
    if isinstance(function, str):
        place, _, name = function.rpartition(":")
        return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else function
    checks.function(function, "a function that is referred to")
    module, name = (getattr(function, f"__{what}__", "") for what in ("module", "qualname"))
    if not name.isidentifier():
        raise ValueError(
            f"a reference needs a function that a file defines by name, got {checks.came(function)}"
        )
    if "." in module:
        return f"{module}:{name}"
    try:
        return f"{Path(getfile(function)).resolve(strict=True)}:{name}"
    except (TypeError, OSError):  # of an interpreter or a notebook
        raise ValueError(f"a reference needs a function in a file, got {name} of none") from None


def where_defined(reference: str) -> str:
    """The reference of a function where its text stands, if another module only imports it."""
    function = referred(reference)
    try:
        other = reference_to(function)
        return other if referred(other) is function else reference
    except (TypeError, ValueError):
        return reference


def source_of(*references: str) -> str:
    """A hash of the files, so that rows of an older text are not taken for those of this one.

    Raises:
        ValueError: a file that cannot be read, or a module's that has changed since the module was
            first referred to: what would run is the older text.
    """
    places = {reference.rpartition(":")[0] for reference in references}
    texts = [_text(place) for place in sorted(places)]
    contents = b"\n".join(text for text in texts if text is not None)
    return hashlib.sha256(contents).hexdigest()[:12]


def _text(place: str) -> bytes | None:
    """The text that runs: of a file, or of a module if that has one."""
    if place.endswith(".py"):
        return _contents(Path(place))
    module = _module(place)
    if not (file := getattr(module, "__file__", None)):
        return None
    text = _contents(Path(file))
    if text != _first_texts[place][1]:
        raise ValueError(
            f"{place} needs the text that it was imported with, and {file} has changed since: "
            "start Python anew"
        )
    return text


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        return _from_file(Path(place))
    try:
        module = import_module(place)
    except ImportError as error:
        raise ValueError(f"a reference needs a module that can be imported, got {error}") from error
    if place not in _first_texts or _first_texts[place][0] is not module.__spec__:
        file = Path(getattr(module, "__file__", None) or "")
        _first_texts[place] = module.__spec__, file.read_bytes() if file.is_file() else b""
    return module


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"a reference needs a file that can be read, got {error}") from None


def _from_file(path: Path) -> ModuleType:
    """The module of a file, under a name that depends on its path and contents."""
    path, contents = path.resolve(), _contents(path)
    digest = hashlib.sha256(str(path).encode() + contents).hexdigest()[:8]
    name = f"llrnb_{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}_{digest}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        assert spec  # as every .py has
        module = module_from_spec(spec)
        sys.modules[name] = module  # first, as pickled objects look there
        try:
            # What was read, and not what the file, or a cache of its bytecode, holds by now.
            exec(compile(contents, str(path), "exec", dont_inherit=True), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
