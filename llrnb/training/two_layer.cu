// The whole descent of two-layer tanh networks on a GPU: one block trains one network for many steps.
//
//     f(x) = sum_k sum_p a[k, p] tanh(w[k] . x[window p] + b[k]) + c,   loss = mean_s (f(x_s) - y_s)^2
//
// A *row* is a kernel at a window. Of a warp's 32 lanes, ROW_LANES share out the rows, ROWS each, and
// the groups of them share out the samples. A network of more rows takes several WARPS. A thread keeps
// its rows' parameters and gradients in registers. Samples are taken in chunks, of CHUNK for a thread:
// it computes its rows' activations, all threads sum the outputs, and the errors meet the activations,
// which are still in registers. Nothing of a neuron and a sample is ever stored.
//
// Every sum has an order of its own that depends on the network alone, so that a network's result is
// the same, to the last bit, whatever it is launched with. A multiply-add is fused where it says fma.
//
// To be defined, by cuda.py:
//     REAL                      double or float
//     KERNELS, WINDOWS          of the network
//     SHARED, BIAS, OUTPUT_BIAS 1 or 0
//     ENTRIES                   of a row, without the bias
//     STRIDE                    numbers of an input in x
//     OFFSETS, PLACES           entry j of window p sees number OFFSETS[p] + PLACES[j] of an input
//     ROW_LANES, ROWS, WARPS, CHUNK  as above
//     OPTIMIZER                 0 gradient descent, 1 with momentum or weight decay, 2 Adam
//     BATCHES                   1 for mini-batches
//     KEPT                      1 if the samples fit into the block's memory
//     BLOWN_UP_AT               the loss of a divergence

#define THREADS (32 * WARPS)
#define SAMPLE_LANES (32 / ROW_LANES)
#define WIDTH (ENTRIES + BIAS)  // of a row; a bias is one more entry, which sees a 1
#define AVERAGES OPTIMIZER      // that an optimizer keeps of each gradient
#define BLOWN_UP ((REAL)BLOWN_UP_AT)
#define EVERY 0xffffffffu

__constant__ const int OFFSET[WINDOWS] = OFFSETS;
constexpr int PLACE[ENTRIES] = PLACES;

// What a launch is about; cuda.py packs it, every field in 8 bytes. Networks are numbered as in the call.
struct Launch {
    const long long *active;         // the networks that go on
    long long networks;              // how many these are
    long long turns, steps;          // each of them makes `steps` steps in each turn
    long long measure;               // whether the last turn ends with a measurement
    const REAL *x, *y;               // of all samples of all data sets
    const long long *first, *count;  // which of them are a network's
    const REAL *rate;
    REAL *params, *averages;         // (network, parameter), (average, network, parameter)
    REAL *loss;
    long long *made, *stopped;       // steps, in all, and whether that is for good
    int *queue, *turn;               // the next task, and the turns that each active network has made
    const REAL *corrections;         // (step of this launch, 2): 1 - beta^t, for Adam
    const int *orders;               // (active network, sample of the epochs of this launch)
    long long ordered, batch;        // length of a row of orders, samples of a mini-batch
    long long all;                   // networks of the call
    double tolerance, momentum, weight_decay, beta1, beta2, epsilon;
};

// --- tanh ------------------------------------------------------------------------------------------

// With x = k ln(2) / 2 + r and t = tanh r, tanh x = ((2^k - 1) + t (2^k + 1)) / ((2^k + 1) + t (2^k - 1)):
// exactly odd, off by at most 2.6 units in the last place, NaN stays NaN. t / r is a minimax polynomial in r^2, to 4e-18.
__device__ __forceinline__ double tanh_of(double x)
{
    const int size = __double2hiint(x) & 0x7fffffff;
    if (size > 0x40340000 && size <= 0x7ff00000)  // above 20, where tanh is 1 to rounding
        x = __hiloint2double((__double2hiint(x) & 0x80000000) | 0x40340000, 0);
    const double rounder = 6755399441055744.0;  // 1.5 * 2^52
    const double shifted = fma(x, 2.8853900817779268, rounder);
    const double r = fma(shifted - rounder, -0.34657359027997264, x);
    const double z = r * r;
    double p = fma(z, 0.003444902654660176, -0.008857314406627289);
    p = fma(p, z, 0.02186937089687243);
    p = fma(p, z, -0.05396825278468721);
    p = fma(p, z, 0.1333333333278546);
    p = fma(p, z, -0.3333333333333249);
    const double t = fma(r * z, p, r);
    const double power = __hiloint2double((__double2loint(shifted) << 20) + 0x3ff00000, 0);
    const double below = power - 1.0, above = power + 1.0;
    const double over = fma(t, above, below), under = fma(t, below, above);
    double inverse;
    asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(inverse) : "d"(under));
    const double off = fma(-under, inverse, 1.0);
    inverse = fma(inverse, fma(off, off, off), inverse);
    const double quotient = over * inverse;
    return fma(fma(-under, quotient, over), inverse, quotient);
}

__device__ __forceinline__ float tanh_of(float x) { return tanhf(x); }

// --- threads ---------------------------------------------------------------------------------------

__device__ __forceinline__ void meet()
{
    if (WARPS == 1) __syncwarp(); else __syncthreads();
}

// The sum over a warp's lanes that differ in the bits from `from` to below `to`, the same in all.
__device__ __forceinline__ REAL summed(REAL value, int from, int to)
{
    for (int bit = to / 2; bit >= from; bit /= 2) value += __shfl_xor_sync(EVERY, value, bit);
    return value;
}

// Sums each of CHUNK values over the row lanes. In each round a lane gives away half of the values that
// it still has a part of; where these cannot be halved any more, all of them travel. The lane then has
// the sums number `held` and on, as many as `kept`.
__device__ __forceinline__ void sum_over_rows(REAL (&value)[CHUNK], int lane, int &held, int &kept)
{
    held = 0;
    kept = CHUNK;
#pragma unroll
    for (int bit = ROW_LANES / 2; bit >= 1; bit /= 2) {
        if (kept % 2 == 0) {
            kept /= 2;
            const bool upper = lane & bit;
            held += upper ? kept : 0;
#pragma unroll
            for (int q = 0; q < CHUNK / 2; q++) {
                if (q >= kept) break;
                const REAL given = upper ? value[q] : value[q + kept];
                const REAL own = upper ? value[q + kept] : value[q];
                value[q] = own + __shfl_xor_sync(EVERY, given, bit);
            }
        } else {
#pragma unroll
            for (int q = 0; q < CHUNK; q++)
                if (q < kept) value[q] += __shfl_xor_sync(EVERY, value[q], bit);
        }
    }
}

// --- a network in a block --------------------------------------------------------------------------

// For each row its input weights, the bias and, last, the output weight; and the output bias.
struct Rows {
    REAL of[ROWS][WIDTH + 1], c;
};

struct Place {
    int lane, warp, sample_lane;
    int kernel[ROWS], window[ROWS];
    bool real[ROWS];  // whether there is such a row
};

__device__ __forceinline__ Place place_of_thread()
{
    Place at;
    at.lane = threadIdx.x % 32;
    at.warp = threadIdx.x / 32;
    at.sample_lane = at.lane / ROW_LANES;
    const int lane = at.lane % ROW_LANES;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int group = at.warp * ROWS + i;
#if SHARED  // the windows of a kernel lie in neighbouring lanes
        const int kernels = ROW_LANES / WINDOWS;
        at.kernel[i] = group * kernels + lane / WINDOWS;
        at.window[i] = lane % WINDOWS;
        at.real[i] = lane < kernels * WINDOWS && at.kernel[i] < KERNELS;
#else
        const int row = group * ROW_LANES + lane;
        at.kernel[i] = row / WINDOWS;
        at.window[i] = row % WINDOWS;
        at.real[i] = row < KERNELS * WINDOWS;
#endif
    }
    return at;
}

#define OF_W (SHARED ? KERNELS * ENTRIES : KERNELS * WINDOWS * ENTRIES)
#define OF_B (BIAS ? (SHARED ? KERNELS : KERNELS * WINDOWS) : 0)
#define OF_A (KERNELS * WINDOWS)
#define PARAMETERS (OF_W + OF_B + OF_A + OUTPUT_BIAS)

// Where number j of row i stands among the parameters.
__device__ __forceinline__ int index_of(const Place &at, int i, int j)
{
    const int row = at.kernel[i] * WINDOWS + at.window[i], own = SHARED ? at.kernel[i] : row;
    if (j < ENTRIES) return own * ENTRIES + j;
    return j < WIDTH ? OF_W + own : OF_W + OF_B + row;
}

__device__ __forceinline__ void read(Rows &rows, const REAL *from, const Place &at)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j <= WIDTH; j++) rows.of[i][j] = at.real[i] ? from[index_of(at, i, j)] : 0;
    rows.c = OUTPUT_BIAS ? from[PARAMETERS - 1] : 0;
}

__device__ __forceinline__ void write(const Rows &rows, REAL *to, const Place &at)
{
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j <= WIDTH; j++)
            if (at.real[i] && !at.sample_lane) to[index_of(at, i, j)] = rows.of[i][j];
    if (OUTPUT_BIAS && threadIdx.x == 0) to[PARAMETERS - 1] = rows.c;
}

struct Samples {
    const REAL *x, *y;
    const int *order;  // the samples of a mini-batch; null means all
    int count;
};

// The loss on some samples, and the sums of its slopes: those in w still without the factor a, and all
// without 2 / count. `parity` tells which of two rows of `sums` is free.
__device__ __forceinline__ REAL pass(
    const Rows &rows, const Place &at, const Samples &samples, Rows &slope,
    REAL (&sums)[2][WARPS][CHUNK * SAMPLE_LANES], int &parity)
{
    REAL loss = 0;
    slope = {};
    for (int first = 0; first < samples.count; first += CHUNK * SAMPLE_LANES) {
        REAL t[ROWS][CHUNK], error[CHUNK];
        int number[CHUNK];
#pragma unroll
        for (int q = 0; q < CHUNK; q++) {
            const int s = min(first + q * SAMPLE_LANES + at.sample_lane, samples.count - 1);
            number[q] = BATCHES && samples.order ? samples.order[s] : s;
            error[q] = 0;
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const REAL *x = samples.x + number[q] * STRIDE + OFFSET[at.window[i]];
                REAL u = BIAS ? rows.of[i][WIDTH - 1] : 0;
#pragma unroll
                for (int j = 0; j < ENTRIES; j++) u = fma(rows.of[i][j], x[PLACE[j]], u);
                t[i][q] = tanh_of(u);
                error[q] = fma(rows.of[i][WIDTH], t[i][q], error[q]);
            }
        }
        int held, kept;
        sum_over_rows(error, at.lane, held, kept);
        if (WARPS > 1 || kept < CHUNK) {
#pragma unroll
            for (int q = 0; q < CHUNK; q++)
                if (q < kept) sums[parity][at.warp][(held + q) * SAMPLE_LANES + at.sample_lane] = error[q];
            meet();
#pragma unroll
            for (int q = 0; q < CHUNK; q++) {
                error[q] = 0;
#pragma unroll
                for (int warp = 0; warp < WARPS; warp++)
                    error[q] += sums[parity][warp][q * SAMPLE_LANES + at.sample_lane];
            }
            parity ^= 1;
        }
#pragma unroll
        for (int q = 0; q < CHUNK; q++) {
            const bool real = first + q * SAMPLE_LANES + at.sample_lane < samples.count;
            const REAL e = real ? error[q] + rows.c - samples.y[number[q]] : 0;
            loss = fma(e, e, loss);
            slope.c += e;
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const REAL *x = samples.x + number[q] * STRIDE + OFFSET[at.window[i]];
                const REAL et = e * t[i][q], h = fma(-t[i][q], et, e);
                slope.of[i][WIDTH] += et;
#pragma unroll
                for (int j = 0; j < ENTRIES; j++) slope.of[i][j] = fma(h, x[PLACE[j]], slope.of[i][j]);
                if (BIAS) slope.of[i][WIDTH - 1] += h;
            }
        }
    }
    return summed(loss, ROW_LANES, 32) / (REAL)samples.count;
}

// From the sums of one thread's samples and windows to the gradient of the loss.
__device__ __forceinline__ void complete(Rows &slope, const Rows &rows, const Place &at, int count)
{
    const REAL unit = (REAL)2 / (REAL)count;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            REAL sum = rows.of[i][WIDTH] * summed(slope.of[i][j], ROW_LANES, 32);
#if SHARED && WINDOWS > 1
            const REAL of_window = sum;
            sum = 0;
#pragma unroll 4
            for (int p = 0; p < WINDOWS; p++)
                sum += __shfl_sync(EVERY, of_window, at.lane - at.window[i] + p);
#endif
            slope.of[i][j] = at.real[i] ? unit * sum : 0;  // else that of others
        }
        slope.of[i][WIDTH] = unit * summed(slope.of[i][WIDTH], ROW_LANES, 32);
    }
    if (OUTPUT_BIAS) slope.c = unit * summed(slope.c, ROW_LANES, 32);
}

// As in optimizers.py.
__device__ __forceinline__ void update(
    REAL &value, REAL slope, REAL &average, REAL &square, REAL rate, const Launch &by, const REAL *correction)
{
#if OPTIMIZER == 0
    value -= rate * slope;
#else
    slope += (REAL)by.weight_decay * value;
#if OPTIMIZER == 1
    average = (REAL)by.momentum * average + slope;
    value -= rate * average;
#else
    average = (REAL)by.beta1 * average + (REAL)(1 - by.beta1) * slope;
    square = (REAL)by.beta2 * square + (REAL)(1 - by.beta2) * slope * slope;
    value -= rate * (average / correction[0] / (sqrt(square / correction[1]) + (REAL)by.epsilon));
#endif
#endif
}

// So many more steps of a network, until it stops. Returns how many were made.
__device__ __forceinline__ long long descended(
    Rows &rows, Rows (&average)[2], const Place &at, const Samples &all, const Launch &launch,
    long long mine, long long turn, long long before, REAL rate, REAL &loss, bool &measured, bool &stop,
    REAL (&sums)[2][WARPS][CHUNK * SAMPLE_LANES], int &parity)
{
    const bool measure = launch.measure && turn == launch.turns - 1;
    const REAL tolerance = (REAL)launch.tolerance;
    Rows slope;
    for (long long step = 0;; step++) {
        const bool last = step == launch.steps;
        if (last && !measure) return step;
        Samples some = all;
#if BATCHES
        const bool whole = all.count <= launch.batch;
        const long long now = before + step, epoch = (all.count + launch.batch - 1) / launch.batch;
        const long long from = now % epoch * launch.batch;
        if (last || from == 0)
#endif
        {
            loss = pass(rows, at, all, slope, sums, parity);
            measured = true;
            stop = !(loss > tolerance && loss < BLOWN_UP);  // a NaN stops, too
            if (stop || last) return step;
        }
#if BATCHES
        if (!whole) {  // rows of orders begin with the epoch in which the launch begins
            const long long begun = (before - turn * launch.steps) / epoch;
            some.order = launch.orders + mine * launch.ordered + (now / epoch - begun) * all.count + from;
            some.count = (int)min(launch.batch, all.count - from);
            pass(rows, at, some, slope, sums, parity);
        }
#endif
        complete(slope, rows, at, some.count);
        const REAL *correction = launch.corrections + 2 * (turn * launch.steps + step);
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j <= WIDTH; j++)
                update(rows.of[i][j], slope.of[i][j], average[0].of[i][j], average[1].of[i][j], rate, launch, correction);
        if (OUTPUT_BIAS) update(rows.c, slope.c, average[0].c, average[1].c, rate, launch, correction);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) descend(const Launch *of)
{
    extern __shared__ double memory[];
    __shared__ REAL sums[2][WARPS][CHUNK * SAMPLE_LANES];
    __shared__ int task;
    const Launch &launch = *of;
    const Place at = place_of_thread();
    int parity = 0;
    for (;;) {
        __syncthreads();
        if (threadIdx.x == 0) task = atomicAdd(launch.queue, 1);
        __syncthreads();
        const long long mine = task % launch.networks, turn = task / launch.networks;
        if (turn >= launch.turns) return;
        if (threadIdx.x == 0) {  // another block may still be at this network's last turn
            while (atomicAdd(launch.turn + mine, 0) < turn) __nanosleep(1000);
            __threadfence();
        }
        __syncthreads();
        const long long net = launch.active[mine];
        if (!launch.stopped[net]) {
            const long long first = launch.first[net], before = launch.made[net];
            Samples all = {launch.x + first * STRIDE, launch.y + first, nullptr, (int)launch.count[net]};
#if KEPT
            REAL *x = (REAL *)memory, *y = x + all.count * STRIDE;
            for (int i = threadIdx.x; i < all.count * STRIDE; i += THREADS) x[i] = all.x[i];
            for (int i = threadIdx.x; i < all.count; i += THREADS) y[i] = all.y[i];
            all.x = x;
            all.y = y;
            __syncthreads();
#endif
            Rows rows, average[2];
            read(rows, launch.params + net * PARAMETERS, at);
#pragma unroll
            for (int m = 0; m < AVERAGES; m++)
                read(average[m], launch.averages + (m * launch.all + net) * PARAMETERS, at);
            REAL loss = 0;
            bool measured = false, stop = false;
            const long long made = descended(
                rows, average, at, all, launch, mine, turn, before, launch.rate[net], loss, measured, stop, sums, parity);
            write(rows, launch.params + net * PARAMETERS, at);
#pragma unroll
            for (int m = 0; m < AVERAGES; m++)
                write(average[m], launch.averages + (m * launch.all + net) * PARAMETERS, at);
            __syncthreads();  // all have read `made`
            if (threadIdx.x == 0) {
                launch.made[net] = before + made;
                if (measured) launch.loss[net] = loss;
                if (stop) launch.stopped[net] = 1;
            }
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) atomicAdd(launch.turn + mine, 1);
    }
}

extern "C" __global__ void tanh_of_each(const REAL *x, REAL *result, long long count)
{
    const long long threads = gridDim.x * blockDim.x;
    for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += threads)
        result[i] = tanh_of(x[i]);
}

// What the benchmark compares with: 8 independent chains of fused multiply-adds in each thread.
extern "C" __global__ void multiply_add(const REAL *x, REAL *result, long long count)
{
    REAL chain[8], half = x[0];
    for (int i = 0; i < 8; i++) chain[i] = x[i] + threadIdx.x;
    for (long long step = 0; step < count; step++)
#pragma unroll
        for (int i = 0; i < 8; i++) chain[i] = fma(chain[i], half, half);
    REAL sum = 0;
    for (int i = 0; i < 8; i++) sum += chain[i];
    result[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
