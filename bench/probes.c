/* What the machine can do at most, measured without the engine: compiled by bench/probes.py for this CPU.
 * Prints one line a probe: its name and GFLOP/s or GB/s. Several independent chains keep the units full. */
#define _GNU_SOURCE
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHAINS = 24, ROUNDS = 5 };

#ifdef __AVX512F__
typedef float lanes __attribute__((vector_size(64)));
#else
typedef float lanes __attribute__((vector_size(32)));
#endif

static float fma_chains(long steps) {
    lanes sum[CHAINS], factor, term;
    for (int i = 0; i < (int)(sizeof(lanes) / 4); i++) factor[i] = 0.999f, term[i] = 0.001f;
    for (int c = 0; c < CHAINS; c++) sum[c] = term + (float)c;
    for (long s = 0; s < steps; s++)
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * factor + term;
    float total = 0;
    for (int c = 0; c < CHAINS; c++) total += sum[c][0];
    return total;
}

#ifdef __AVX512BF16__
static float dot_chains(long steps) {
    __m512 sum[CHAINS];
    __m512bh pairs = (__m512bh)_mm512_set1_epi32(0x3c003c00);
    for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_set1_ps((float)c);
    for (long s = 0; s < steps; s++) {
        __asm__ volatile("" : "+v"(pairs));
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_dpbf16_ps(sum[c], pairs, pairs);
    }
    float total = 0;
    for (int c = 0; c < CHAINS; c++) total += _mm512_reduce_add_ps(sum[c]);
    return total;
}
#endif

#ifdef __AMX_BF16__
static float tile_chains(long steps) {
    struct { uint8_t palette, start, zero[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {.palette = 1};
    static const uint8_t zeros[1024];
    for (int t = 0; t < 8; t++) tiles.bytes[t] = 64, tiles.rows[t] = 16;
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&tiles);
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    _tile_loadd(4, zeros, 64); _tile_loadd(5, zeros, 64); _tile_loadd(6, zeros, 64); _tile_loadd(7, zeros, 64);
    for (long s = 0; s < steps; s++) {
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
    float result[256];
    _tile_stored(0, result, 64);
    _tile_release();
    return result[0];
}
#endif

/* Best of ROUNDS: a peak is what can be reached, not what is typical. */
static void report(const char *name, float (*chains)(long), long steps, double flops_a_step, int threads) {
    double best = 1e30;
    volatile float sink = 0;
    for (int r = 0; r < ROUNDS; r++) {
        double start = omp_get_wtime();
#pragma omp parallel num_threads(threads)
        sink = chains(steps);
        double seconds = omp_get_wtime() - start;
        if (seconds < best) best = seconds;
    }
    (void)sink;
    printf("%s %.6g\n", name, 1e-9 * flops_a_step * (double)steps * threads / best);
}

static void report_bandwidth(int threads) {
    const long count = 1L << 26; /* int64: 512 MiB */
    int64_t *data = aligned_alloc(64, (size_t)count * 8), total = 0;
    if (!data) return;
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < count; i++) data[i] = i;
    double best = 1e30;
    for (int r = 0; r < ROUNDS; r++) {
        double start = omp_get_wtime();
#pragma omp parallel for num_threads(threads) reduction(+ : total)
        for (long i = 0; i < count; i++) total += data[i];
        double seconds = omp_get_wtime() - start;
        if (seconds < best) best = seconds;
    }
    printf("bandwidth %.6g\n", total ? 1e-9 * (double)count * 8 / best : 0.0);
    free(data);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    const long width = sizeof(lanes) / 4;
    report("float32", fma_chains, 10000000, 2.0 * CHAINS * width, threads);
#ifdef __AVX512BF16__
    report("bfloat16 dot", dot_chains, 5000000, 4.0 * CHAINS * 16, threads);
#endif
#ifdef __AMX_BF16__
    if (syscall(SYS_arch_prctl, 0x1023, 18) == 0) report("bfloat16 tile", tile_chains, 10000000, 4.0 * 2 * 16 * 16 * 32, threads);
#endif
    report_bandwidth(threads);
    return 0;
}
