"""A GPU for tests: the kernel's source compiled for the processor, one block.

Its threads take turns on one processor, up to the next barrier each, in an order that is turned
around every time: whoever reads what another thread has not written yet, for want of a barrier, is
found out. Shuffles go through memory. It shows whether the kernel computes what it should, not how
fast.
"""

import ctypes
import hashlib
import subprocess
from importlib.resources import files

from llrnb.training import cuda

SHIM = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <vector>
using std::fma; using std::min; using std::sqrt;
#define __global__
#define __device__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
struct Index { int x; };
static Index threadIdx, blockIdx{0}, blockDim{32 * WARPS}, gridDim{1};
static REAL passed[WARPS][32];
static double kept_samples[8192];
static ucontext_t turns, threads[32 * WARPS];
static bool over[32 * WARPS];
inline void give_way() { swapcontext(&threads[threadIdx.x], &turns); }
struct Barrier { int size = 32, here = 0, times = 0; };
static Barrier of_block{32 * WARPS}, of_warp[WARPS];
inline void wait(Barrier &at) {
    const int time = at.times;
    if (++at.here == at.size) { at.here = 0; at.times++; }
    while (at.times == time) give_way();
}
inline void __syncthreads() { wait(of_block); }
inline void __syncwarp() { wait(of_warp[threadIdx.x / 32]); }
inline void __threadfence() {}
inline void __nanosleep(int) { give_way(); }
inline int atomicAdd(int *at, int by) { const int old = *at; *at += by; return old; }
inline REAL __shfl_sync(unsigned, REAL value, int lane) {
    const int warp = threadIdx.x / 32;
    passed[warp][threadIdx.x % 32] = value;
    __syncwarp();
    const REAL found = passed[warp][lane & 31];
    __syncwarp();
    return found;
}
inline REAL __shfl_xor_sync(unsigned all, REAL value, int bit) {
    return __shfl_sync(all, value, (threadIdx.x % 32) ^ bit);
}
inline int __double2hiint(double x) { int64_t b; std::memcpy(&b, &x, 8); return (int)(b >> 32); }
inline int __double2loint(double x) { int64_t b; std::memcpy(&b, &x, 8); return (int)b; }
inline double __hiloint2double(int high, int low) {
    const int64_t b = ((int64_t)high << 32) | (uint32_t)low;
    double x; std::memcpy(&x, &b, 8); return x;
}
"""

END = r"""
static const Launch *launched;
static void whole() { descend(launched); over[threadIdx.x] = true; give_way(); }
extern "C" void run(const Launch *launch) {
    const int count = 32 * WARPS;
    std::vector<std::vector<char>> stacks(count, std::vector<char>(1 << 18));
    launched = launch;
    for (auto &barrier : of_warp) barrier = Barrier();
    of_block = Barrier{count};
    for (int i = 0; i < count; i++) {
        getcontext(&threads[i]);
        threads[i].uc_stack.ss_sp = stacks[i].data();
        threads[i].uc_stack.ss_size = stacks[i].size();
        makecontext(&threads[i], whole, 0);
        over[i] = false;
    }
    bool left = true;
    for (bool ahead = true; left; ahead = !ahead) {
        left = false;
        for (int k = 0; k < count; k++) {
            threadIdx.x = ahead ? k : count - 1 - k;
            if (over[threadIdx.x]) continue;
            left = true;
            swapcontext(&turns, &threads[threadIdx.x]);
        }
    }
}
extern "C" double one_tanh(double x) { return tanh_of(x); }
"""

REPLACED = {
    'asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(inverse) : "d"(under));': (
        "inverse = (double)(float)(1.0 / under);"  # about as rough
    ),
    "extern __shared__ double memory[];": "double *memory = kept_samples;",
}


def library(defined: dict[str, object], folder) -> ctypes.CDLL:
    """The kernel with these definitions, compiled."""
    source = files("llrnb.training").joinpath("two_layer.cu").read_text("utf-8")
    for theirs, ours in REPLACED.items():
        assert theirs in source
        source = source.replace(theirs, ours)
    defines = "".join(f"#define {name} {value}\n" for name, value in defined.items())
    text = defines + SHIM + source + END
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        options = ["-O1", "-std=c++20", "-march=native", "-ffp-contract=off", "-w"]
        command = ["g++", *options, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path)]
        subprocess.run(command, input=text, text=True, check=True)
    return ctypes.CDLL(str(path))


def kernel_in(folder, blocks: int = 10**6):
    """A stand-in for `cuda._Kernel`, compiled in a folder; `blocks` decides how turns are cut."""

    class Emulated(cuda._Kernel):
        def __init__(self, task, layout):
            self.blocks = blocks
            self.library = library(cuda.definitions(task, layout), folder)

        def run(self, launch, networks):
            self.library.run(ctypes.c_void_p(launch.data_ptr()))

    return Emulated
