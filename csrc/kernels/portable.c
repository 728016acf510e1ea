/* The plain kernels: what every other one computes, up to the fusing of multiply and add. */
#include "pack.h"

enum { ROWS = 12 };
#define TARGET

PTA_INLINE void tile(const pta_tile *t, int rows, const bool pairs) {
    for (int i = 0; i < rows; i++) {
        float s[PTA_PANEL], *c = t->c + i * t->ldc;
        const float *a = (const float *)t->a + i * t->row_stride;
        for (int j = 0; j < PTA_PANEL; j++) s[j] = t->accumulate ? c[j] : 0.0f;
        for (int64_t k = 0; k < t->depth; k++, a += t->step_stride) {
            const float x = *a;
            if (pairs) {
                const pta_bf16 *b = (const pta_bf16 *)t->b + k / 2 * 2 * PTA_PANEL + k % 2;
                for (int j = 0; j < PTA_PANEL; j++) s[j] += x * pta_widen(b[2 * j]);
            } else {
                const float *b = (const float *)t->b + k * t->b_stride;
                for (int j = 0; j < PTA_PANEL; j++) s[j] += x * b[j];
            }
        }
        memcpy(c, s, sizeof s);
    }
}

static void portable_tile_f32(const pta_tile *t, int rows) { tile(t, rows, false); }
static void portable_tile_bf16(const pta_tile *t, int rows) { tile(t, rows, true); }

PTA_FLOAT_PACKING(portable, TARGET, ROWS)
PTA_FLOAT_KERNELS(portable, "portable", ROWS)
