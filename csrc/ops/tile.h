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
#include "../kernels/small.h"

enum { PTA_TILE_ROWS = 32 };

/* The operand a[m, k], as pta_tile_left leaves it: element (i, l) at data[i·row + l·step] (one of row, step is 1), or packed. */
typedef struct {
    const float *data;
    int64_t row, step;
    pta_small_a packed; /* its data NULL: is not */
} pta_tile_a;

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

/* a packed into room, of pta_small_left_bytes(m, k) and 64-byte aligned, where the type's products want that; else a itself. */
pta_tile_a pta_tile_left(pta_dtype compute, const float *a, int64_t row, int64_t step, int64_t m, int64_t k, void *room);
/* The rows of a from `first` on; step must be 1. */
pta_tile_a pta_tile_rows_from(pta_tile_a a, int64_t first);

/* c[m,n] = or += a · b over the k columns of a and b's first k rows. */
void pta_tile_product(float *c, int64_t ldc, pta_tile_a a, pta_tile_b b, int64_t m, int64_t n, int64_t k, bool accumulate);

#endif
