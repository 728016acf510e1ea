/* The small products of attention in bfloat16, where the CPU has an instruction for them: c (+)= a · b by the calling thread
 * alone, a and b rounded to bfloat16, sums in float32. An element's bits depend on its row of a and column of b alone, as in
 * linear.h; zeros behind a row's last element that is not zero change nothing. b must be finite. */
#ifndef PTA_KERNELS_SMALL_H
#define PTA_KERNELS_SMALL_H

#include <stdbool.h>

#include "../core/dtype.h"

/* Rows of c that go well together: a multiple of the kernel's. 0: the kernels in use have no such products. */
int64_t pta_small_rows(void);
/* Both dimensions are rounded up to 32. */
static inline int64_t pta_small_bytes(int64_t k, int64_t n) { return ((k + 31) / 32 * 32) * ((n + 31) / 32 * 32) * 2; }
/* b[k, n] -> packed: pta_small_bytes(k, n), 64-byte aligned. */
void pta_small_pack(void *packed, pta_matrix b, int64_t k, int64_t n);
/* c[m, n] from the first k rows of a packed b that has `rows` of them. a[m, k], or [k, m] when a_transposed. */
void pta_small_multiply(float *c, int64_t ldc, pta_matrix a, bool a_transposed, const void *packed, int64_t rows, int64_t m,
                        int64_t n, int64_t k, bool accumulate);

#endif
