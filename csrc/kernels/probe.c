#include "probe.h"

#include <time.h>

#include "../core/memory.h"
#include "bf16_pack.h"
#include "kernel.h"

#ifdef PTA_X86
#include <immintrin.h>
#endif

enum { ROUNDS = 4096, SUMS = 12, PASSES = 5 };
#define UNROLL _Pragma("GCC unroll 16")

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Each runs ROUNDS rounds and returns how many operations they were. */
#ifdef PTA_X86
__attribute__((target("avx2,fma"))) static double rounds_avx2(volatile float *sink) {
    const __m256 x = _mm256_set1_ps(sink[0]);
    __m256 s[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++) s[i] = x;
    for (int r = 0; r < ROUNDS; r++) UNROLL for (int i = 0; i < SUMS; i++) s[i] = _mm256_fmadd_ps(x, x, s[i]);
    UNROLL for (int i = 1; i < SUMS; i++) s[0] = _mm256_add_ps(s[0], s[i]);
    sink[1] = _mm256_cvtss_f32(s[0]);
    return 2.0 * 8 * SUMS * ROUNDS;
}

__attribute__((target("avx512f"))) static double rounds_avx512(volatile float *sink) {
    const __m512 x = _mm512_set1_ps(sink[0]);
    __m512 s[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++) s[i] = x;
    for (int r = 0; r < ROUNDS; r++) UNROLL for (int i = 0; i < SUMS; i++) s[i] = _mm512_fmadd_ps(x, x, s[i]);
    UNROLL for (int i = 1; i < SUMS; i++) s[0] = _mm512_add_ps(s[0], s[i]);
    sink[1] = _mm512_cvtss_f32(s[0]);
    return 2.0 * 16 * SUMS * ROUNDS;
}

PTA_TARGET_DOT static double rounds_dot(volatile float *sink) {
    const __m512bh x = (__m512bh)_mm512_castps_si512(_mm512_set1_ps(sink[0]));
    __m512 s[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++) s[i] = _mm512_setzero_ps();
    for (int r = 0; r < ROUNDS; r++) UNROLL for (int i = 0; i < SUMS; i++) s[i] = _mm512_dpbf16_ps(s[i], x, x);
    UNROLL for (int i = 1; i < SUMS; i++) s[0] = _mm512_add_ps(s[0], s[i]);
    sink[1] = _mm512_cvtss_f32(s[0]);
    return 4.0 * 16 * SUMS * ROUNDS;
}

__attribute__((target("amx-tile,amx-bf16"))) static double rounds_amx(volatile float *sink) {
    (void)sink;
    pta_amx.begin(); /* all tiles are zero */
    for (int r = 0; r < ROUNDS; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    pta_amx.end();
    return 4 * 2.0 * 16 * 16 * 32 * ROUNDS;
}
#endif

typedef double (*rounds)(volatile float *sink);

static bool has(const pta_kernel *kernel) {
    int count;
    const pta_variant *v = pta_kernels_variants(&count);
    for (int i = 0; i < count; i++)
        if ((v[i].bf16 == kernel || v[i].f32 == kernel) && v[i].available()) return true;
    return false;
}

static rounds choose(pta_probe kind) {
#ifdef PTA_X86
    if (kind == PTA_PROBE_AMX) return has(&pta_amx) ? rounds_amx : NULL;
    if (kind == PTA_PROBE_BF16_DOT) return has(&pta_avx512_dot) ? rounds_dot : NULL;
    if (has(&pta_avx512_f32)) return rounds_avx512;
    if (has(&pta_avx2_f32)) return rounds_avx2;
#else
    (void)kind;
    (void)has;
#endif
    return NULL;
}

typedef struct {
    rounds run;
    double seconds, rate; /* asked for; found, of all threads together */
    const uint64_t *words;
    int64_t count;
} probe;

/* The rate of the whole team: work of all, over the time from barrier to barrier. */
static void peak_body(const pta_team *team, void *arg) {
    probe *p = arg;
    volatile float *sink = team->scratch;
    double *work = (double *)pta_team_shared(team) + 8 * team->id;
    sink[0] = 0.0f;
    *work = 0.0;
    pta_team_barrier(team);
    const double started = seconds_now();
    while (seconds_now() - started < p->seconds) *work += p->run(sink);
    pta_team_barrier(team);
    if (team->id > 0) return;
    const double elapsed = seconds_now() - started;
    double sum = 0.0;
    for (int i = 0; i < team->size; i++) sum += work[8 * i];
    p->rate = sum / elapsed;
}

pta_code pta_probe_peak(double *rate, pta_probe kind, double seconds, int threads, pta_error *err) {
    probe p = {.run = choose(kind), .seconds = seconds};
    if (!p.run) return pta_fail(err, PTA_E_VALUE, "this CPU has no instruction of that kind to measure");
    pta_code code = pta_team_run(peak_body, &p, threads, err);
    *rate = p.rate;
    return code;
}

/* Four streams, as a kernel that reads several panels would. */
PTA_CLONES static uint64_t add_up(const uint64_t *p, int64_t count) {
    uint64_t s = 0;
    const int64_t quarter = count / 4;
    for (int64_t i = 0; i < quarter; i++)
        s += p[i] ^ p[i + quarter] ^ p[i + 2 * quarter] ^ p[i + 3 * quarter];
    return s;
}

static void bandwidth_body(const pta_team *team, void *arg) {
    probe *p = arg;
    int64_t first, last;
    volatile uint64_t *sink = team->scratch;
    pta_team_share(team, p->count, 512, &first, &last);
    for (int pass = 0; pass < PASSES; pass++) {
        pta_team_barrier(team);
        const double started = seconds_now();
        *sink = add_up(p->words + first, last - first);
        pta_team_barrier(team);
        const double rate = 8.0 * (double)p->count / (seconds_now() - started);
        if (team->id == 0 && rate > p->rate) p->rate = rate;
    }
}

pta_code pta_probe_bandwidth(double *rate, int64_t bytes, int threads, pta_error *err) {
    uint64_t *words = pta_alloc(bytes / 8, 8);
    if (!words) return pta_fail(err, PTA_E_MEMORY, "cannot allocate %lld bytes to read", (long long)bytes);
    probe p = {.words = words, .count = bytes / 8};
    pta_code code = pta_team_run(bandwidth_body, &p, threads, err);
    pta_free(words);
    *rate = p.rate;
    return code;
}
