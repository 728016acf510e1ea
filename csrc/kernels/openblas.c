/* OpenBLAS as a backend: every thread calls a single-threaded sgemm on its share of the result.
 *
 * bfloat16: operands are rounded into scratch floats, block by block, and the sums formed in float32. OpenBLAS orders
 * its sums by the shape of a call, so that results depend on the number of rows and of threads. */
#include "openblas.h"

#include <cblas.h>
#include <string.h>

#include "kernel.h"

/* The scipy-openblas32 build prefixes every symbol; a system OpenBLAS does not. */
#ifdef PTA_SCIPY_OPENBLAS
#define BLAS(name) scipy_##name
#else
#define BLAS(name) name
#endif

enum { ROWS = 256, COLUMNS = 256, DEPTH = 1024 }; /* of converted blocks: 2.25 MiB of a thread's scratch */

void pta_openblas_init(void) { BLAS(openblas_set_num_threads)(1); }
const char *pta_openblas_config(void) { return BLAS(openblas_get_config)(); }
const char *pta_openblas_corename(void) { return BLAS(openblas_get_corename)(); }

void pta_openblas_pack(pta_packed *packed, const float *w, int64_t first_row, int64_t last_row) {
    const int64_t first = first_row * packed->K, last = last_row * packed->K;
    if (packed->dtype == PTA_F32)
        memcpy((float *)packed->data + first, w + first, (size_t)(last - first) * sizeof(float));
    else
        for (int64_t i = first; i < last; i++) ((pta_bf16 *)packed->data)[i] = pta_round_bf16(w[i]);
}

/* [rows, columns] as floats that are bfloat16 values; the block itself when it needs no change. */
PTA_CLONES static pta_matrix converted(pta_matrix m, int64_t rows, int64_t columns, pta_dtype compute, float *scratch) {
    if (m.dtype == PTA_F32 && compute == PTA_F32) return m;
    for (int64_t i = 0; i < rows; i++) {
        float *to = scratch + i * columns;
        if (m.dtype == PTA_BF16)
            for (int64_t j = 0; j < columns; j++) to[j] = pta_widen(((const pta_bf16 *)m.data)[i * m.ld + j]);
        else
            for (int64_t j = 0; j < columns; j++) to[j] = pta_widen(pta_round_bf16(((const float *)m.data)[i * m.ld + j]));
    }
    return pta_f32(scratch, columns);
}

static void sgemm(pta_matrix c, pta_matrix a, pta_matrix b, const pta_openblas_product *p, int64_t rows, int64_t columns,
                  int64_t depth, bool accumulate) {
    BLAS(cblas_sgemm)
    (CblasRowMajor, p->a_transposed ? CblasTrans : CblasNoTrans, p->b_transposed ? CblasTrans : CblasNoTrans, (int)rows,
     (int)columns, (int)depth, 1.0f, a.data, (int)a.ld, b.data, (int)b.ld, accumulate ? 1.0f : 0.0f, c.data, (int)c.ld);
}

/* A block of the result whose operands are converted, DEPTH at a time. */
static void block(const pta_team *team, const pta_openblas_product *p, int64_t row, int64_t rows, int64_t column,
                  int64_t columns) {
    float *left = team->scratch, *right = left + ROWS * DEPTH, *sums = right + COLUMNS * DEPTH;
    pta_matrix c = pta_at(p->c, row, column);
    const pta_matrix to = c.dtype == PTA_F32 ? c : pta_f32(sums, columns);
    for (int64_t k = 0; k < p->depth; k += DEPTH) {
        int64_t depth = pta_min(DEPTH, p->depth - k);
        pta_matrix a = p->a_transposed ? converted(pta_at(p->a, k, row), depth, rows, p->compute, left)
                                       : converted(pta_at(p->a, row, k), rows, depth, p->compute, left);
        pta_matrix b = p->b_transposed ? converted(pta_at(p->b, column, k), columns, depth, p->compute, right)
                                       : converted(pta_at(p->b, k, column), depth, columns, p->compute, right);
        sgemm(to, a, b, p, rows, columns, depth, p->accumulate || k > 0);
    }
    if (c.dtype == PTA_BF16)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                ((pta_bf16 *)c.data)[i * c.ld + j] = pta_round_bf16(sums[i * columns + j]);
}

void pta_openblas_multiply(const pta_team *team, const pta_openblas_product *p) {
    if (p->rows <= 0 || p->columns <= 0) return;
    int64_t first, last;
    const bool by_rows = p->rows > p->columns;
    pta_team_share(team, by_rows ? p->rows : p->columns, 32, &first, &last);
    int64_t row = by_rows ? first : 0, column = by_rows ? 0 : first;
    int64_t rows = by_rows ? last - first : p->rows, columns = by_rows ? p->columns : last - first;
    if (rows <= 0 || columns <= 0) return;
    if (p->depth <= 0) {
        for (int64_t i = row; i < row + rows && !p->accumulate; i++)
            memset(pta_at(p->c, i, column).data, 0, (size_t)(columns * pta_dtype_size(p->c.dtype)));
        return;
    }
    if (p->compute == PTA_F32 && p->c.dtype == PTA_F32 && p->a.dtype == PTA_F32 && p->b.dtype == PTA_F32) {
        sgemm(pta_at(p->c, row, column), p->a_transposed ? pta_at(p->a, 0, row) : pta_at(p->a, row, 0),
              p->b_transposed ? pta_at(p->b, column, 0) : pta_at(p->b, 0, column), p, rows, columns, p->depth,
              p->accumulate);
        return;
    }
    for (int64_t i = 0; i < rows; i += ROWS)
        for (int64_t j = 0; j < columns; j += COLUMNS)
            block(team, p, row + i, pta_min(ROWS, rows - i), column + j, pta_min(COLUMNS, columns - j));
}
