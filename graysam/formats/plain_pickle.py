"""Reads the plain data in a pickle without running anything: numbers, texts, lists, dictionaries, arrays of numbers.

The CVPR 2025 interactive challenge stores boxes and clicks as lists of dictionaries, which NumPy can only pickle, and
the baseline's training code stores label maps so (`data_prep.paper_import`).
Unpickling runs whatever the file says, so it is never done. A pickle is a small program for a stack machine; here its
instructions (PEP 307, PEP 3154) are read one by one, those that make plain data are followed, and a call that it asks
for is written down and not made. Only three calls are understood, those with which NumPy describes its own arrays and
numbers; any other makes the file be refused by the name of what it wanted to call.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_PICKLE_BYTES: Final = 4 * 1024**2

_CALLS: Final = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "ndarray",
}
_NUMBER: Final = re.compile(r"[iuf][1248]|b1")
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Final = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_NUMBERS: Final = frozenset(["BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"])
_TEXTS: Final = frozenset(["SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"])

_DAMAGES: Final = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError)
"""What goes wrong while the instructions of a damaged pickle are followed."""


class PickleError(ValueError):
    """A pickle holds more than plain data, or is damaged."""


@dataclass
class _Asked:
    """A call that a pickle asks for, never made: what, with which arguments, and the state given to its result."""

    what: str
    arguments: Any = None
    state: Any = None


def read_plain(pickled: bytes) -> Any:  # noqa: ANN401  whatever plain data it holds
    """Give the plain data of a pickle.

    Args:
        pickled: the whole pickle, at most `MOST_PICKLE_BYTES`.

    Returns:
        None, bool, int, float, str, bytes, lists, tuples and dictionaries of such; NumPy's own numbers as int, float
        and bool. A pickle that holds one NumPy array of numbers and nothing else gives that array. Anything else that
        NumPy describes stays an object without use.

    Raises:
        PickleError: too large, damaged, or it asks for a call that is not NumPy's own, or uses an instruction that
            plain data do not need.
    """
    top = _followed(pickled)
    if not (isinstance(top, _Asked) and top.what == "array"):
        return top
    with _damage_told():
        return _array(top)


def read_plain_objects(pickled: bytes) -> list[Any]:
    """Give the objects of a pickled one-dimensional object array, as NumPy writes it into .npy files.

    Args:
        pickled: what follows the header of the .npy file, at most `MOST_PICKLE_BYTES`.

    Returns:
        Its objects, each as `read_plain` gives plain data.

    Raises:
        PickleError: as in `read_plain`, or it is no such array.
    """
    top = _followed(pickled)
    items = _array_state(top)[4] if isinstance(top, _Asked) and top.what == "array" else None
    if not isinstance(items, list):
        raise PickleError("wanted an array of objects")
    return items


def _followed(pickled: bytes) -> object:
    """Give what the instructions of a pickle leave, calls written down and not made."""
    if len(pickled) > MOST_PICKLE_BYTES:
        raise PickleError(f"{len(pickled):,} bytes of objects; at most {MOST_PICKLE_BYTES:,} are read")
    with _damage_told():
        return _Machine().run(pickled)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn what goes wrong in the block into a `PickleError`; one that says more is left as it is."""
    try:
        yield
    except PickleError:
        raise
    except _DAMAGES as error:
        raise PickleError(f"damaged ({type(error).__name__})") from error


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def run(self, pickled: bytes) -> object:
        """Follow the instructions to the end, and give what lies on the stack then."""
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "STOP":
                (top,) = self._stack
                return top
            self._follow(operation.name, argument)
        raise PickleError("cut off")

    def _follow(self, name: str, argument: Any) -> None:  # noqa: ANN401  what the instruction carries
        stack = self._stack
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memory[len(self._memory) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memory[argument])
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            items = self._since_mark() if name == "TUPLE" else self._pop(int(name[-1]))
            stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = self._since_mark() if name == "APPENDS" else self._pop(1)
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else self._pop(2)
            keys = [_expect(key, str) for key in items[::2]]
            _expect(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
        else:
            self._ask(name, argument)

    def _ask(self, name: str, argument: Any) -> None:  # noqa: ANN401  what the instruction carries
        """Note what the pickle wants to be called, or refuse."""
        stack = self._stack
        if name == "GLOBAL":
            stack.append(_named(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_named(*self._pop(2)))
        elif name == "REDUCE":
            wanted, arguments = self._pop(2)
            asked = _Asked(_expect(wanted, _Asked).what, _expect(arguments, tuple))
            stack.append(_number(asked) if asked.what == "scalar" else asked)
        elif name == "BUILD":
            (state,) = self._pop(1)
            _expect(stack[-1], _Asked).state = state
        else:
            raise PickleError(f"the instruction {name}, which plain data do not need")

    def _pop(self, count: int) -> list[Any]:
        place = len(self._stack) - count
        if place < (self._marks[-1] if self._marks else 0):
            raise PickleError("damaged (stack)")
        items = self._stack[place:]
        del self._stack[place:]
        return items

    def _since_mark(self) -> list[Any]:
        return self._pop(len(self._stack) - self._marks.pop())


def _named(module: object, name: object) -> _Asked:
    """Note a name that a pickle looks up, if it is one of NumPy's own."""
    known = _CALLS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    if known is None:
        raise PickleError(f"a call of {str(module)[:60]}.{str(name)[:60]}, which would have to be run")
    return _Asked(known)


def _number(asked: _Asked) -> float | int | bool:
    """Give the number that NumPy's `scalar` call describes: a dtype, and its bytes."""
    dtype, stored = asked.arguments
    (value,) = np.frombuffer(_expect(stored, bytes), _number_dtype(dtype)).tolist()
    return value  # type: ignore[no-any-return]


def _array(asked: _Asked) -> NDArray[Any]:
    """Give the array of numbers that NumPy describes: its shape, dtype, order and bytes."""
    _, shape, dtype, is_fortran, stored = _array_state(asked)
    numbers = np.frombuffer(_expect(stored, bytes), _number_dtype(dtype))
    return numbers.reshape(_expect(shape, tuple), order="F" if is_fortran else "C")


def _array_state(asked: _Asked) -> tuple[Any, ...]:
    """Give version, shape, dtype, order and items, with which `__setstate__` of an array fills it."""
    state = asked.state
    if not isinstance(state, tuple) or len(state) != 5:
        raise PickleError("damaged (an array without its items)")
    return state


def _number_dtype(dtype: object) -> np.dtype[Any]:
    """Give the dtype that NumPy's `dtype` call describes, of plain numbers alone."""
    asked = _expect(dtype, _Asked)
    kind = asked.arguments[0]
    if not isinstance(kind, str) or not _NUMBER.fullmatch(kind):
        raise PickleError("a NumPy value that is no plain number")
    order = ">" if isinstance(asked.state, tuple) and asked.state[1] == ">" else "<"
    return np.dtype(order + kind)


def _expect(value: Any, kind: type) -> Any:  # noqa: ANN401  whatever kind says
    if type(value) is not kind:
        raise PickleError(f"damaged (a {type(value).__name__} where a {kind.__name__} belongs)")
    return value
