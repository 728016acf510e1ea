/* Attention over a segment forest by tiles of queries and blocks of keys (online softmax; Milakov & Gimelshein 2018,
 * Dao et al. 2022).
 *
 * Forward and the gradient of q: one work item is a tile of query rows of one segment and one key head; it walks the
 * segment's own keys and its ancestors'. The gradient of k and v: one item is a tile of key rows and one key head; by
 * the depth-first order every query that sees it lies in one range of rows, [tile, until). Items write disjoint
 * results, so nothing depends on the thread count.
 */
#include "attention.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <stdlib.h>

#include "../core/gemm.h"
#include "../core/memory.h"
#include "../core/target.h"
#include "../core/threads.h"
#include "../core/vmath.h"

enum { TILE = 64, KEYS = 128 }; /* query rows of a tile, keys of a block */

typedef struct {
    int32_t segment, first, rows;
} tile;

/* Cut every segment into tiles of at most `limit` rows. Returns the number of tiles, or -1 (out of memory). */
static int64_t cut_tiles(tile **out, const pta_rows *rows, int32_t limit) {
    int64_t count = 0;
    for (int64_t s = 0; s < rows->S; s++) count += (rows->offsets[s + 1] - rows->offsets[s] + limit - 1) / limit;
    tile *tiles = pta_alloc_uninit(count, sizeof(tile));
    if (!tiles) return -1;
    int64_t n = 0;
    for (int32_t s = 0; s < rows->S; s++)
        for (int32_t t = rows->offsets[s]; t < rows->offsets[s + 1]; t += limit) {
            int32_t left = rows->offsets[s + 1] - t;
            tiles[n++] = (tile){s, t, left < limit ? left : limit};
        }
    *out = tiles;
    return count;
}

/* A block of keys that a tile of queries sees. Walk: own segment from `start` downwards, then the ancestors. */
typedef struct {
    int32_t first, count;
} key_block;

/* Next block at or before the cursor (segment, end); returns false when the root is passed. */
static bool next_block(key_block *block, const pta_rows *rows, int32_t *segment, int32_t *end) {
    while (*segment >= 0 && *end == rows->offsets[*segment]) {
        *segment = rows->parent[*segment];
        if (*segment >= 0) *end = rows->offsets[*segment + 1];
    }
    if (*segment < 0) return false;
    int32_t start = rows->offsets[*segment];
    int32_t first = *end - start > KEYS ? start + (*end - start - 1) / KEYS * KEYS : start;
    *block = (key_block){first, *end - first};
    *end = first;
    return true;
}

/* scores[n, count] -> probabilities relative to the new running maximum; out rows are rescaled to it.
 * Query row i sees keys j <= i (a limit only inside its own segment; all of an ancestor's keys lie before it). */
PTA_CLONES static void softmax_block(float *scores, float *top, float *sum, float *out, int64_t ldo, int32_t first_row,
                                     int32_t n, key_block keys, int64_t D, float scale) {
    for (int32_t i = 0; i < n; i++) {
        float *restrict s = scores + (int64_t)i * KEYS;
        int32_t visible = first_row + i - keys.first + 1;
        if (visible > keys.count) visible = keys.count;
        if (visible <= 0) {
            memset(s, 0, (size_t)keys.count * sizeof(float));
            continue;
        }
        float peak = -INFINITY;
#pragma omp simd reduction(max : peak)
        for (int32_t j = 0; j < visible; j++) peak = s[j] > peak ? s[j] : peak;
        peak *= scale;
        float high = peak > top[i] ? peak : top[i], total = 0.0f;
        float shrink = pta_expf(top[i] - high); /* 0 for the first block, where top is -inf */
#pragma omp simd reduction(+ : total)
        for (int32_t j = 0; j < visible; j++) {
            s[j] = pta_expf(s[j] * scale - high);
            total += s[j];
        }
        for (int32_t j = visible; j < keys.count; j++) s[j] = 0.0f;
        sum[i] = sum[i] * shrink + total;
        top[i] = high;
        float *restrict o = out + i * ldo;
#pragma omp simd
        for (int64_t d = 0; d < D; d++) o[d] *= shrink;
    }
}

static void forward_tile(float *out, float *lse, const float *qkv, const pta_rows *rows, tile q, int64_t head, int64_t H,
                         int64_t K, int64_t D, float *scores) {
    int64_t width = (H + 2 * K) * D, group = H / K;
    float scale = 1.0f / sqrtf((float)D), top[TILE], sum[TILE];
    for (int64_t g = 0; g < group; g++) {
        int64_t h = head * group + g;
        float *o = out + (int64_t)q.first * H * D + h * D;
        const float *query = qkv + (int64_t)q.first * width + h * D;
        for (int32_t i = 0; i < q.rows; i++) {
            top[i] = -INFINITY, sum[i] = 0.0f;
            memset(o + i * H * D, 0, (size_t)D * sizeof(float));
        }
        int32_t segment = q.segment, end = q.first + q.rows;
        key_block b;
        while (next_block(&b, rows, &segment, &end)) {
            const float *key = qkv + (int64_t)b.first * width + (H + head) * D, *value = key + K * D;
            pta_gemm_tile(scores, KEYS, query, width, false, key, width, true, q.rows, b.count, D, 1.0f, 0.0f);
            softmax_block(scores, top, sum, o, H * D, q.first, q.rows, b, D, scale);
            pta_gemm_tile(o, H * D, scores, KEYS, false, value, width, false, q.rows, D, b.count, 1.0f, 1.0f);
        }
        for (int32_t i = 0; i < q.rows; i++) {
            float inverse = 1.0f / sum[i], *oi = o + i * H * D;
            for (int64_t d = 0; d < D; d++) oi[d] *= inverse;
            lse[(q.first + i) * H + h] = top[i] + logf(sum[i]);
        }
    }
}

static pta_code old_forward(float *out, float *lse, const float *qkv, const pta_rows *rows, int64_t H, int64_t K,
                               int64_t D, pta_error *err) {
    tile *tiles = NULL;
    int64_t count = cut_tiles(&tiles, rows, TILE), threads = pta_num_threads();
    float *scratch = pta_alloc_uninit(threads * TILE * KEYS, sizeof(float));
    if (count < 0 || !scratch) {
        pta_free(tiles);
        pta_free(scratch);
        return pta_fail(err, PTA_E_MEMORY, "attention: no memory for %lld tiles", (long long)count);
    }
#pragma omp parallel for num_threads(1) schedule(dynamic)
    for (int64_t item = 0; item < count * K; item++)
        forward_tile(out, lse, qkv, rows, tiles[item / K], item % K, H, K, D, scratch + pta_thread() * TILE * KEYS);
    pta_free(tiles);
    pta_free(scratch);
    return PTA_OK;
}

/* scores -> p = exp(score·scale − lse), dp -> ds = p·(dp − delta)·scale; hidden keys give 0 in both. */
PTA_CLONES static void backward_block(float *p, float *dp, const float *lse, const float *delta, int64_t ldl,
                                      int32_t first_row, int32_t n, key_block keys, float scale) {
    for (int32_t i = 0; i < n; i++) {
        float *restrict pi = p + (int64_t)i * KEYS, *restrict di = dp + (int64_t)i * KEYS;
        int32_t visible = first_row + i - keys.first + 1;
        visible = visible < 0 ? 0 : visible > keys.count ? keys.count : visible;
        float l = lse[i * ldl], dl = delta[i * ldl];
#pragma omp simd
        for (int32_t j = 0; j < visible; j++) {
            float probability = pta_expf(pi[j] * scale - l);
            di[j] = probability * (di[j] - dl) * scale;
            pi[j] = probability;
        }
        for (int32_t j = visible; j < keys.count; j++) pi[j] = di[j] = 0.0f;
    }
}

typedef struct {
    const float *qkv, *dout, *lse, *delta;
    float *dqkv;
    const pta_rows *rows;
    int64_t H, K, D;
    float scale;
} backward_args;

/* p and ds of query rows [first, first+n) of head h against a block of keys. */
static void backward_scores(float *p, float *ds, const backward_args *a, int32_t first, int32_t n, int64_t h,
                            key_block keys) {
    int64_t width = (a->H + 2 * a->K) * a->D, head = h / (a->H / a->K);
    const float *query = a->qkv + (int64_t)first * width + h * a->D;
    const float *key = a->qkv + (int64_t)keys.first * width + (a->H + head) * a->D, *value = key + a->K * a->D;
    const float *dout = a->dout + (int64_t)first * a->H * a->D + h * a->D;
    pta_gemm_tile(p, KEYS, query, width, false, key, width, true, n, keys.count, a->D, 1.0f, 0.0f);
    pta_gemm_tile(ds, KEYS, dout, a->H * a->D, false, value, width, true, n, keys.count, a->D, 1.0f, 0.0f);
    backward_block(p, ds, a->lse + first * a->H + h, a->delta + first * a->H + h, a->H, first, n, keys, a->scale);
}

static void backward_query_tile(const backward_args *a, tile q, int64_t head, float *p, float *ds) {
    int64_t width = (a->H + 2 * a->K) * a->D, group = a->H / a->K, D = a->D;
    for (int64_t h = head * group; h < (head + 1) * group; h++) {
        float *dq = a->dqkv + (int64_t)q.first * width + h * D;
        float beta = 0.0f;
        int32_t segment = q.segment, end = q.first + q.rows;
        key_block b;
        while (next_block(&b, a->rows, &segment, &end)) {
            backward_scores(p, ds, a, q.first, q.rows, h, b);
            const float *key = a->qkv + (int64_t)b.first * width + (a->H + head) * D;
            pta_gemm_tile(dq, width, ds, KEYS, false, key, width, false, q.rows, D, b.count, 1.0f, beta);
            beta = 1.0f;
        }
    }
}

static void backward_key_tile(const backward_args *a, tile k, int64_t head, float *p, float *ds) {
    int64_t width = (a->H + 2 * a->K) * a->D, group = a->H / a->K, D = a->D;
    float *dk = a->dqkv + (int64_t)k.first * width + (a->H + head) * D, *dv = dk + a->K * D;
    key_block keys = {k.first, k.rows};
    int32_t until = a->rows->until[k.segment];
    float beta = 0.0f;
    for (int64_t h = head * group; h < (head + 1) * group; h++)
        for (int32_t first = k.first; first < until; first += TILE) {
            int32_t n = until - first < TILE ? until - first : TILE;
            backward_scores(p, ds, a, first, n, h, keys);
            const float *query = a->qkv + (int64_t)first * width + h * D;
            const float *dout = a->dout + (int64_t)first * a->H * D + h * D;
            pta_gemm_tile(dv, width, p, KEYS, true, dout, a->H * D, false, k.rows, D, n, 1.0f, beta);
            pta_gemm_tile(dk, width, ds, KEYS, true, query, width, false, k.rows, D, n, 1.0f, beta);
            beta = 1.0f;
        }
}

static pta_code old_backward(float *dqkv, const float *dout, const float *out, const float *lse, const float *qkv,
                                const pta_rows *rows, int64_t H, int64_t K, int64_t D, pta_error *err) {
    int64_t T = rows->T, threads = pta_num_threads();
    tile *queries = NULL, *keys = NULL;
    int64_t num_queries = cut_tiles(&queries, rows, TILE), num_keys = cut_tiles(&keys, rows, KEYS);
    float *scratch = pta_alloc_uninit(threads * 2 * TILE * KEYS, sizeof(float));
    float *delta = pta_alloc_uninit(T * H, sizeof(float));
    pta_code code = PTA_OK;
    if (num_queries < 0 || num_keys < 0 || !scratch || !delta) {
        code = pta_fail(err, PTA_E_MEMORY, "attention backward: no memory for %lld tokens", (long long)T);
        goto done;
    }
    const backward_args a = {qkv, dout, lse, delta, dqkv, rows, H, K, D, 1.0f / sqrtf((float)D)};
#pragma omp parallel num_threads(1)
    {
        float *p = scratch + pta_thread() * 2 * TILE * KEYS, *ds = p + TILE * KEYS;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < T * H; i++) {
            float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
            for (int64_t d = 0; d < D; d++) dot += dout[i * D + d] * out[i * D + d];
            delta[i] = dot;
        }
#pragma omp for schedule(dynamic) nowait
        for (int64_t item = 0; item < num_queries * K; item++) backward_query_tile(&a, queries[item / K], item % K, p, ds);
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < num_keys * K; item++) backward_key_tile(&a, keys[item / K], item % K, p, ds);
    }
done:
    pta_free(queries);
    pta_free(keys);
    pta_free(scratch);
    pta_free(delta);
    return code;
}

/* TEMPORARY */
int64_t pta_attention_pages(const pta_rows *rows, int64_t K, int64_t D, pta_dtype dtype){(void)dtype;return 4*rows->T*(9*K*D+9*K*D*20);}
int64_t pta_attention_backward_bytes(const pta_rows *rows, int64_t H, int64_t K, int64_t D){return 4*rows->T*(4*H*D+2*K*D)+64;}
static float*wide(float*to,pta_matrix m,int64_t T,int64_t n){ for(int64_t i=0;i<T*n;i++) to[i]=pta_load(m.data,i,m.dtype); return to;}
void pta_attention_forward(const pta_team *team, pta_matrix out, float *lse, pta_matrix qkv, const pta_rows *rows, int64_t H, int64_t K, int64_t D, void *pages) {
    (void)pages;
    pta_team_barrier(team);
    if (team->id) return;
    int64_t T=rows->T; float*a=malloc(4*T*(H+2*K)*D),*o=malloc(4*T*H*D);
    old_forward(o,lse,wide(a,qkv,T,(H+2*K)*D),rows,H,K,D,NULL);
    for(int64_t i=0;i<T*H*D;i++) pta_store(out.data,i,o[i],out.dtype);
    free(a);free(o);
}
void pta_attention_backward(const pta_team *team, pta_matrix dqkv, pta_matrix dout, pta_matrix out, const float *lse, pta_matrix qkv, const pta_rows *rows, int64_t H, int64_t K, int64_t D, void *scratch) {
    (void)scratch;
    pta_team_barrier(team);
    if (team->id) return;
    int64_t T=rows->T; float*a=malloc(4*T*(H+2*K)*D),*o=malloc(4*T*H*D),*d=malloc(4*T*H*D);
    old_backward(dqkv.data,wide(d,dout,T,H*D),wide(o,out,T,H*D),lse,wide(a,qkv,T,(H+2*K)*D),rows,H,K,D,NULL);
    free(a);free(o);free(d);
}
