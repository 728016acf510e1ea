/* The small products of attention in bfloat16, where the CPU has an instruction for them: c (+)= a · b by the calling thread
 * alone, a and b rounded to bfloat16, sums in float32. An element's bits depend on its row of a and column of b alone, as in
 * linear.h; zeros behind a row's last element that is not zero change nothing. b must be finite. */
#ifndef PTA_KERNELS_SMALL_H
#define PTA_KERNELS_SMALL_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/dtype.h"

/* Rows of c that go well together: a multiple of the kernel's. 0: the kernels in use have no such products. */
int64_t pta_small_rows(void);
/* Both dimensions are rounded up to 32. */
static inline int64_t pta_small_bytes(int64_t k, int64_t n) { return ((k + 31) / 32 * 32) * ((n + 31) / 32 * 32) * 2; }
/* b[k, n] -> packed: pta_small_bytes(k, n), 64-byte aligned. */
void pta_small_pack(void *packed, pta_matrix b, int64_t k, int64_t n);
/* A packed left operand. `row` and `step` words of two elements lie between its rows and pairs of depths, `each` between
 * tiles of rows. Of one that was not transposed, the rows from i on begin at data + i · row. */
typedef struct {
    const uint32_t *data;
    int64_t each, row, step;
} pta_small_a;

/* Room for a[m, k], a multiple of 64. */
static inline int64_t pta_small_left_bytes(int64_t m, int64_t k) { return (m + 32) * ((k + 31) / 32 * 16 + 16) * 4; }
/* a[m, k], or [k, m] when transposed. room: pta_small_left_bytes(m, k), 64-byte aligned. */
pta_small_a pta_small_left(void *room, pta_matrix a, bool transposed, int64_t m, int64_t k);
/* c[m, n] from the k columns of a and the first k rows of a packed b that has `rows` of them. */
void pta_small_multiply(float *c, int64_t ldc, pta_small_a a, const void *packed, int64_t rows, int64_t m, int64_t n, int64_t k,
                        bool accumulate);

#endif
