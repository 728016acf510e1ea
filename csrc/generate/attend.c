/* A query is one query head of one row; queries of a key head are numbered row by row. A work item is a block of
 * consecutive queries of one key head. It goes through the pages in order, and at each page takes queries whose rows hold
 * the same page together. How blocks are cut changes no result (ops/attend.h). */
#include "attend.h"

#include <math.h>
#include <string.h>

#include "../ops/rows.h"

enum { MOST_QUERIES = 64, FEW_QUERIES = 8, LINE = 64 };

PTA_CLONES static void store_key(void *keys, const void *key, int64_t slot, int64_t D, pta_dtype dtype) {
    if (dtype == PTA_BF16)
        for (int64_t d = 0; d < D; d++) ((pta_bf16 *)keys)[d * PTA_PAGE + slot] = ((const pta_bf16 *)key)[d];
    else
        for (int64_t d = 0; d < D; d++) ((float *)keys)[d * PTA_PAGE + slot] = ((const float *)key)[d];
}

void pta_store_keys(const pta_team *team, const pta_step *step, const pta_config *c, int64_t layer) {
    const int64_t D = c->D, size = pta_dtype_size(c->dtype);
    int64_t first, last;
    pta_team_share(team, step->num_rows, 1, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const pta_row *row = &step->rows[r];
        const int64_t slot = row->position % PTA_PAGE;
        for (int64_t k = 0; k < c->K; k++) {
            const pta_stored_page page = pta_cache_page(c, row->pages[row->position / PTA_PAGE], layer, k);
            store_key(page.keys.data, pta_at(step->qkv, r, (c->H + k) * D).data, slot, D, c->dtype);
            memcpy((char *)page.values.data + slot * D * size, pta_at(step->qkv, r, (c->H + c->K + k) * D).data,
                   (size_t)(D * size));
        }
    }
}

/* Queries per item: large enough to share pages, small enough that there is work for everybody and that it fits. */
static int64_t block_size(const pta_config *c, int64_t R, int threads) {
    int64_t queries = R * (c->H / c->K), block = MOST_QUERIES;
    const int64_t fixed = 8 * LINE + 4 * pta_attend_scratch() + 2 * pta_tile_bytes(PTA_PAGE, c->D) + pta_small_left_bytes(0, c->D);
    const int64_t each = 8 * c->D + 12 + pta_small_left_bytes(1, c->D) - pta_small_left_bytes(0, c->D);
    while (block > 1 && fixed + block * each > PTA_TEAM_SCRATCH) block /= 2;
    while (block > FEW_QUERIES && (queries + block - 1) / block * c->K < 4 * threads) block /= 2;
    while (block > 1 && (queries + block - 1) / block * c->K < threads) block /= 2;
    return block;
}

static void *take(char **room, int64_t bytes) {
    void *p = *room;
    *room += (bytes + LINE - 1) / LINE * LINE;
    return p;
}

/* Queries first .. first+n-1 of key head `head`. */
static void attend_block(const pta_step *step, const pta_config *c, int64_t layer, int64_t head, int64_t first,
                         int64_t n, void *scratch) {
    const int64_t D = c->D, G = c->H / c->K;
    char *room = scratch;
    float *q = take(&room, 4 * n * D);
    pta_queries queries = {.n = n, .D = D, .dtype = c->dtype, .scale = 1.0f / sqrtf((float)D), .o = take(&room, 4 * n * D),
                           .top = take(&room, 4 * n), .sum = take(&room, 4 * n)};
    float *scores = take(&room, 4 * pta_attend_scratch());
    void *room_of_keys = take(&room, pta_tile_bytes(PTA_PAGE, D)), *room_of_values = take(&room, pta_tile_bytes(PTA_PAGE, D));
    int32_t visible[MOST_QUERIES];
    int64_t last_position = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = (first + i) / G, g = (first + i) % G;
        pta_rows_load(q + i * D, pta_at(step->qkv, row, (head * G + g) * D), 1.0f, 1, D);
        if (step->rows[row].position > last_position) last_position = step->rows[row].position;
    }
    queries.q = pta_tile_left(c->dtype, q, D, 1, n, D, take(&room, pta_small_left_bytes(n, D)));
    pta_attend_begin(&queries);
    for (int64_t b = 0; b <= last_position / PTA_PAGE; b++) {
        for (int64_t i = 0; i < n; i++) {
            const int64_t seen = step->rows[(first + i) / G].position + 1 - b * PTA_PAGE;
            visible[i] = (int32_t)(seen < 0 ? 0 : seen > PTA_PAGE ? PTA_PAGE : seen);
        }
        for (int64_t i = 0, next; i < n; i = next) {
            const char *page = visible[i] ? step->rows[(first + i) / G].pages[b] : NULL;
            for (next = i + 1; next < n; next++)
                if (page ? !visible[next] || step->rows[(first + next) / G].pages[b] != page : visible[next]) break;
            if (!page) continue;
            const pta_stored_page stored = pta_cache_page(c, page, layer, head);
            const pta_page prepared = {pta_tile_prepare(c->dtype, stored.keys, D, PTA_PAGE, room_of_keys),
                                       pta_tile_prepare(c->dtype, stored.values, PTA_PAGE, D, room_of_values)};
            pta_attend_page(&queries, i, next - i, prepared, visible, scores);
        }
    }
    pta_attend_end(&queries, NULL);
    for (int64_t i = 0; i < n; i++)
        pta_rows_store(pta_at(step->attention, (first + i) / G, (head * G + (first + i) % G) * D), queries.o + i * D, 1, D);
}

void pta_attend(const pta_team *team, const pta_step *step, const pta_config *c, int64_t layer) {
    const int64_t queries = step->num_rows * (c->H / c->K), block = block_size(c, step->num_rows, team->size);
    const int64_t blocks = (queries + block - 1) / block;
    for (int64_t item; (item = pta_team_next(team)) < blocks * c->K;) {
        const int64_t first = item / c->K * block, n = queries - first < block ? queries - first : block;
        attend_block(step, c, layer, item % c->K, first, n, team->scratch);
    }
}
