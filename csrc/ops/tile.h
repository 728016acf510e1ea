/* The small matrix product that attention is made of, by the calling thread alone.
 *
 * Compiled for several instruction sets; the first call picks the best this CPU has. An element of the result is one
 * chain of fused multiply-adds (of separate ones where the CPU has none) over k, in order, from 0 or from the old value:
 * it does not depend on m, n, or the place in the tile.
 */
#ifndef PTA_OPS_TILE_H
#define PTA_OPS_TILE_H

#include <stdbool.h>
#include <stdint.h>

/* c[m,n] = or += a · b, with element (i, l) of a at a[i·row + l·step] (one of row, step must be 1), b[k,n] and c row-major. */
void pta_tile_product(float *c, int64_t ldc, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb,
                      int64_t m, int64_t n, int64_t k, bool accumulate);

/* The variants this CPU can run, best first, NULL-terminated; and the choice of one by name (false: not here). For tests
 * and measurements, while nothing else runs. */
const char *const *pta_tile_variants(void);
bool pta_tile_use(const char *name);

#endif
