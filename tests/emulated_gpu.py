"""A GPU for tests: the kernel's source compiled for the processor, one block, a thread for each.

Warps and blocks meet at barriers, and shuffles go through memory. It is slow, and it shows whether
the kernel computes what it should, not how fast.
"""

import ctypes
import hashlib
import subprocess
from importlib.resources import files

from llrnb.training import cuda

SHIM = r"""
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>
using std::fma; using std::min; using std::sqrt;
#define __global__
#define __device__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
struct Index { int x; };
static thread_local Index threadIdx;
static Index blockIdx{0}, blockDim{32 * WARPS}, gridDim{1};
static std::barrier<> of_block(32 * WARPS);
static std::vector<std::unique_ptr<std::barrier<>>> of_warp;
static REAL passed[WARPS][32];
static double kept_samples[8192];
inline void __syncthreads() { of_block.arrive_and_wait(); }
inline void __syncwarp() { of_warp[threadIdx.x / 32]->arrive_and_wait(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __nanosleep(int) { std::this_thread::yield(); }
inline int atomicAdd(int *at, int by) { return __atomic_fetch_add(at, by, __ATOMIC_SEQ_CST); }
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
extern "C" void run(const Launch *launch) {
    std::vector<std::thread> threads;
    of_warp.clear();
    for (int w = 0; w < WARPS; w++) of_warp.push_back(std::make_unique<std::barrier<>>(32));
    for (int i = 0; i < 32 * WARPS; i++)
        threads.emplace_back([=] { threadIdx.x = i; descend(launch); });
    for (auto &one : threads) one.join();
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
        options = ["-O1", "-std=c++20", "-march=native", "-ffp-contract=off", "-w", "-pthread"]
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
