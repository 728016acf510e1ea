/* The small matrix product that attention is made of, by the calling thread alone.
 *
 * Compiled for several instruction sets; the first call picks the best this CPU has. An element of the result is one
 * chain of fused multiply-adds (of separate ones where the CPU has none; of a bfloat16 unit's steps) over k, in order, from 0
 * or from the old value: it does not depend on m, n, or the place in the tile.
 */
#ifndef PTA_OPS_TILE_H
#define PTA_OPS_TILE_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/dtype.h"

enum { PTA_TILE_ROWS = 32 };

/* The operand b[k, n], as pta_tile_prepare leaves it. */
typedef struct {
    const void *data; /* float32 rows `ld` apart; or packed (kernels/small.h) */
    int64_t rows, ld;
    bool packed;
} pta_tile_b;

/* Bytes of room for b[k, n], a multiple of 64. */
static inline int64_t pta_tile_bytes(int64_t k, int64_t n) { return (k + 31) / 32 * 32 * ((n + 31) / 32 * 32) * 4; }
/* Whether products that compute in this type work on packed b, which is rounded to bfloat16, as a is. */
bool pta_tile_packs(pta_dtype compute);
/* Rows of c that go well together: at most PTA_TILE_ROWS. */
int64_t pta_tile_rows(pta_dtype compute);
/* b packed into room where the type's products want that; else b itself, or widened into room. room: 64-byte aligned. */
pta_tile_b pta_tile_prepare(pta_dtype compute, pta_matrix b, int64_t k, int64_t n, void *room);

/* c[m,n] = or += a · b over b's first k rows, with element (i, l) of a at a[i·row + l·step] (one of row, step must be 1). */
void pta_tile_product(float *c, int64_t ldc, const float *a, int64_t row, int64_t step, pta_tile_b b, int64_t m, int64_t n,
                      int64_t k, bool accumulate);

#endif
