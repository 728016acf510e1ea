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
    int32_t *first_block; /* [S] number of a segment's first block of keys */
    char *blocks;         /* [blocks, K, 3, pta_tile_bytes] keys [KEYS, D], keys and values across [D, KEYS], prepared */
    float *delta;         /* [T, H] Σ_d dout · out */
    float *dk, *dv;       /* [H, T, D] */
    float scale;
} backward;

/* Scratch of one thread. */
typedef struct {
    float *q, *dout, *dq; /* [TILE, D] */
    float *p, *ds;        /* [TILE, KEYS] */
    pta_tile_a q_a, dout_a; /* q and dout as the left operand, and as the right one */
    pta_tile_b q_b, dout_b;
    char *q_a_room, *dout_a_room, *q_b_room, *dout_b_room, *left_room; /* the last: of p or ds, as a left operand */
} room;

static room carve(float *p, int64_t D) {
    const int64_t left = pta_small_left_bytes(TILE, D > KEYS ? D : KEYS), right = pta_tile_bytes(TILE, D);
    char *beside = (char *)(p + 3 * TILE * D + 2 * TILE * KEYS);
    return (room){.q = p, .dout = p + TILE * D, .dq = p + 2 * TILE * D, .p = p + 3 * TILE * D,
                  .ds = p + 3 * TILE * D + TILE * KEYS, .q_a_room = beside, .dout_a_room = beside + left,
                  .left_room = beside + 2 * left, .q_b_room = beside + 3 * left, .dout_b_room = beside + 3 * left + right};
}

static int64_t blocks_of(const pta_rows *r, int64_t s) { return (r->offsets[s + 1] - r->offsets[s] + KEYS - 1) / KEYS; }

static int64_t count_blocks(const pta_rows *r) {
    int64_t count = 0;
    for (int64_t s = 0; s < r->S; s++) count += blocks_of(r, s);
    return count;
}

static int64_t round_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t pta_attention_backward_bytes(const pta_rows *rows, int64_t H, int64_t K, int64_t D) {
    return round_up(rows->T * H * (2 * D + 1) * (int64_t)sizeof(float)) + count_blocks(rows) * K * 3 * pta_tile_bytes(KEYS, D) +
           rows->S * (int64_t)sizeof(int32_t);
}

static char *block_data(const backward *a, int64_t s, int64_t b, int64_t head) {
    return a->blocks + ((a->first_block[s] + b) * a->K + head) * 3 * pta_tile_bytes(KEYS, a->D);
}

/* Keys and values of one block and key head; slots behind the last key are zeros. */
static void pack_block(const backward *a, int64_t s, int64_t b, int64_t head, float *scratch) {
    const int64_t D = a->D, key = a->rows->offsets[s] + b * KEYS, left = a->rows->offsets[s + 1] - key;
    const int64_t n = left < KEYS ? left : KEYS, each = pta_tile_bytes(KEYS, D);
    const bool packs = pta_tile_packs(a->qkv.dtype);
    char *data = block_data(a, s, b, head);
    float *values = scratch, *k = packs ? values + KEYS * D : (float *)data;
    float *k_across = packs ? k + KEYS * D : (float *)(data + each), *v_across = packs ? k_across + KEYS * D : (float *)(data + 2 * each);
    memset(k + n * D, 0, (size_t)((KEYS - n) * D) * sizeof(float));
    memset(values + n * D, 0, (size_t)((KEYS - n) * D) * sizeof(float));
    pta_rows_load(k, pta_at(a->qkv, key, (a->H + head) * D), 1.0f, n, D);
    pta_rows_load(values, pta_at(a->qkv, key, (a->H + a->K + head) * D), 1.0f, n, D);
    pta_rows_across(k_across, k, KEYS, D);
    pta_rows_across(v_across, values, KEYS, D);
    pta_tile_prepare(a->qkv.dtype, pta_f32(k, D), KEYS, D, data);
    pta_tile_prepare(a->qkv.dtype, pta_f32(k_across, KEYS), D, KEYS, data + each);
    pta_tile_prepare(a->qkv.dtype, pta_f32(v_across, KEYS), D, KEYS, data + 2 * each);
}

/* scores -> p = e^(score · scale − lse), dp -> ds = p · (dp − delta) · scale; 0 where a row does not see key j. The first
 * row sees `seen` keys, each further one `more` of them more. */
PTA_CLONES static void softmax_backward(float *restrict p, float *restrict ds, const float *lse, const float *delta,
                                        int64_t H, int64_t seen, int64_t more, int64_t n, int64_t keys, float scale) {
    for (int64_t i = 0; i < n; i++, p += KEYS, ds += KEYS) {
        int64_t visible = seen + i * more;
        visible = visible < 0 ? 0 : visible > keys ? keys : visible;
        float l = lse[i * H], dl = delta[i * H];
#pragma omp simd
        for (int64_t j = 0; j < visible; j++) {
            float probability = pta_exp_score(p[j] * scale - l);
            ds[j] = probability * (ds[j] - dl) * scale;
            p[j] = probability;
        }
        for (int64_t j = visible; j < keys; j++) p[j] = ds[j] = 0.0f;
    }
}

/* n query rows from `row` against block b of segment s, of which `keys` keys are seen at most. */
static void block(const backward *a, const room *w, int64_t row, int64_t n, int64_t s, int64_t b, int64_t keys, int64_t h) {
    const int64_t D = a->D, head = h / (a->H / a->K), key = a->rows->offsets[s] + b * KEYS, each = pta_tile_bytes(KEYS, D);
    const char *data = block_data(a, s, b, head);
    const bool packed = pta_tile_packs(a->qkv.dtype);
    const pta_tile_b k = {data, KEYS, D, packed}, k_across = {data + each, D, KEYS, packed};
    const pta_tile_b v_across = {data + 2 * each, D, KEYS, packed};
    pta_tile_product(w->p, KEYS, w->q_a, k_across, n, keys, D, false);
    pta_tile_product(w->ds, KEYS, w->dout_a, v_across, n, keys, D, false);
    softmax_backward(w->p, w->ds, a->lse + row * a->H + h, a->delta + row * a->H + h, a->H,
                     a->rows->full ? keys : row - key + 1, !a->rows->full, n, keys, a->scale);
    const pta_dtype dtype = a->qkv.dtype;
    const int64_t at = (h * a->rows->T + key) * D;
    pta_tile_product(w->dq, D, pta_tile_left(dtype, w->ds, KEYS, 1, n, keys, w->left_room), k, n, D, keys, true);
    pta_tile_product(a->dv + at, D, pta_tile_left(dtype, w->p, 1, KEYS, keys, n, w->left_room), w->dout_b, keys, D, n, true);
    pta_tile_product(a->dk + at, D, pta_tile_left(dtype, w->ds, 1, KEYS, keys, n, w->left_room), w->q_b, keys, D, n, true);
}

/* Query rows [row, row+n) of segment s, all their keys. */
static void tile(const backward *a, room *w, int64_t s, int64_t row, int64_t n, int64_t h) {
    const int64_t D = a->D;
    pta_rows_load(w->q, pta_at(a->qkv, row, h * D), 1.0f, n, D);
    pta_rows_load(w->dout, pta_at(a->dout, row, h * D), 1.0f, n, D);
    const pta_dtype dtype = a->qkv.dtype;
    w->q_a = pta_tile_left(dtype, w->q, D, 1, n, D, w->q_a_room);
    w->dout_a = pta_tile_left(dtype, w->dout, D, 1, n, D, w->dout_a_room);
    w->q_b = pta_tile_prepare(dtype, pta_f32(w->q, D), n, D, w->q_b_room);
    w->dout_b = pta_tile_prepare(dtype, pta_f32(w->dout, D), n, D, w->dout_b_room);
    memset(w->dq, 0, (size_t)(n * D) * sizeof(float));
    for (int64_t end = a->rows->full ? a->rows->offsets[s + 1] : row + n; s >= 0;
         s = a->rows->parent[s], end = s >= 0 ? a->rows->offsets[s + 1] : 0)
        for (int64_t b = 0, left = end - a->rows->offsets[s]; left > 0; b++, left -= KEYS)
            block(a, w, row, n, s, b, left < KEYS ? left : KEYS, h);
    pta_rows_store(pta_at(a->dqkv, row, h * D), w->dq, n, D);
}

static void tree(const backward *a, room *w, int64_t root, int64_t h) {
    const pta_rows *r = a->rows;
    for (int64_t s = root; s < r->S && r->offsets[s] < r->until[root]; s++)
        for (int64_t row = r->offsets[s]; row < r->offsets[s + 1]; row += TILE)
            tile(a, w, s, row, r->offsets[s + 1] - row < TILE ? r->offsets[s + 1] - row : TILE, h);
}

PTA_INLINE float dot_as(const void *x, const void *y, int64_t n, const pta_dtype dtype) {
    float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; i++) dot += pta_load(x, i, dtype) * pta_load(y, i, dtype);
    return dot;
}

PTA_CLONES static float dot_rows(pta_matrix x, pta_matrix y, int64_t n) {
    return x.dtype == PTA_BF16 ? dot_as(x.data, y.data, n, PTA_BF16) : dot_as(x.data, y.data, n, PTA_F32);
}

/* This thread's part of delta, of the blocks of keys, and of dk and dv, which are set to zero. */
static void prepare(const pta_team *team, const backward *a) {
    int64_t first, last, D = a->D;
    pta_team_share(team, a->rows->T, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        for (int64_t h = 0; h < a->H; h++) {
            a->delta[t * a->H + h] = dot_rows(pta_at(a->dout, t, h * D), pta_at(a->out, t, h * D), D);
        }
    pta_team_share(team, 2 * a->H * a->rows->T * D, 1024, &first, &last);
    memset(a->dk + first, 0, (size_t)(last - first) * sizeof(float)); /* dv follows dk */
    pta_team_share(team, count_blocks(a->rows) * a->K, 1, &first, &last);
    for (int64_t item = first, s = 0; item < last; item++) {
        while (item / a->K >= a->first_block[s] + blocks_of(a->rows, s)) s++;
        pack_block(a, s, item / a->K - a->first_block[s], item % a->K, team->scratch);
    }
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
            for (int64_t h = head * group; h < (head + 1) * group; h++) pta_row_add(sum, from + (h * T + t) * D, D);
            pta_rows_store(pta_at(a->dqkv, t, (a->H + part) * D), sum, 1, D);
        }
}

void pta_attention_backward(const pta_team *team, pta_matrix dqkv, pta_matrix dout, pta_matrix out, const float *lse,
                            pta_matrix qkv, const pta_rows *rows, int64_t H, int64_t K, int64_t D, void *scratch) {
    const int64_t each = rows->T * H * D;
    float *dk = scratch, *delta = dk + 2 * each;
    char *blocks = (char *)scratch + round_up((2 * each + rows->T * H) * (int64_t)sizeof(float));
    int32_t *first_block = (int32_t *)(blocks + count_blocks(rows) * K * 3 * pta_tile_bytes(KEYS, D));
    const backward a = {dqkv, dout, out, qkv, lse, rows, H, K, D, first_block, blocks, delta, dk, dk + each,
                        1.0f / sqrtf((float)D)};
    if (team->id == 0)
        for (int64_t s = 0, block = 0; s < rows->S; block += blocks_of(rows, s++)) first_block[s] = (int32_t)block;
    pta_team_barrier(team);
    prepare(team, &a);
    pta_team_barrier(team);
    room w = carve(team->scratch, D);
    int64_t trees = 0, number = 0, root = 0;
    for (int64_t s = 0; s < rows->S; s++) trees += rows->parent[s] < 0;
    for (int64_t item; (item = pta_team_next(team)) < trees * H;) {
        while (number < item / H) number += rows->parent[++root] < 0; /* items only grow */
        tree(&a, &w, root, item % H);
    }
    pta_team_barrier(team);
    gather(team, &a);
}
