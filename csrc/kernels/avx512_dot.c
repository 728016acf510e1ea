/* AVX-512-BF16: one instruction adds the two products of a pair of bfloat16 to a float. 12 × 32 sums in registers. */
#include "kernel.h"

#ifdef PTA_X86
#include <immintrin.h>
#include <string.h>

#include "bf16_pack.h"

enum { ROWS = 12, LANES = 16, AHEAD = 8448 /* bytes of frozen integers: four groups of int8 */ };
#define TARGET PTA_TARGET_DOT
#define UNROLL _Pragma("GCC unroll 16")

/* R rows; R is a constant at every call. Rows are reached from every third one. */
TARGET PTA_INLINE void registers(const pta_tile *t, const int R) {
    __m512 s[ROWS][2];
    const int64_t stride = t->row_stride, step = t->step_stride;
    const int32_t *a[ROWS / 3], *b = t->b;
    const char *ahead = t->ahead;
    UNROLL for (int i = 0; i < R; i += 3) a[i / 3] = (const int32_t *)t->a + i * stride;
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int v = 0; v < 2; v++)
            s[i][v] = t->accumulate ? _mm512_loadu_ps(t->c + i * t->ldc + v * LANES) : _mm512_setzero_ps();
    for (int64_t k = 0; k < t->depth; k += 2, b += PTA_PANEL) {
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + 64);
        ahead += t->ahead_step;
        const __m512bh w0 = (__m512bh)_mm512_load_si512(b), w1 = (__m512bh)_mm512_load_si512(b + LANES);
        UNROLL for (int i = 0; i < R; i++) {
            const __m512bh x = (__m512bh)_mm512_set1_epi32(a[i / 3][i % 3 * stride]);
            s[i][0] = _mm512_dpbf16_ps(s[i][0], w0, x);
            s[i][1] = _mm512_dpbf16_ps(s[i][1], w1, x);
        }
        UNROLL for (int i = 0; i < R; i += 3) a[i / 3] += step;
    }
    UNROLL for (int i = 0; i < R; i++)
        UNROLL for (int v = 0; v < 2; v++) _mm512_storeu_ps(t->c + i * t->ldc + v * LANES, s[i][v]);
}

TARGET static void tile(const pta_tile *t, int rows) {
    switch (rows) {
#define CASE(R) case R: registers(t, R); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
    default: registers(t, ROWS);
#undef CASE
    }
}

/* 32 consecutive elements as bfloat16, the first `count` of them; the rest is 0. */
TARGET PTA_INLINE __m512i load32(pta_matrix from, int64_t row, int64_t column, int64_t count) {
    const __mmask32 valid = count >= 32 ? ~0u : count <= 0 ? 0 : (1u << count) - 1;
    if (from.dtype == PTA_BF16)
        return _mm512_maskz_loadu_epi16(valid, (const pta_bf16 *)from.data + row * from.ld + column);
    const float *x = (const float *)from.data + row * from.ld + column;
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps((__mmask16)(valid >> 16), x + 16),
                                        _mm512_maskz_loadu_ps((__mmask16)valid, x));
}

TARGET void pta_dot_rows(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth, int64_t padded) {
    for (int64_t i = 0; i < rows; i++) {
        pta_bf16 *row = (pta_bf16 *)((uint32_t *)to + i * stride);
        int64_t k = 0;
        for (; k + 32 <= depth; k += 32) _mm512_store_si512(row + k, load32(from, i, k, 32));
        if (k < padded) _mm512_mask_storeu_epi16(row + k, padded - k >= 32 ? ~0u : (1u << (padded - k)) - 1,
                                                 load32(from, i, k, depth - k));
    }
}

/* Interleave row k and row k + 1 (zero when there is none) of up to 32 columns. */
TARGET void pta_dot_across(uint32_t *to, int64_t width, pta_matrix from, int64_t columns, int64_t depth,
                           int64_t padded) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int64_t k = 0; k < padded; k += 2) {
        uint32_t *row = to + k / 2 * width;
        const __m512i even = load32(from, k, 0, k < depth ? columns : 0);
        const __m512i odd = load32(from, k + 1, 0, k + 1 < depth ? columns : 0);
        const __m512i first = _mm512_permutex2var_epi16(even, low, odd);
        if (width == 32) {
            _mm512_storeu_si512(row, first);
            _mm512_storeu_si512(row + LANES, _mm512_permutex2var_epi16(even, high, odd));
        } else {
            _mm512_mask_storeu_epi32(row, (__mmask16)((1u << width) - 1), first);
        }
    }
}

static void pack_columns(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth, int64_t padded) {
    (void)stride;
    pta_dot_across(to, ROWS, from, rows, depth, padded);
}

void pta_dot_panel(void *to, pta_matrix from, int64_t columns, int64_t depth, int64_t padded) {
    pta_dot_across(to, PTA_PANEL, from, columns, depth, padded);
}

TARGET void pta_dot_round(pta_bf16 *to, const float *from, int64_t count) {
    for (int64_t j = 0; j < count; j += 32) {
        const pta_matrix row = pta_f32(from, 0);
        _mm512_mask_storeu_epi16(to + j, count - j >= 32 ? ~0u : (1u << (count - j)) - 1, load32(row, 0, j, count - j));
    }
}

/* Four rounds, each exchanges lanes whose number differs in one bit between rows that differ in the same bit. */
TARGET void pta_dot_transpose(uint32_t *to, int64_t to_stride, const uint32_t *from, int64_t stride) {
    __m512i r[LANES];
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    UNROLL for (int i = 0; i < LANES; i++) r[i] = _mm512_loadu_si512(from + i * stride);
    UNROLL for (int bit = 1; bit < LANES; bit *= 2) {
        const __m512i bits = _mm512_set1_epi32(bit), other = _mm512_set1_epi32(LANES);
        const __mmask16 set = _mm512_test_epi32_mask(lane, bits);
        /* of rows (x, y): x keeps its lanes without the bit and takes y's, shifted up; y the reverse */
        const __m512i low = _mm512_mask_add_epi32(lane, set, _mm512_sub_epi32(lane, bits), other);
        const __m512i high = _mm512_mask_add_epi32(_mm512_add_epi32(lane, bits), set, lane, other);
        UNROLL for (int i = 0; i < LANES; i++)
            if (!(i & bit)) {
                const __m512i x = r[i], y = r[i + bit];
                r[i] = _mm512_permutex2var_epi32(x, low, y);
                r[i + bit] = _mm512_permutex2var_epi32(x, high, y);
            }
    }
    UNROLL for (int i = 0; i < LANES; i++) _mm512_storeu_si512(to + i * to_stride, r[i]);
}

TARGET void pta_dot_weights(void *to, const float *w, int64_t ld, int64_t columns, int64_t depth, int64_t padded) {
    uint32_t rows[PTA_PANEL * LANES] __attribute__((aligned(64)));
    for (int64_t k = 0; k < padded; k += 32) {
        for (int64_t j = 0; j < PTA_PANEL; j++)
            _mm512_store_si512(rows + j * LANES, load32(pta_f32(w, ld), j, k, j < columns ? depth - k : 0));
        for (int64_t j = 0; j < PTA_PANEL; j += LANES)
            pta_dot_transpose((uint32_t *)to + k / 2 * PTA_PANEL + j, PTA_PANEL, rows + j * LANES, LANES);
    }
}

/* 16 columns of two depths, scaled, as pairs: the even depth in the lower half. */
TARGET PTA_INLINE __m512i pairs_of(__m512i even, __m512i odd, __m512 scale) {
    const __m512i apart = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
                                           4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(even), scale), high = _mm512_mul_ps(_mm512_cvtepi32_ps(odd), scale);
    return _mm512_permutexvar_epi16(apart, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

TARGET void pta_dot_widen(uint32_t *to, const pta_bf16 *scales, const int8_t *q, bool four_bits, int64_t count) {
    for (int half = 0; half < PTA_PANEL; half += LANES) {
        const __m256i upper = _mm256_loadu_si256((const void *)(scales + half));
        const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
        for (int64_t k = 0; k < count; k += 2) {
            const int8_t *at = q + (four_bits ? k / 2 : k) * PTA_PANEL + half;
            __builtin_prefetch(at + AHEAD);
            __m512i even = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)at)), odd;
            if (four_bits) {
                odd = _mm512_srai_epi32(even, 4);
                even = _mm512_srai_epi32(_mm512_slli_epi32(even, 28), 28);
            } else {
                odd = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(at + PTA_PANEL)));
            }
            _mm512_storeu_si512(to + k / 2 * PTA_PANEL + half, pairs_of(even, odd, scale));
        }
    }
}

const pta_kernel pta_avx512_dot = {.name = "avx512-bf16", .rows = ROWS, .row_step = 1, .step = 2, .a_size = 2,
                                   .b_size = 2, .block = 1536, .tile = tile, .pack_rows = pta_dot_rows,
                                   .pack_columns = pack_columns, .pack_panel = pta_dot_panel,
                                   .pack_weights = pta_dot_weights, .round = pta_dot_round, .widen = pta_dot_widen,
                                   .small_rows = 2 * ROWS};
#endif
