/* Weights that are not trained, kept in one small form only: bfloat16, or integers of 8 or 4 bits with a scale for every 64
 * inputs of a row:  W[n, k] = q · scale[n, k / 64],  q in [-127, 127] or [-8, 7], scale a bfloat16
 * of either sign.
 *
 * Products widen a block of it at a time into the form of the kernels and use their tiles, so that their bits depend on what
 * linear.h says and nothing else, and a product equals that with the dequantised W, which pta_frozen_get gives.
 *
 * Layout: panels of 32 rows; in a panel, groups of 64 inputs: scales[32], then q of input k at [k][32] (4 bits: [k/2][32], the
 * even k in the lower half). bfloat16: pairs [k/2][32] without scales, which is the packed form of the kernels. Rows and
 * inputs beyond the matrix are zeros.
 */
#ifndef PTA_KERNELS_FROZEN_H
#define PTA_KERNELS_FROZEN_H

#include <stdbool.h>

#include "../core/dtype.h"
#include "../core/team.h"

typedef enum { PTA_FROZEN_BF16, PTA_FROZEN_INT8, PTA_FROZEN_INT4 } pta_frozen_kind;
enum { PTA_FROZEN_GROUP = 64 };

typedef struct {
    pta_frozen_kind kind;
    int64_t N, K;
    void *data; /* pta_frozen_bytes, 64-byte aligned, zero before the first pta_frozen_set */
} pta_frozen;

int64_t pta_frozen_bytes(pta_frozen_kind kind, int64_t N, int64_t K);
/* Rows first .. first+count-1 from w[count, K], which must be finite, or into it. By the calling thread alone. */
void pta_frozen_set(pta_frozen *f, const float *w, int64_t first, int64_t count);
void pta_frozen_get(const pta_frozen *f, float *w, int64_t first, int64_t count);

/* y[M,N] = or += x[M,K] · Wᵀ, and dx[M,K] = dy[M,N] · W, as in linear.h. */
void pta_frozen_forward(const pta_team *team, pta_matrix y, pta_matrix x, const pta_frozen *w, int64_t M, pta_dtype compute,
                        bool accumulate);
void pta_frozen_dinput(const pta_team *team, pta_matrix dx, pta_matrix dy, const pta_frozen *w, int64_t M, pta_dtype compute);

/* For the driver: b of a product, one panel of 32 columns over depth [k0, k0 + depth) -> `to` in the kernel's form. `across`:
 * b is W itself (depth runs over N), else Wᵀ.
 * k0 is a multiple of 32. */
struct pta_kernel;
void pta_frozen_panel(const struct pta_kernel *kernel, void *to, const pta_frozen *w, bool across, int64_t panel, int64_t k0,
                      int64_t depth);

#endif
