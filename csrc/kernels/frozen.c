#include "frozen.h"

#include <math.h>
#include <string.h>

#include "kernel.h"

enum { STEPS = 8, GROUP = PTA_FROZEN_GROUP, WIDTH = PTA_PANEL, SCALES = WIDTH * sizeof(pta_bf16) };

static int64_t group_bytes(pta_frozen_kind kind) {
    return kind == PTA_FROZEN_BF16   ? GROUP * WIDTH * (int64_t)sizeof(pta_bf16)
           : kind == PTA_FROZEN_INT8 ? SCALES + GROUP * WIDTH
                                     : SCALES + GROUP * WIDTH / 2;
}

static int64_t groups_of(int64_t K) { return (K + GROUP - 1) / GROUP; }

int64_t pta_frozen_bytes(pta_frozen_kind kind, int64_t N, int64_t K) {
    return (N + WIDTH - 1) / WIDTH * groups_of(K) * group_bytes(kind);
}

static char *group_at(const pta_frozen *f, int64_t panel, int64_t group) {
    return (char *)f->data + (panel * groups_of(f->K) + group) * group_bytes(f->kind);
}

/* q of a row's group w[GROUP] (zeros behind its end), and Σ (w − q·scale)². In 16 fixed sums: the same on every CPU. */
PTA_CLONES static float quantise(int8_t *restrict q, const float *restrict w, float scale, float least, float most) {
    float sums[16] = {0};
    const float inverse = 1.0f / scale;
    for (int k = 0; k < GROUP; k += 16)
        for (int l = 0; l < 16; l++) {
            float x = rintf(w[k + l] * inverse);
            x = x > most ? most : x;
            x = x < least ? least : x;
            q[k + l] = (int8_t)x;
            const float miss = w[k + l] - x * scale;
            sums[l] += miss * miss;
        }
    float sum = 0.0f;
    for (int l = 0; l < 16; l++) sum += sums[l];
    return sum;
}

/* The scale of least squared error; a bfloat16, 0 for zeros. Where steps are coarse, among a few with which the largest weight
 * becomes -8 or 7, or a little more; so what was dequantised is quantised to itself. q: with that scale. */
static pta_bf16 best_scale(int8_t *q, const float *w, float most) {
    float largest = 0.0f;
    for (int k = 0; k < GROUP; k++) largest = fabsf(w[k]) > fabsf(largest) ? w[k] : largest;
    memset(q, 0, GROUP);
    if (fabsf(largest) / most < 1e-30f) return 0;
    int8_t tried[GROUP];
    pta_bf16 best = 0;
    const bool coarse = most == 7.0f;
    float smallest = INFINITY;
    for (int step = 0; step < (coarse ? 2 * STEPS : 1); step++) {
        const float whole = coarse && step % 2 ? largest / -8.0f : largest / most;
        const pta_bf16 scale = pta_round_bf16(whole * (1.0f - 0.05f * (float)(step / 2)));
        const float error = quantise(tried, w, pta_widen(scale), coarse ? -8.0f : -most, most);
        if (error < smallest) {
            smallest = error, best = scale;
            memcpy(q, tried, GROUP);
        }
    }
    return best;
}

/* One row's group of n inputs into its lane. */
static void set_group(pta_frozen_kind kind, char *group, int lane, const float *w, int64_t n) {
    if (kind == PTA_FROZEN_BF16) {
        for (int64_t k = 0; k < n; k++) ((pta_bf16 *)group)[(k / 2 * WIDTH + lane) * 2 + k % 2] = pta_round_bf16(w[k]);
        return;
    }
    float padded[GROUP] = {0};
    int8_t q[GROUP];
    memcpy(padded, w, (size_t)n * sizeof(float));
    ((pta_bf16 *)group)[lane] = best_scale(q, padded, kind == PTA_FROZEN_INT8 ? 127.0f : 7.0f);
    int8_t *to = (int8_t *)group + SCALES + lane;
    if (kind == PTA_FROZEN_INT8)
        for (int k = 0; k < GROUP; k++) to[k * WIDTH] = q[k];
    else
        for (int k = 0; k < GROUP; k += 2) to[k / 2 * WIDTH] = (int8_t)((q[k] & 0xf) | q[k + 1] * 16);
}

void pta_frozen_set(pta_frozen *f, const float *w, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t g = 0; g < groups_of(f->K); g++) {
            const int64_t left = f->K - g * GROUP;
            set_group(f->kind, group_at(f, (first + i) / WIDTH, g), (int)((first + i) % WIDTH), w + i * f->K + g * GROUP,
                      left < GROUP ? left : GROUP);
        }
}

/* `count` inputs (an even number) of a group from input k, of all 32 rows: to[count][32]. */
PTA_CLONES static void widen_group(float *restrict to, const char *restrict group, pta_frozen_kind kind, int64_t k,
                                   int64_t count) {
    float scale[WIDTH];
    const uint16_t *scales = (const uint16_t *)group;
    if (kind == PTA_FROZEN_BF16) {
        const uint32_t *pairs = (const uint32_t *)group + k / 2 * WIDTH;
        for (int64_t i = 0; i < count / 2; i++)
            for (int j = 0; j < WIDTH; j++) {
                const uint32_t pair = pairs[i * WIDTH + j], low = pair << 16, high = pair & 0xffff0000u;
                memcpy(&to[2 * i * WIDTH + j], &low, 4);
                memcpy(&to[(2 * i + 1) * WIDTH + j], &high, 4);
            }
        return;
    }
    for (int j = 0; j < WIDTH; j++) scale[j] = pta_widen(scales[j]);
    if (kind == PTA_FROZEN_INT8) {
        const int8_t *q = (const int8_t *)group + SCALES + k * WIDTH;
        for (int64_t i = 0; i < count; i++)
            for (int j = 0; j < WIDTH; j++) to[i * WIDTH + j] = (float)q[i * WIDTH + j] * scale[j];
        return;
    }
    const int8_t *q = (const int8_t *)group + SCALES + k / 2 * WIDTH;
    for (int64_t i = 0; i < count / 2; i++)
        for (int j = 0; j < WIDTH; j++) {
            const int both = q[i * WIDTH + j], high = both >> 4, low = (both << 28) >> 28;
            to[2 * i * WIDTH + j] = (float)low * scale[j];
            to[(2 * i + 1) * WIDTH + j] = (float)high * scale[j];
        }
}

PTA_CLONES static void transpose(float *restrict to, const float *restrict from) {
    for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < WIDTH; j++) to[i * WIDTH + j] = from[j * WIDTH + i];
}

void pta_frozen_get(const pta_frozen *f, float *w, int64_t first, int64_t count) {
    float wide[GROUP * WIDTH];
    for (int64_t i = 0; i < count; i++)
        for (int64_t g = 0; g < groups_of(f->K); g++) {
            widen_group(wide, group_at(f, (first + i) / WIDTH, g), f->kind, 0, GROUP);
            for (int64_t k = 0; k < GROUP && g * GROUP + k < f->K; k++)
                w[i * f->K + g * GROUP + k] = wide[k * WIDTH + (first + i) % WIDTH];
        }
}

/* Wᵀ: panel's 32 rows of W, inputs k0 .. k0+depth-1. */
static void panel_of_transposed(const pta_kernel *kernel, char *to, const pta_frozen *w, int64_t panel, int64_t k0,
                                int64_t depth) {
    float wide[GROUP * WIDTH] __attribute__((aligned(64)));
    for (int64_t k = k0, step; k < k0 + depth; k += step) {
        const int64_t inside = k % GROUP, left = k0 + depth - k;
        step = pta_min(GROUP - inside, left);
        if (kernel->widen && w->kind != PTA_FROZEN_BF16) {
            const char *group = group_at(w, panel, k / GROUP);
            const bool four_bits = w->kind == PTA_FROZEN_INT4;
            kernel->widen((uint32_t *)(to + (k - k0) * WIDTH * kernel->b_size), (const pta_bf16 *)group,
                          (const int8_t *)group + SCALES + (four_bits ? inside / 2 : inside) * WIDTH, four_bits,
                          pta_round_up(step, kernel->step));
            continue;
        }
        widen_group(wide, group_at(w, panel, k / GROUP), w->kind, inside, pta_round_up(step, 2));
        kernel->pack_panel(to + (k - k0) * WIDTH * kernel->b_size, pta_f32(wide, WIDTH), WIDTH, step,
                           pta_round_up(step, kernel->step));
    }
}

/* W: 32 inputs of rows k0 .. k0+depth-1. */
static void panel_of_itself(const pta_kernel *kernel, char *to, const pta_frozen *w, int64_t panel, int64_t k0, int64_t depth) {
    float wide[WIDTH * WIDTH] __attribute__((aligned(64))), turned[WIDTH * WIDTH] __attribute__((aligned(64)));
    const int64_t column = panel * WIDTH;
    for (int64_t n = k0; n < k0 + depth; n += WIDTH) {
        const int64_t step = pta_min(WIDTH, k0 + depth - n);
        widen_group(wide, group_at(w, n / WIDTH, column / GROUP), w->kind, column % GROUP, WIDTH);
        transpose(turned, wide);
        kernel->pack_panel(to + (n - k0) * WIDTH * kernel->b_size, pta_f32(turned, WIDTH), pta_min(WIDTH, w->K - column), step,
                           pta_round_up(step, kernel->step));
    }
}

void pta_frozen_panel(const pta_kernel *kernel, void *to, const pta_frozen *w, bool across, int64_t panel, int64_t k0,
                      int64_t depth) {
    if (across)
        panel_of_itself(kernel, to, w, panel, k0, depth);
    else
        panel_of_transposed(kernel, to, w, panel, k0, depth);
}

static const pta_kernel *kernel_of(pta_dtype compute) {
    const pta_kernel *kernel = pta_kernel_for(compute);
    if (kernel) return kernel;
    return compute == PTA_BF16 ? &pta_portable_bf16 : &pta_portable_f32; /* OpenBLAS has nothing for these */
}

void pta_frozen_forward(const pta_team *team, pta_matrix y, pta_matrix x, const pta_frozen *w, int64_t M, pta_dtype compute,
                        bool accumulate) {
    pta_product p = {.kernel = kernel_of(compute), .c = y, .accumulate = accumulate, .a = x, .frozen = w, .rows = M,
                     .columns = w->N, .depth = w->K};
    if (w->kind == PTA_FROZEN_BF16 && compute == PTA_BF16) { /* as the kernels pack it */
        p.frozen = NULL;
        p.packed = w->data;
        p.packed_depth = groups_of(w->K) * GROUP;
    }
    pta_multiply(team, &p);
}

void pta_frozen_dinput(const pta_team *team, pta_matrix dx, pta_matrix dy, const pta_frozen *w, int64_t M, pta_dtype compute) {
    pta_multiply(team, &(pta_product){.kernel = kernel_of(compute), .c = dx, .a = dy, .frozen = w, .across = true, .rows = M,
                                      .columns = w->K, .depth = w->N});
}
