/* Linear-layer products on OpenBLAS: our threads split the result, each calls a single-threaded sgemm on its part. */
#include "gemm.h"

#include <cblas.h>

#include "threads.h"

/* The scipy-openblas32 build prefixes every symbol; a system OpenBLAS does not. */
#ifdef PTA_SCIPY_OPENBLAS
#define BLAS(name) scipy_##name
#else
#define BLAS(name) name
#endif

void pta_blas_init(void) { BLAS(openblas_set_num_threads)(1); }
const char *pta_blas_config(void) { return BLAS(openblas_get_config)(); }
const char *pta_blas_corename(void) { return BLAS(openblas_get_corename)(); }

void pta_gemm_tile(float *c, int64_t ldc, const float *a, int64_t lda, bool transpose_a, const float *b, int64_t ldb,
                   bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, float beta) {
    BLAS(cblas_sgemm)
    (CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n,
     (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* How a result of m rows and n columns is cut: `parts` pieces of `step` rows (by_rows) or columns. */
typedef struct {
    bool by_rows;
    int64_t parts, step;
} split;

enum { MIN_ROWS = 48, MIN_COLUMNS = 16, MIN_WORK = 1 << 16 };

static int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

static split plan_split(int64_t m, int64_t n, int64_t k) {
    int64_t threads = pta_num_threads();
    if (threads == 1 || m * n * k < MIN_WORK) return (split){true, 1, m};
    int64_t by_rows = m / MIN_ROWS, by_columns = n / MIN_COLUMNS;
    bool rows = by_rows >= threads || by_rows >= by_columns;
    int64_t extent = rows ? m : n, parts = rows ? by_rows : by_columns;
    if (parts > threads) parts = threads;
    if (parts < 1) parts = 1;
    int64_t step = round_up((extent + parts - 1) / parts, 16);
    return (split){rows, (extent + step - 1) / step, step};
}

/* Run `call` for every piece; inside it i0 and mi are first row and row count, j0 and nj the columns. */
#define FOR_PIECES(m, n, k, call)                                                         \
    do {                                                                                  \
        const split cut = plan_split(m, n, k);                                            \
        _Pragma("omp parallel for num_threads(pta_num_threads()) if (cut.parts > 1) schedule(static)") \
        for (int64_t part = 0; part < cut.parts; part++) {                                \
            int64_t first = part * cut.step, extent = cut.by_rows ? (m) : (n);            \
            int64_t count = extent - first < cut.step ? extent - first : cut.step;        \
            int64_t i0 = cut.by_rows ? first : 0, mi = cut.by_rows ? count : (m);         \
            int64_t j0 = cut.by_rows ? 0 : first, nj = cut.by_rows ? (n) : count;         \
            call;                                                                         \
        }                                                                                 \
    } while (0)

void pta_gemm_forward(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t m, int64_t n,
                      int64_t k, bool accumulate) {
    if (m == 0 || n == 0) return;
    FOR_PIECES(m, n, k,
               pta_gemm_tile(y + i0 * ldy + j0, ldy, x + i0 * ldx, ldx, false, w + j0 * k, k, true, mi, nj, k, 1.0f,
                             accumulate ? 1.0f : 0.0f));
}

void pta_gemm_dinput(float *dx, int64_t lddx, const float *dy, int64_t lddy, const float *w, int64_t m, int64_t n,
                     int64_t k, bool accumulate) {
    if (m == 0 || k == 0) return;
    FOR_PIECES(m, k, n,
               pta_gemm_tile(dx + i0 * lddx + j0, lddx, dy + i0 * lddy, lddy, false, w + j0, k, false, mi, nj, n, 1.0f,
                             accumulate ? 1.0f : 0.0f));
}

void pta_gemm_dweight(float *dw, const float *dy, int64_t lddy, const float *x, int64_t ldx, int64_t m, int64_t n,
                      int64_t k, bool accumulate) {
    if (n == 0 || k == 0) return;
    FOR_PIECES(n, k, m,
               pta_gemm_tile(dw + i0 * k + j0, k, dy + i0, lddy, true, x + j0, ldx, false, mi, nj, m, 1.0f,
                             accumulate ? 1.0f : 0.0f));
}
