/* What a matrix kernel is: private to csrc/kernels and to the bindings that test and time it.
 *
 * A product c[rows, columns] (+)= a[rows, depth] · b[depth, columns] is cut into tiles of up to `rows` × 32. A kernel
 * multiplies one tile over one block of the depth; the driver (multiply.c) packs the operands into the forms below and
 * walks over tiles and blocks. Between blocks the sums of a tile wait in float32 memory, so blocks do not change bits.
 *
 * Forms, in words of 4 bytes:
 *   a  element (row, step) at row · row_stride + step · step_stride; a step is one float, or a pair of bfloat16
 *      (depths 2s and 2s + 1) for kernels that multiply pairs. 64-byte aligned rows where step_stride is 1.
 *   b  a panel [step][32]: floats, whose steps are b_stride apart, or pairs of bfloat16. 64-byte aligned. Packed weights
 *      are such panels, one after the other, each over the whole depth.
 * Where the depth is padded to `step`, both operands hold zeros.
 */
#ifndef PTA_KERNELS_KERNEL_H
#define PTA_KERNELS_KERNEL_H

#include <stdbool.h>

#include "../core/dtype.h"
#include "../core/team.h"
#include "frozen.h"
#include "linear.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define PTA_X86 1
#endif

enum { PTA_DEPTH_STEP = 32 /* the depth of packed bfloat16 weights is a multiple of it */, PTA_MOST_ROWS = 32 };

typedef struct {
    float *c;
    int64_t ldc;
    bool accumulate; /* begin with c, else with 0 */
    const void *a, *b;
    int64_t row_stride, step_stride;
    int64_t b_stride; /* of floats; pairs lie side by side */
    int64_t depth;
    const char *ahead; /* what to prefetch meanwhile: two lines from here, ahead_step bytes further at every step of b */
    int64_t ahead_step;
} pta_tile;

typedef struct pta_kernel {
    const char *name;
    int rows;          /* of a full tile */
    int row_step;      /* tile() reads and writes rows in multiples of this; the rest of packed rows is zero */
    int step;          /* depths are multiples of this after padding */
    int a_size, b_size; /* bytes of a packed element */
    int64_t block;     /* depth of a block */
    bool rows_only;    /* pack_columns leaves the form of pack_rows (step_stride 1), not [step][rows] */
    void (*tile)(const pta_tile *t, int rows);
    /* from[rows, depth], or from[depth, rows]ᵀ, to the form of a; `stride` words from row to row; depth zero-padded. */
    void (*pack_rows)(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth, int64_t padded);
    void (*pack_columns)(void *to, int64_t stride, pta_matrix from, int64_t rows, int64_t depth, int64_t padded);
    /* from[depth, columns], or w[columns, depth]ᵀ (rows `ld` apart), to a panel; up to 32 columns, zero-padded. */
    void (*pack_panel)(void *to, pta_matrix from, int64_t columns, int64_t depth, int64_t padded);
    void (*pack_weights)(void *to, const float *w, int64_t ld, int64_t columns, int64_t depth, int64_t padded);
    void (*round)(pta_bf16 *to, const float *from, int64_t count);
    /* `count` inputs (even) of a group of frozen integers (frozen.h) straight to a panel; NULL: through floats and pack_panel,
     * which gives the same bits. */
    void (*widen)(uint32_t *to, const pta_bf16 *scales, const int8_t *q, bool four_bits, int64_t count);
    void (*begin)(void), (*end)(void); /* around tile() on each thread; may be NULL */
    int small_rows; /* small.h: rows that go well together; 0: none */
} pta_kernel;

/* One instruction set: its kernels of both compute types. */
typedef struct {
    const char *simd; /* as PTAGRPO_SIMD calls it */
    const pta_kernel *f32, *bf16;
    bool (*available)(void);
} pta_variant;

extern const pta_kernel pta_portable_f32, pta_portable_bf16;
#ifdef PTA_X86
extern const pta_kernel pta_avx2_f32, pta_avx2_bf16, pta_avx512_f32, pta_avx512_bf16, pta_avx512_dot, pta_amx;
#endif

/* The variants of this build, from the plainest on; *count of them. */
const pta_variant *pta_kernels_variants(int *count);
/* Use this variant ("openblas" too) from now on, for tests and benchmarks: no product may be running, and weights
 * packed before are void. PTA_E_VALUE as pta_kernels_init. */
pta_code pta_kernels_use(const char *variant, pta_error *err);
/* The kernel in use; NULL: OpenBLAS. */
const pta_kernel *pta_kernel_for(pta_dtype compute);

/* c (+)= a · b with a kernel of ours, by the whole team. Exactly one of `packed`, `frozen` and b.data is set. */
typedef struct {
    const pta_kernel *kernel;
    pta_matrix c;
    bool accumulate;
    pta_matrix a;        /* [rows, depth], or [depth, rows] when a_transposed */
    bool a_transposed;
    pta_matrix b;        /* [depth, columns] */
    const char *packed;  /* panels of packed weights, packed_depth deep each */
    int64_t packed_depth;
    const pta_frozen *frozen; /* b is its transpose, or with `across` itself */
    bool across;
    int64_t rows, columns, depth;
} pta_product;
void pta_multiply(const pta_team *team, const pta_product *p);

/* The same three products on OpenBLAS; `w` packed as rows [N, K] of the packed type. */
void pta_openblas_pack(pta_packed *packed, const float *w, int64_t first_row, int64_t last_row);
typedef struct {
    pta_matrix c, a, b;
    bool accumulate, a_transposed, b_transposed;
    pta_dtype compute;
    int64_t rows, columns, depth;
} pta_openblas_product;
void pta_openblas_multiply(const pta_team *team, const pta_openblas_product *p);

static inline int64_t pta_round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}
static inline int64_t pta_min(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
