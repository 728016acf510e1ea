/* Training's backward attention: five products for every tile of queries and block of keys that it sees.
 *
 * One work item is one tree of the forest and one query head. It walks the tree's tiles of query rows in order, and for
 * each the blocks of keys of its path, and owns what it adds to: its head's dq, and a dk and dv of its own, which are added
 * over the query heads of a key head at the end, in order. So no sum depends on the number of threads.
 */
#include <math.h>
#include <string.h>

#include "../core/vmath.h"
#include "attention.h"
#include "rows.h"
#include "tile.h"

enum { TILE = 64, KEYS = 64 }; /* query rows of a tile, keys of a block */

typedef struct {
    pta_matrix dqkv, dout, out, qkv;
    const float *lse;
    const pta_rows *rows;
    int64_t H, K, D;
    float *delta;   /* [T, H] Σ_d dout · out */
    float *dk, *dv; /* [H, T, D] */
    float scale;
} backward;

/* Scratch of one thread. */
typedef struct {
    float *q, *dout, *dq;          /* [TILE, D] */
    float *k, *k_across, *v_across; /* [KEYS, D], [D, KEYS], [D, KEYS] */
    float *p, *ds;                 /* [TILE, KEYS] */
} room;

static room carve(float *p, int64_t D) {
    room r = {p, p + TILE * D, p + 2 * TILE * D, p + 3 * TILE * D, p + 4 * TILE * D, p + 5 * TILE * D,
              p + 6 * TILE * D, p + 6 * TILE * D + TILE * KEYS};
    return r;
}

int64_t pta_attention_backward_bytes(const pta_rows *rows, int64_t H, int64_t K, int64_t D) {
    (void)K;
    return rows->T * H * (2 * D + 1) * (int64_t)sizeof(float);
}

static void load_rows(float *to, pta_matrix from, int64_t n, int64_t D) {
    for (int64_t i = 0; i < n; i++) pta_row_load(to + i * D, pta_at(from, i, 0), 1.0f, D);
}

static void across(float *to, pta_matrix from, int64_t n, int64_t D) {
    for (int64_t j = 0; j < n; j++) {
        pta_matrix row = pta_at(from, j, 0);
        for (int64_t d = 0; d < D; d++) to[d * KEYS + j] = pta_load(row.data, d, from.dtype);
    }
}

/* scores -> p = e^(score · scale − lse), dp -> ds = p · (dp − delta) · scale; 0 where query row `row` does not see key j. */
PTA_CLONES static void softmax_backward(float *restrict p, float *restrict ds, const float *lse, const float *delta,
                                        int64_t H, int64_t row, int64_t n, int64_t key, int64_t keys, float scale) {
    for (int64_t i = 0; i < n; i++, p += KEYS, ds += KEYS) {
        int64_t visible = row + i - key + 1;
        visible = visible < 0 ? 0 : visible > keys ? keys : visible;
        float l = lse[i * H], dl = delta[i * H];
#pragma omp simd
        for (int64_t j = 0; j < visible; j++) {
            float probability = pta_expf(p[j] * scale - l);
            ds[j] = probability * (ds[j] - dl) * scale;
            p[j] = probability;
        }
        for (int64_t j = visible; j < keys; j++) p[j] = ds[j] = 0.0f;
    }
}

/* n query rows from `row` against `keys` keys from row `key`. */
static void block(const backward *a, const room *w, int64_t row, int64_t n, int64_t key, int64_t keys, int64_t h) {
    const int64_t D = a->D, head = h / (a->H / a->K);
    pta_matrix k = pta_at(a->qkv, key, (a->H + head) * D), v = pta_at(a->qkv, key, (a->H + a->K + head) * D);
    load_rows(w->k, k, keys, D);
    across(w->k_across, k, keys, D);
    across(w->v_across, v, keys, D);
    pta_tile_product(w->p, KEYS, w->q, D, 1, w->k_across, KEYS, n, keys, D, false);
    pta_tile_product(w->ds, KEYS, w->dout, D, 1, w->v_across, KEYS, n, keys, D, false);
    softmax_backward(w->p, w->ds, a->lse + row * a->H + h, a->delta + row * a->H + h, a->H, row, n, key, keys, a->scale);
    pta_tile_product(w->dq, D, w->ds, KEYS, 1, w->k, D, n, D, keys, true);
    pta_tile_product(a->dv + (h * a->rows->T + key) * D, D, w->p, 1, KEYS, w->dout, D, keys, D, n, true);
    pta_tile_product(a->dk + (h * a->rows->T + key) * D, D, w->ds, 1, KEYS, w->q, D, keys, D, n, true);
}

static void store_rows(pta_matrix to, const float *from, int64_t n, int64_t D) {
    for (int64_t i = 0; i < n; i++) pta_row_store(pta_at(to, i, 0), from + i * D, D);
}

/* Query rows [row, row+n) of segment s, all their keys. */
static void tile(const backward *a, const room *w, int64_t s, int64_t row, int64_t n, int64_t h) {
    const int64_t D = a->D;
    load_rows(w->q, pta_at(a->qkv, row, h * D), n, D);
    load_rows(w->dout, pta_at(a->dout, row, h * D), n, D);
    memset(w->dq, 0, (size_t)(n * D) * sizeof(float));
    for (int64_t end = row + n; s >= 0; s = a->rows->parent[s], end = s >= 0 ? a->rows->offsets[s + 1] : 0)
        for (int64_t key = a->rows->offsets[s]; key < end; key += KEYS)
            block(a, w, row, n, key, end - key < KEYS ? end - key : KEYS, h);
    store_rows(pta_at(a->dqkv, row, h * D), w->dq, n, D);
}

static void tree(const backward *a, const room *w, int64_t root, int64_t h) {
    const pta_rows *r = a->rows;
    for (int64_t s = root; s < r->S && r->offsets[s] < r->until[root]; s++)
        for (int64_t row = r->offsets[s]; row < r->offsets[s + 1]; row += TILE)
            tile(a, w, s, row, r->offsets[s + 1] - row < TILE ? r->offsets[s + 1] - row : TILE, h);
}

/* delta of this thread's rows, and its part of dk and dv set to zero. */
static void prepare(const pta_team *team, const backward *a) {
    int64_t first, last, D = a->D;
    pta_team_share(team, a->rows->T, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        for (int64_t h = 0; h < a->H; h++) {
            const void *dout = pta_at(a->dout, t, h * D).data, *out = pta_at(a->out, t, h * D).data;
            float dot = 0.0f;
            for (int64_t d = 0; d < D; d++) dot += pta_load(dout, d, a->dout.dtype) * pta_load(out, d, a->out.dtype);
            a->delta[t * a->H + h] = dot;
        }
    pta_team_share(team, 2 * a->H * a->rows->T * D, 1024, &first, &last);
    memset(a->dk + first, 0, (size_t)(last - first) * sizeof(float)); /* dv follows dk */
}

/* dk and dv of this thread's rows: the sums over the query heads of each key head. */
static void gather(const pta_team *team, const backward *a) {
    const int64_t T = a->rows->T, D = a->D, group = a->H / a->K;
    float *sum = team->scratch;
    int64_t first, last;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        for (int64_t part = 0; part < 2 * a->K; part++) { /* all dk, then all dv */
            const float *from = part < a->K ? a->dk : a->dv;
            int64_t head = part % a->K;
            memset(sum, 0, (size_t)D * sizeof(float));
            for (int64_t h = head * group; h < (head + 1) * group; h++)
                for (int64_t d = 0; d < D; d++) sum[d] += from[(h * T + t) * D + d];
            store_rows(pta_at(a->dqkv, t, (a->H + part) * D), sum, 1, D);
        }
}

void pta_attention_backward(const pta_team *team, pta_matrix dqkv, pta_matrix dout, pta_matrix out, const float *lse,
                            pta_matrix qkv, const pta_rows *rows, int64_t H, int64_t K, int64_t D, void *scratch) {
    float *memory = scratch;
    const backward a = {dqkv, dout, out, qkv, lse, rows, H, K, D, memory + 2 * rows->T * H * D,
                        memory, memory + rows->T * H * D, 1.0f / sqrtf((float)D)};
    prepare(team, &a);
    pta_team_barrier(team);
    const room w = carve(team->scratch, D);
    int64_t trees = 0, number = 0, root = 0;
    for (int64_t s = 0; s < rows->S; s++) trees += rows->parent[s] < 0;
    for (int64_t item; (item = pta_team_next(team)) < trees * H;) {
        while (number < item / H) number += rows->parent[++root] < 0; /* items only grow */
        tree(&a, &w, root, item % H);
    }
    pta_team_barrier(team);
    gather(team, &a);
}
