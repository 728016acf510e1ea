/* Per (run of rows, key head): scores of all its queries against a page while the page is in cache, softmax, then the
 * same for the values. Four queries at a time share every load of a key or value; a lane is a key in the first product
 * and a component in the second, so nothing is summed across lanes but the softmax's denominator. */
#include "attend.h"

#include <math.h>
#include <string.h>

#include "../core/target.h"
#include "../core/threads.h"
#include "../core/vmath.h"

enum { P = PTA_PAGE_TOKENS, LANES = 16, TOGETHER = 4 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

int64_t pta_rows_scratch(const pta_row_batch *batch, int64_t H, int64_t K, int64_t D) {
    return (batch->max_run * (H / K) * (batch->max_spans * P + 2 * D) + LANES - 1) / LANES * LANES;
}

/* Key and value of one head of a row into its page. */
static void store_head(const pta_row *row, const float *qkv, int64_t block, int64_t head, int64_t H, int64_t K,
                       int64_t D) {
    int64_t slot = row->index % P;
    float *keys = row->pages[row->index / P] + block, *values = keys + D * P;
    const float *key = qkv + (H + head) * D;
    for (int64_t d = 0; d < D; d++) keys[d * P + slot] = key[d];
    memcpy(values + slot * D, qkv + (H + K + head) * D, (size_t)D * sizeof(float));
}

/* Small heads lie scattered: a page's block of one head is too short for the CPU to guess where the next one is. */
PTA_INLINE void prefetch(const float *p, int64_t floats) {
    if (floats <= 1024)
        for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(p + i, 1);
}

/* scores[i·stride + j] = q_i · key_j, for N queries that lie D apart and all P keys of a page. */
PTA_INLINE void score_queries(float *scores, int64_t stride, const float *q, const float *keys, int64_t D,
                              const int N) {
    for (int64_t j = 0; j < P; j += LANES) {
        lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (int64_t d = 0; d < D; d++) {
            lanes key = *(const lanes *)(keys + d * P + j);
            s0 += key * q[d];
            if (N > 1) s1 += key * q[D + d];
            if (N > 2) s2 += key * q[2 * D + d];
            if (N > 3) s3 += key * q[3 * D + d];
        }
        *(lanes *)(scores + j) = s0;
        if (N > 1) *(lanes *)(scores + stride + j) = s1;
        if (N > 2) *(lanes *)(scores + 2 * stride + j) = s2;
        if (N > 3) *(lanes *)(scores + 3 * stride + j) = s3;
    }
}

PTA_INLINE void score_page(float *scores, int64_t stride, const float *q, int64_t num_queries, const float *keys,
                           int64_t count, int64_t D) {
    int64_t i = 0;
    for (; i + TOGETHER <= num_queries; i += TOGETHER)
        score_queries(scores + i * stride, stride, q + i * D, keys, D, 4);
    for (; i < num_queries; i++) score_queries(scores + i * stride, stride, q + i * D, keys, D, 1);
    for (i = 0; i < num_queries; i++)
        for (int64_t j = count; j < P; j++) scores[i * stride + j] = -INFINITY;
}

/* out_i[0..D) += Σ_j weight_i[j] · value_j over `count` tokens, for N queries; outputs lie D apart. */
PTA_INLINE void add_queries(float *out, const float *weights, int64_t stride, const float *values, int64_t count,
                            int64_t D, const int N) {
    int64_t d = 0;
    for (; d + LANES <= D; d += LANES) {
        lanes *o0 = (lanes *)(out + d), *o1 = (lanes *)(out + D + d), *o2 = (lanes *)(out + 2 * D + d),
              *o3 = (lanes *)(out + 3 * D + d);
        lanes s0 = *o0, s1 = s0, s2 = s0, s3 = s0;
        if (N > 1) s1 = *o1, s2 = *o2, s3 = *o3;
        for (int64_t j = 0; j < count; j++) {
            lanes value = *(const lanes *)(values + j * D + d);
            s0 += value * weights[j];
            if (N > 1) {
                s1 += value * weights[stride + j];
                s2 += value * weights[2 * stride + j];
                s3 += value * weights[3 * stride + j];
            }
        }
        *o0 = s0;
        if (N > 1) *o1 = s1, *o2 = s2, *o3 = s3;
    }
    for (int i = 0; i < N && d < D; i++)
        for (int64_t j = 0; j < count; j++)
            for (int64_t e = d; e < D; e++) out[i * D + e] += weights[i * stride + j] * values[j * D + e];
}

PTA_INLINE void add_page(float *out, const float *weights, int64_t stride, int64_t num_queries, const float *values,
                         int64_t count, int64_t D) {
    int64_t i = 0;
    for (; i + TOGETHER <= num_queries; i += TOGETHER)
        add_queries(out + i * D, weights + i * stride, stride, values, count, D, 4);
    for (; i < num_queries; i++) add_queries(out + i * D, weights + i * stride, stride, values, count, D, 1);
}

/* scores -> exp(scale · (score - max)) over n lanes; returns 1 / their sum. */
PTA_INLINE float softmax(float *scores, int64_t n, float scale) {
    float top = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++) top = scores[j] > top ? scores[j] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        float e = pta_expf((scores[j] - top) * scale);
        scores[j] = e;
        sum += e;
    }
    return 1.0f / sum;
}

/* One thread's scratch for a run of n queries (rows times the G query heads of a key head). */
typedef struct {
    float *scores;  /* [n, stride] */
    float *q;       /* [n, D] */
    float *out;     /* [n, D] */
} room;

static room carve(float *scratch, int64_t n, int64_t stride, int64_t D) {
    return (room){scratch, scratch + n * stride, scratch + n * stride + n * D};
}

typedef struct {
    int64_t H, K, D, G, width, stride;
} shape;

/* The pages of the path for all queries of the run at once, then each row's own pages. store: first put the rows' own
 * keys and values there. */
PTA_CLONES static void attend_run(float *out, const float *qkv, const pta_row *rows, int64_t count, int64_t block,
                                  int64_t head, const shape *n, bool store, float *scratch) {
    const int64_t D = n->D, G = n->G, stride = n->stride, queries = count * G, values = block + D * P;
    const pta_path *path = rows[0].path;
    const int64_t shared = path->num_spans;
    const float scale = 1.0f / sqrtf((float)D);
    const room w = carve(scratch, queries, stride, D);
    for (int64_t r = 0; r < count; r++)
        memcpy(w.q + r * G * D, qkv + r * n->width + head * G * D, (size_t)(G * D) * sizeof(float));
    memset(w.out, 0, (size_t)(queries * D) * sizeof(float));
    prefetch(rows[0].pages[0] + block, D * P);
    for (int64_t s = 0; s < shared; s++)
        score_page(w.scores + s * P, stride, w.q, queries, path->spans[s].page + block, path->spans[s].count, D);
    for (int64_t r = 0; r < count; r++) {
        if (store) store_head(&rows[r], qkv + r * n->width, block, head, n->H, n->K, D);
        for (int64_t p = 0; p <= rows[r].index / P; p++) {
            int64_t tokens = rows[r].index + 1 - p * P < P ? rows[r].index + 1 - p * P : P;
            prefetch(rows[r].pages[p] + values, tokens * D);
            if (p < rows[r].index / P)
                prefetch(rows[r].pages[p + 1] + block, D * P);
            else if (r + 1 < count)
                prefetch(rows[r + 1].pages[0] + block, D * P);
            score_page(w.scores + r * G * stride + (shared + p) * P, stride, w.q + r * G * D, G,
                       rows[r].pages[p] + block, tokens, D);
        }
    }
    for (int64_t i = 0; i < queries; i++) /* q is used up: its first component keeps the denominator */
        w.q[i * D] = softmax(w.scores + i * stride, (shared + rows[i / G].index / P + 1) * P, scale);
    for (int64_t s = 0; s < shared; s++)
        add_page(w.out, w.scores + s * P, stride, queries, path->spans[s].page + values, path->spans[s].count, D);
    for (int64_t r = 0; r < count; r++)
        for (int64_t p = 0; p <= rows[r].index / P; p++) {
            int64_t tokens = rows[r].index + 1 - p * P < P ? rows[r].index + 1 - p * P : P;
            add_page(w.out + r * G * D, w.scores + r * G * stride + (shared + p) * P, stride, G,
                     rows[r].pages[p] + values, tokens, D);
        }
    for (int64_t i = 0; i < queries; i++) {
        float *to = out + i / G * n->H * D + (head * G + i % G) * D, inverse = w.q[i * D];
#pragma omp simd
        for (int64_t d = 0; d < D; d++) to[d] = w.out[i * D + d] * inverse;
    }
}

void pta_attend(float *out, const float *qkv, const pta_row_batch *batch, int64_t layer, int64_t H, int64_t K,
                int64_t D, float *scratch) {
    const shape n = {H, K, D, H / K, (H + 2 * K) * D, batch->max_spans * P};
    const int64_t per_thread = pta_rows_scratch(batch, H, K, D);
#pragma omp parallel num_threads(pta_num_threads()) if (batch->R * H * D > 2048)
    {
        /* rows that see one another's keys: all of them are stored before any is read */
        if (batch->rows_share_segments) {
#pragma omp for schedule(static)
            for (int64_t r = 0; r < batch->R; r++)
                for (int64_t k = 0; k < K; k++)
                    store_head(&batch->rows[r], qkv + r * n.width, (layer * K + k) * 2 * D * P, k, H, K, D);
        }
        float *mine = scratch + pta_thread() * per_thread;
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < batch->num_runs * K; item++) {
            const pta_run *run = &batch->runs[item / K];
            int64_t head = item % K;
            attend_run(out + run->first * H * D, qkv + run->first * n.width, batch->rows + run->first, run->count,
                       (layer * K + head) * 2 * D * P, head, &n, !batch->rows_share_segments, mine);
        }
    }
}
