/* The rooms core, kernels and ops without Python: every product of every kernel that this machine has, and attention,
 * against plain loops in double. Also what other processors than ours run: tools/kernel_tests.sh builds it for AArch64.
 * Prints a line for each failure and exits with 1. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/core/memory.h"
#include "../../csrc/core/threads.h"
#include "../../csrc/kernels/kernel.h"
#include "../../csrc/ops/attention.h"

static int failures, checks;

static void check(double error, double limit, const char *format, ...) {
    checks++;
    if (error <= limit) return; /* false for NaN */
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf(": error %.3g, limit %.3g\n", error, limit);
    failures++;
}

static uint64_t state = 1;
static float draw(void) { /* in (-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int32_t)(state >> 32)) / 2147483648.0f;
}

static float *floats(int64_t n) {
    float *x = pta_alloc(n + 1, sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = draw();
    return x;
}

/* The same numbers in `dtype`. */
static pta_matrix stored(const float *x, int64_t rows, int64_t ld, pta_dtype dtype) {
    pta_matrix m = {pta_alloc(rows * ld + 1, 4), ld, dtype};
    for (int64_t i = 0; i < rows * ld; i++) pta_store(m.data, i, x[i], dtype);
    return m;
}

static double at(pta_matrix m, int64_t i, int64_t j) { return pta_load(m.data, i * m.ld + j, m.dtype); }
static double as(double x, pta_dtype dtype) { return dtype == PTA_BF16 ? pta_widen(pta_round_bf16((float)x)) : x; }

typedef enum { FORWARD, DINPUT, DWEIGHT, FROZEN_FORWARD, FROZEN_DINPUT } kind;
static const char *const names[] = {"forward", "dinput", "dweight", "frozen forward", "frozen dinput"};

typedef struct {
    kind kind;
    int64_t M, N, K;
    pta_dtype compute;
    pta_matrix a, b, out;
    const float *w;
    pta_frozen frozen;
} job;

static void work(const pta_team *team, void *argument) {
    const job *j = argument;
    pta_packed packed = {j->compute, j->N, j->K, NULL};
    switch (j->kind) {
    case FORWARD:
        packed.data = j->b.data;
        pta_linear_pack(team, &packed, j->w);
        pta_team_barrier(team);
        pta_linear_forward(team, j->out, j->a, &packed, j->M, false);
        break;
    case DINPUT: pta_linear_dinput(team, j->out, j->a, j->w, j->M, j->N, j->K, j->compute, false); break;
    case DWEIGHT: pta_linear_dweight(team, j->out.data, j->a, j->b, j->M, j->N, j->K, j->compute); break;
    case FROZEN_FORWARD: pta_frozen_forward(team, j->out, j->a, &j->frozen, j->M, j->compute, false); break;
    case FROZEN_DINPUT: pta_frozen_dinput(team, j->out, j->a, &j->frozen, j->M, j->compute); break;
    }
    pta_team_barrier(team);
}

static double expected(const job *j, int64_t i, int64_t c, double old) {
    double sum = old;
    const pta_dtype d = j->compute;
    const int64_t depth = j->kind == DWEIGHT ? j->M : j->kind == FORWARD || j->kind == FROZEN_FORWARD ? j->K : j->N;
    for (int64_t k = 0; k < depth; k++) {
        double a = j->kind == DWEIGHT ? at(j->a, k, i) : at(j->a, i, k), b;
        if (j->kind == DWEIGHT) b = at(j->b, k, c);
        else if (j->kind == FORWARD || j->kind == FROZEN_FORWARD) b = j->w[c * j->K + k];
        else b = j->w[k * j->K + c];
        sum += as(a, d) * as(b, d);
    }
    return sum;
}

static void product(const char *variant, kind kind, int64_t M, int64_t N, int64_t K, pta_dtype compute, pta_dtype type, int form) {
    const int64_t rows = kind == DWEIGHT ? N : M, columns = kind == FORWARD || kind == FROZEN_FORWARD ? N : K;
    const int64_t of_a = kind == FORWARD || kind == FROZEN_FORWARD ? K : N;
    float *x = floats(M * of_a), *y = floats(M * K), *w = floats(N * K), *old = floats(rows * columns);
    job j = {kind, M, N, K, compute, stored(x, M, of_a, type), {0}, {0}, w, {form, N, K, NULL}};
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads += 2) {
        pta_error err = {0};
        j.out = stored(old, rows, columns, kind == DWEIGHT ? PTA_F32 : type);
        j.b = kind == DWEIGHT ? stored(y, M, K, type) : (pta_matrix){pta_alloc(pta_packed_bytes(compute, N, K) + 64, 1), 0, 0};
        if (kind >= FROZEN_FORWARD) {
            j.frozen.data = pta_alloc(pta_frozen_bytes(form, N, K), 1);
            if (threads == 1) {
                pta_frozen_set(&j.frozen, w, 0, N);
                pta_frozen_get(&j.frozen, w, 0, N); /* the twin multiplies with what is stored */
            }
            pta_frozen_set(&j.frozen, w, 0, N);
        }
        check(pta_team_run(work, &j, threads, &err), 0, "%s: no memory", names[kind]);
        double worst = 0;
        int64_t different = 0;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t c = 0; c < columns; c++) {
                double wanted = expected(&j, i, c, kind == DWEIGHT ? old[i * columns + c] : 0);
                worst = fmax(worst, fabs(at(j.out, i, c) - wanted) / (1 + fabs(wanted)));
                if (first) different += at(j.out, i, c) != first[i * columns + c];
            }
        const int64_t depth = kind == DWEIGHT ? M : of_a;
        const double limit = j.out.dtype == PTA_BF16 ? 0x1p-8 : 1e-6 + (double)depth * 0x1p-25;
        check(worst, limit, "%s, %s, M %d N %d K %d, %s stored as %s, form %d, %d threads", variant, names[kind], (int)M,
              (int)N, (int)K, compute ? "bfloat16" : "float32", type ? "bfloat16" : "float32", form, threads);
        check((double)different, 0, "%s, %s: elements that change with the number of threads", variant, names[kind]);
        if (!first) {
            first = floats(rows * columns);
            for (int64_t i = 0; i < rows * columns; i++) first[i] = (float)at(j.out, i / columns, i % columns);
        }
        pta_free(j.out.data), pta_free(j.b.data), pta_free(j.frozen.data);
        j.frozen.data = NULL;
    }
    pta_free(j.a.data), pta_free(x), pta_free(y), pta_free(w), pta_free(old), pta_free(first);
}

enum { T = 150, H = 4, HEADS_OF_KEYS = 2, D = 16 };

typedef struct {
    pta_matrix out, qkv, dout, dqkv;
    float *lse;
    void *pages, *scratch;
    pta_rows rows;
} attention_job;

static void attend(const pta_team *team, void *argument) {
    const attention_job *j = argument;
    pta_attention_forward(team, j->out, j->lse, j->qkv, &j->rows, H, HEADS_OF_KEYS, D, j->pages);
    pta_team_barrier(team);
    pta_attention_backward(team, j->dqkv, j->dout, j->out, j->lse, j->qkv, &j->rows, H, HEADS_OF_KEYS, D, j->scratch);
}

/* A prompt of 70, two children of 40: forward against plain softmax, backward's dv against its sum. */
static void attention(const char *variant) {
    static const int32_t offsets[] = {0, 70, 110, 150}, parent[] = {-1, 0, 0}, until[] = {150, 110, 150};
    const int64_t width = (H + 2 * HEADS_OF_KEYS) * D;
    float *qkv = floats(T * width), *dout = floats(T * H * D);
    attention_job j = {.rows = {T, 3, offsets, parent, until}};
    j.qkv = stored(qkv, T, width, PTA_F32), j.dout = stored(dout, T, H * D, PTA_F32);
    j.out = stored(dout, T, H * D, PTA_F32), j.dqkv = stored(qkv, T, width, PTA_F32);
    j.lse = floats(T * H);
    j.pages = pta_alloc(pta_attention_pages(&j.rows, HEADS_OF_KEYS, D), 1);
    j.scratch = pta_alloc(pta_attention_backward_bytes(&j.rows, H, HEADS_OF_KEYS, D), 1);
    pta_error err = {0};
    check(pta_team_run(attend, &j, 2, &err), 0, "attention: no memory");
    double worst = 0, worst_dv = 0;
    static double dv[T][HEADS_OF_KEYS * D];
    memset(dv, 0, sizeof dv);
    for (int64_t h = 0; h < H; h++)
        for (int64_t i = 0; i < T; i++) {
            double p[T], sum = 0;
            for (int64_t k = 0; k <= i; k++) {
                int64_t s = k < 70 ? 0 : k < 110 ? 1 : 2;
                double score = 0;
                for (int64_t d = 0; d < D; d++) score += at(j.qkv, i, h * D + d) * at(j.qkv, k, (H + h / 2) * D + d);
                p[k] = i < until[s] ? exp(score / sqrt(D)) : 0;
                sum += p[k];
            }
            for (int64_t d = 0; d < D; d++) {
                double o = 0;
                for (int64_t k = 0; k <= i; k++) {
                    o += p[k] / sum * at(j.qkv, k, (H + HEADS_OF_KEYS + h / 2) * D + d);
                    dv[k][h / 2 * D + d] += p[k] / sum * at(j.dout, i, h * D + d);
                }
                worst = fmax(worst, fabs(o - at(j.out, i, h * D + d)));
            }
        }
    for (int64_t k = 0; k < T; k++)
        for (int64_t d = 0; d < HEADS_OF_KEYS * D; d++)
            worst_dv = fmax(worst_dv, fabs(dv[k][d] - at(j.dqkv, k, (H + HEADS_OF_KEYS) * D + d)));
    check(worst, 2e-6, "%s: attention, out", variant);
    check(worst_dv, 2e-5, "%s: attention, gradient of the values", variant);
    pta_free(qkv), pta_free(dout), pta_free(j.qkv.data), pta_free(j.dout.data), pta_free(j.out.data), pta_free(j.dqkv.data);
    pta_free(j.lse), pta_free(j.pages), pta_free(j.scratch);
}

int main(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {5, 33, 31}, {37, 70, 130}, {3, 40, 1100}, {70, 96, 64}};
    pta_error err = {0};
    int count;
    const pta_variant *variants = pta_kernels_variants(&count);
    for (int v = 0; v < count; v++) {
        if (!variants[v].available()) continue;
        const char *name = variants[v].simd;
        check(pta_kernels_use(name, &err), 0, "%s cannot be used", name);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int type = PTA_F32; type <= PTA_BF16; type++)
                for (int compute = PTA_F32; compute <= PTA_BF16; compute++)
                    for (int k = FORWARD; k <= FROZEN_DINPUT; k++)
                        for (int form = PTA_FROZEN_BF16; form <= (k >= FROZEN_FORWARD ? PTA_FROZEN_INT4 : PTA_FROZEN_BF16); form++)
                            product(name, k, shapes[s][0], shapes[s][1], shapes[s][2], compute, type, form);
        attention(name);
        printf("%s: done\n", name);
    }
    printf("%d checks, %d failures\n", checks, failures);
    return failures > 0;
}
