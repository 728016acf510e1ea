/* The three products of a linear layer, as products of the driver or of OpenBLAS. */
#include "linear.h"

#include "kernel.h"

static int64_t packed_depth(pta_dtype dtype, int64_t K) {
    return dtype == PTA_BF16 ? pta_round_up(K, PTA_DEPTH_STEP) : K;
}

int64_t pta_packed_bytes(pta_dtype dtype, int64_t N, int64_t K) {
    return pta_round_up(N, PTA_PANEL) * packed_depth(dtype, K) * pta_dtype_size(dtype);
}

void pta_linear_pack_panels(pta_packed *packed, const float *w, int64_t first, int64_t count) {
    const pta_kernel *kernel = pta_kernel_for(packed->dtype);
    const int64_t K = packed->K, N = packed->N, end = pta_min((first + count) * PTA_PANEL, N);
    if (!kernel) {
        pta_openblas_pack(packed, w, first * PTA_PANEL, end);
        return;
    }
    const int64_t padded = packed_depth(packed->dtype, K), bytes = padded * PTA_PANEL * kernel->b_size;
    for (int64_t n = first * PTA_PANEL; n < end; n += PTA_PANEL)
        kernel->pack_weights((char *)packed->data + n / PTA_PANEL * bytes, w + n * K, K, pta_min(PTA_PANEL, N - n), K,
                             padded);
}

void pta_linear_pack(const pta_team *team, pta_packed *packed, const float *w) {
    int64_t first, last;
    pta_team_share(team, (packed->N + PTA_PANEL - 1) / PTA_PANEL, 1, &first, &last);
    if (first < last) pta_linear_pack_panels(packed, w, first, last - first);
}

void pta_linear_forward(const pta_team *team, pta_matrix y, pta_matrix x, const pta_packed *w, int64_t M,
                        bool accumulate) {
    const pta_kernel *kernel = pta_kernel_for(w->dtype);
    if (!kernel) {
        const pta_matrix weights = {w->data, w->K, w->dtype};
        pta_openblas_multiply(team, &(pta_openblas_product){.c = y, .a = x, .b = weights, .accumulate = accumulate,
                                                            .b_transposed = true, .compute = w->dtype, .rows = M,
                                                            .columns = w->N, .depth = w->K});
        return;
    }
    pta_multiply(team, &(pta_product){.kernel = kernel, .c = y, .accumulate = accumulate, .a = x, .packed = w->data,
                                      .packed_depth = packed_depth(w->dtype, w->K), .rows = M, .columns = w->N,
                                      .depth = w->K});
}

static void product(const pta_team *team, pta_matrix c, pta_matrix a, bool a_transposed, pta_matrix b, int64_t rows,
                    int64_t columns, int64_t depth, pta_dtype compute, bool accumulate) {
    const pta_kernel *kernel = pta_kernel_for(compute);
    if (kernel)
        pta_multiply(team, &(pta_product){.kernel = kernel, .c = c, .accumulate = accumulate, .a = a,
                                          .a_transposed = a_transposed, .b = b, .rows = rows, .columns = columns,
                                          .depth = depth});
    else
        pta_openblas_multiply(team, &(pta_openblas_product){.c = c, .a = a, .b = b, .accumulate = accumulate,
                                                            .a_transposed = a_transposed, .compute = compute,
                                                            .rows = rows, .columns = columns, .depth = depth});
}

void pta_linear_dinput(const pta_team *team, pta_matrix dx, pta_matrix dy, const float *w, int64_t M, int64_t N,
                       int64_t K, pta_dtype compute, bool accumulate) {
    product(team, dx, dy, false, pta_f32(w, K), M, K, N, compute, accumulate);
}

void pta_linear_dweight(const pta_team *team, float *dw, pta_matrix dy, pta_matrix x, int64_t M, int64_t N, int64_t K,
                        pta_dtype compute) {
    product(team, pta_f32(dw, K), dy, true, x, N, K, M, compute, true);
}
