/* Training's forward attention: keys and values of every segment are packed into pages by position (attend.h), then tiles
 * of query rows walk the pages of their path. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "attend.h"
#include "rows.h"

enum { TILE = 32, SCRATCH_FLOATS = PTA_TEAM_SCRATCH / 8 }; /* query rows of a tile; floats of its queries and results */

/* Where the pages are: segment s owns the pages first_page[s] + b of the blocks b from start[s] / PTA_PAGE on. */
typedef struct {
    int64_t num_pages;
    int32_t *start;      /* [S] position of a segment's first token */
    int32_t *first_page; /* [S] page of block 0, were the segment to own it: page of block b is first_page + b */
    int32_t *owner;      /* [num_pages] segment */
    char *data;          /* [num_pages, K, 2, page_bytes]: prepared keys, then values (ops/tile.h) */
} page_table;

static int64_t length_of(const pta_rows *r, int64_t s) { return r->offsets[s + 1] - r->offsets[s]; }

/* Pages that segment s, which begins at `start`, owns. */
static int64_t pages_of(const pta_rows *r, int64_t s, int64_t start) {
    int64_t n = length_of(r, s);
    return n ? (start + n - 1) / PTA_PAGE - start / PTA_PAGE + 1 : 0;
}

static int64_t align_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/* No segment owns more pages than its rows take, rounded up, and one for the page that it begins in. */
static int64_t most_pages(const pta_rows *r) {
    int64_t pages = 0;
    for (int64_t s = 0; s < r->S; s++) pages += length_of(r, s) ? length_of(r, s) / PTA_PAGE + 2 : 0;
    return pages;
}

int64_t pta_attention_pages(const pta_rows *rows, int64_t K, int64_t D) {
    int64_t pages = most_pages(rows);
    return 2 * align_up(rows->S * 4) + align_up(pages * 4) + pages * K * 2 * pta_tile_bytes(PTA_PAGE, D);
}

static page_table lay_out(void *memory, const pta_rows *rows) {
    char *p = memory;
    page_table t = {.start = (int32_t *)p};
    t.first_page = (int32_t *)(p += align_up(rows->S * 4));
    t.owner = (int32_t *)(p += align_up(rows->S * 4));
    t.data = p += align_up(most_pages(rows) * 4);
    return t;
}

/* By one thread. */
static void fill_table(page_table t, const pta_rows *rows) {
    int32_t page = 0;
    for (int64_t s = 0; s < rows->S; s++) {
        int32_t parent = rows->parent[s];
        t.start[s] = parent < 0 ? 0 : t.start[parent] + (int32_t)length_of(rows, parent);
        t.first_page[s] = page - t.start[s] / PTA_PAGE;
        for (int64_t n = pages_of(rows, s, t.start[s]); n > 0; n--) t.owner[page++] = (int32_t)s;
    }
}

static int64_t count_pages(page_table t, const pta_rows *rows) {
    int64_t last = rows->S - 1;
    return t.first_page[last] + t.start[last] / PTA_PAGE + pages_of(rows, last, t.start[last]);
}

/* Page of block b on the path of segment s. */
static int64_t page_at(page_table t, const pta_rows *rows, int64_t s, int64_t b) {
    while (length_of(rows, s) == 0 || t.start[s] / PTA_PAGE > b) s = rows->parent[s];
    return t.first_page[s] + b;
}

static char *page_data(page_table t, int64_t page, int64_t head, int64_t K, int64_t D) {
    return t.data + (page * K + head) * 2 * pta_tile_bytes(PTA_PAGE, D);
}

/* Keys and values of one head at the positions of one page, ancestors' in front, zeros behind. From the last position
 * back: the part of the segment, of its parent, and so on. */
static void pack_page(page_table t, const pta_rows *rows, pta_matrix qkv, int64_t page, int64_t head, int64_t H, int64_t K,
                      int64_t D, float *scratch) {
    const int64_t size = PTA_PAGE * D;
    const bool packs = pta_tile_packs(qkv.dtype);
    char *data = page_data(t, page, head, K, D), *data_of_values = data + pta_tile_bytes(PTA_PAGE, D);
    float *gathered = scratch, *keys = packs ? gathered + size : (float *)data;
    float *values = packs ? keys + size : (float *)data_of_values;
    int64_t s = t.owner[page], first = (page - t.first_page[s]) * PTA_PAGE, end = t.start[s] + length_of(rows, s);
    if (end > first + PTA_PAGE) end = first + PTA_PAGE;
    memset(gathered + (end - first) * D, 0, (size_t)((first + PTA_PAGE - end) * D) * sizeof(float));
    memset(values + (end - first) * D, 0, (size_t)((first + PTA_PAGE - end) * D) * sizeof(float));
    for (; end > first; s = rows->parent[s]) {
        int64_t from = t.start[s] > first ? t.start[s] : first, row = rows->offsets[s] + from - t.start[s];
        if (from >= end) continue;
        pta_rows_load(gathered + (from - first) * D, pta_at(qkv, row, (H + head) * D), 1.0f, end - from, D);
        pta_rows_load(values + (from - first) * D, pta_at(qkv, row, (H + K + head) * D), 1.0f, end - from, D);
        end = from;
    }
    pta_rows_across(keys, gathered, PTA_PAGE, D);
    pta_tile_prepare(qkv.dtype, pta_f32(keys, PTA_PAGE), D, PTA_PAGE, data);
    pta_tile_prepare(qkv.dtype, pta_f32(values, D), PTA_PAGE, D, data_of_values);
}

static pta_page take_page(page_table t, pta_dtype dtype, int64_t page, int64_t head, int64_t K, int64_t D) {
    const char *data = page_data(t, page, head, K, D);
    const bool packed = pta_tile_packs(dtype);
    return (pta_page){{data, D, PTA_PAGE, packed}, {data + pta_tile_bytes(PTA_PAGE, D), PTA_PAGE, D, packed}};
}

typedef struct {
    pta_matrix out, qkv;
    float *lse;
    const pta_rows *rows;
    page_table pages;
    int64_t H, K, D;
} forward_args;

/* `count` rows from `first` of segment s, query heads h .. h+heads-1 of one key head. */
static void attend_tile(const forward_args *a, int64_t s, int64_t first, int64_t count, int64_t h, int64_t heads,
                        float *scratch) {
    const int64_t D = a->D, n = count * heads, head = h / (a->H / a->K);
    int32_t visible[TILE * PTA_PAGE];
    float *rows = scratch, *o = rows + n * D, *top = o + n * D, *lse = top + 2 * n;
    float *scores = scratch + align_up((2 * D + 3) * n), *room = scores + pta_attend_scratch();
    pta_rows_load(rows, pta_at(a->qkv, first, h * D), 1.0f, count, heads * D);
    const pta_queries q = {n, D, a->qkv.dtype, 1.0f / sqrtf((float)D), pta_tile_left(a->qkv.dtype, rows, D, 1, n, D, room), o, top,
                           top + n};
    pta_attend_begin(&q);
    int64_t position = a->pages.start[s] + first - a->rows->offsets[s];
    const int64_t all = a->rows->full ? length_of(a->rows, s) : 0; /* that every row sees; 0: each up to its own */
    for (int64_t b = 0; b <= (all ? all - 1 : position + count - 1) / PTA_PAGE; b++) {
        int64_t page = page_at(a->pages, a->rows, s, b);
        for (int64_t row = 0; row < count; row++) {
            const int64_t seen = (all ? all : position + row + 1) - b * PTA_PAGE;
            for (int64_t i = row * heads; i < (row + 1) * heads; i++)
                visible[i] = (int32_t)(seen < 0 ? 0 : seen > PTA_PAGE ? PTA_PAGE : seen);
        }
        pta_attend_page(&q, 0, n, take_page(a->pages, q.dtype, page, head, a->K, D), visible, scores);
    }
    pta_attend_end(&q, lse);
    pta_rows_store(pta_at(a->out, first, h * D), q.o, count, heads * D);
    for (int64_t i = 0; i < n; i++) a->lse[(first + i / heads) * a->H + h + i % heads] = lse[i];
}

/* Tiles are numbered segment by segment; a thread's numbers only grow, so that it finds the next one from the last. */
typedef struct {
    int64_t segment, before; /* tiles of the segments before */
} tile_cursor;

static int64_t tiles_of(const pta_rows *rows, int64_t s) { return (length_of(rows, s) + TILE - 1) / TILE; }

void pta_attention_forward(const pta_team *team, pta_matrix out, float *lse, pta_matrix qkv, const pta_rows *rows,
                           int64_t H, int64_t K, int64_t D, void *pages) {
    const forward_args a = {out, qkv, lse, rows, lay_out(pages, rows), H, K, D};
    if (team->id == 0) fill_table(a.pages, rows);
    pta_team_barrier(team);
    int64_t num_pages = count_pages(a.pages, rows), first, last, tiles = 0;
    pta_team_share(team, num_pages * K, 1, &first, &last);
    for (int64_t i = first; i < last; i++) pack_page(a.pages, rows, qkv, i / K, i % K, H, K, D, team->scratch);
    for (int64_t s = 0; s < rows->S; s++) tiles += tiles_of(rows, s);
    pta_team_barrier(team);
    /* A tile's query heads go through a page together where their queries fit into the scratch, and into `visible`. */
    const int64_t group = H / K, together = group <= PTA_PAGE && TILE * group * (2 * D + 3) < SCRATCH_FLOATS ? group : 1;
    const int64_t parts = H / together;
    tile_cursor at = {0, 0};
    for (int64_t item; (item = pta_team_next(team)) < tiles * parts;) {
        int64_t tile = item / parts;
        while (tile >= at.before + tiles_of(rows, at.segment)) at.before += tiles_of(rows, at.segment++);
        int64_t row = rows->offsets[at.segment] + (tile - at.before) * TILE, left = rows->offsets[at.segment + 1] - row;
        attend_tile(&a, at.segment, row, left < TILE ? left : TILE, item % parts * together, together, team->scratch);
    }
}
