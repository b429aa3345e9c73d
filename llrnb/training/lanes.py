"""Eight float64 lanes as one Numba value, so that eight networks are trained side by side.

Every operation is element-wise and written out (`fma` is fused, `+` is not), so a lane's result
depends neither on the other lanes nor on the processor. Inside compiled code, rows of an array of
shape (row, 8) are read with `load(array, row)` and written with `store(array, row, lanes)`.
"""

import operator

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 8
_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(64), WIDTH)


class Lanes(types.Type):
    """The Numba type of a value with `WIDTH` float64 lanes."""

    def __init__(self):
        super().__init__(name="Lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _DOUBLES)


def _row_pointer(context, builder, array_type, array, row):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, WIDTH))])
    return builder.bitcast(first, _DOUBLES.as_pointer())


@intrinsic
def load(typing, array, row):
    """The lanes in one row of a C-contiguous float64 array (row, WIDTH)."""

    def generate(context, builder, signature, args):
        return builder.load(_row_pointer(context, builder, signature.args[0], *args), align=8)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing, array, row, value):
    """Write the lanes into one row of a C-contiguous float64 array (row, WIDTH)."""

    def generate(context, builder, signature, args):
        pointer = _row_pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic
def fill(typing, value):
    """All lanes equal to one float."""

    def generate(context, builder, signature, args):
        undefined = ir.Constant(_DOUBLES, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(first, undefined, everywhere)

    return lanes(types.float64), generate


def _llvm(name, arity):
    """An element-wise LLVM intrinsic of one, two or three lanes."""
    signature = lanes(*[lanes] * arity)

    def generate(context, builder, signature, args):
        function = ir.FunctionType(_DOUBLES, [_DOUBLES] * arity)
        symbol = f"llvm.{name}.v{WIDTH}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, symbol), args)

    typers = {
        1: lambda typing, a: (signature, generate),
        2: lambda typing, a, b: (signature, generate),
        3: lambda typing, a, b, c: (signature, generate),
    }
    return intrinsic(typers[arity])


absolute = _llvm("fabs", 1)
copysign = _llvm("copysign", 2)
fma = _llvm("fma", 3)


def _arithmetic(python_operator, instruction):
    @intrinsic
    def apply(typing, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return lanes(lanes, lanes), generate

    @overload(python_operator, inline="always")
    def _(a, b):
        if a is lanes and b is lanes:
            return lambda a, b: apply(a, b)


for _operator, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _arithmetic(_operator, _instruction)


@intrinsic
def at_most(typing, a, bound):
    """min(a, bound), but NaN where a is NaN, so that a divergence is not hidden."""

    def generate(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), args[1], args[0])

    return lanes(lanes, lanes), generate


@intrinsic
def _power_of_two(typing, shifted):
    """2^k from the float64 `_ROUNDER` + k, whose lowest bits are k: they become the exponent."""

    def generate(context, builder, signature, args):
        exponent = builder.shl(
            builder.bitcast(args[0], _INTEGERS), ir.Constant(_INTEGERS, [52] * WIDTH)
        )
        bits = builder.add(exponent, ir.Constant(_INTEGERS, [1023 << 52] * WIDTH))
        return builder.bitcast(bits, _DOUBLES)

    return lanes(lanes), generate


# Adding it to a small float64 rounds to an integer, which is then held by the lowest bits.
_ROUNDER = 1.5 * 2.0**52
_LOG2_E = 1.4426950408889634
_LN_2 = 0.6931471805599453
# (expm1(2 r) / 2 - r) / r^2 on |r| <= ln(2) / 4, interpolated at the Chebyshev nodes of degree 9:
# the error relative to expm1(2 r) is 4e-17.
_C0 = 1.0000000000000002
_C1 = 0.6666666666666667
_C2 = 0.33333333333299303
_C3 = 0.13333333333328098
_C4 = 0.044444444535083893
_C5 = 0.012698412712354315
_C6 = 0.00317459472588216
_C7 = 0.0007054660725759248
_C8 = 0.0001414148528404979
_C9 = 2.5702794747402568e-05


@njit(inline="always")
def tanh(x):
    """tanh of every lane, to 2 units in the last place also for tiny arguments, and exactly odd.

    With |x| = k ln(2) / 2 + r, half of expm1(2|x|) is 2^k expm1(2 r) / 2 + (2^k - 1) / 2, and
    tanh|x| is half / (half + 1). Above |x| = 20, where tanh is 1 to rounding, |x| is cut off.
    """
    size = at_most(absolute(x), fill(20.0))
    shifted = fma(size, fill(2.0 * _LOG2_E), fill(_ROUNDER))
    # One constant for ln 2 suffices: its error k 1e-17 meets a slope that falls like 2^-k.
    r = fma(shifted - fill(_ROUNDER), fill(-0.5 * _LN_2), size)
    # Pairs of terms rather than Horner's scheme: the chain of dependent operations is what costs.
    r2 = r * r
    r4 = r2 * r2
    p01 = fma(fill(_C1), r, fill(_C0))
    p23 = fma(fill(_C3), r, fill(_C2))
    p45 = fma(fill(_C5), r, fill(_C4))
    p67 = fma(fill(_C7), r, fill(_C6))
    p89 = fma(fill(_C9), r, fill(_C8))
    p49 = fma(p89, r4, fma(p67, r2, p45))
    p = fma(p49, r4, fma(p23, r2, p01))
    scale = _power_of_two(shifted)
    half = fma(scale, fma(r2, p, r), fma(scale, fill(0.5), fill(-0.5)))
    return copysign(half / (half + fill(1.0)), x)
