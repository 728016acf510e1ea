/* The driver of all kernels: which thread forms which tiles, what is packed where, in which order blocks come.
 *
 * A result is cut into parts (rows, columns, depth) whose packed `a` fits into scratch memory; usually there is one.
 * Threads form a grid over a part: each owns a contiguous range of row blocks × a contiguous range of panels. Within
 * its range a thread takes a few panels at a time, and for these one block of the depth after the other. Whatever the
 * cut, the sum of an element runs through the depth in order, through one kernel: no bit depends on it. */
#include <string.h>

#include "kernel.h"

enum {
    GROUP = 16,           /* at most so many panels are taken together: rows of b are read in long pieces, a seldom */
    REUSED = 384 << 10,   /* bytes of packed a that stay in cache while the panels of a group pass by */
    PRIVATE = 192 << 10,  /* up to so many bytes of packed a, every thread packs for itself: no barrier */
    SUPER = 4096,         /* depth of a part */
    SLICE = 4096,         /* columns of a part whose sums wait outside the result */
    WORK = 20000,         /* multiply-adds below which a further thread does not pay */
    PAD = 64,             /* bytes between packed rows: a cache line, so that rows fall into different cache sets */
    TOGETHER = 64,        /* rows of b, or of a transposed a, that are packed together */
    AHEAD = 6,            /* blocks of columns of a that are fetched before they are packed */
    STREAM = 12 << 10,    /* bytes ahead in a stream of weights: what comes from memory while a core waits for one line */
    NARROW = 1024,        /* a row of a float matrix of at most so many bytes is read where it stands, not packed */
    WIDE = 3072,          /* the same for a result of at most FEW columns: packed rows would be read too seldom to pay */
    FEW = 512             /* and for b, where the result has at most FEW rows */
};

typedef struct {
    const pta_team *team;
    const pta_product *p;
    const pta_kernel *kernel;
    int64_t block, depth_step;      /* depth of a block, of a part */
    int64_t row_step, column_step;  /* of a part */
    bool chained;                   /* sums wait in `chain` between blocks: the result cannot hold them */
    bool private;
    bool direct, direct_b;          /* a, b is read where it stands */
    int64_t row_threads, column_threads; /* the grid; further threads have nothing to do */
    char *packed_a, *packed_b;
    float *chain; /* [row_step][columns of the part, padded] */
} plan;

/* A part, and this thread's blocks of rows and panels of columns in it. */
typedef struct {
    int64_t row, rows, column, columns, depth_at, depth;
    int64_t row_blocks, panels;
    int64_t first_row_block, last_row_block, first_panel, last_panel;
} part;

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Near-equal pieces of at most `limit`, a multiple of `grain`. */
static int64_t even_step(int64_t extent, int64_t limit, int64_t grain) {
    int64_t pieces = divide_up(extent, limit < grain ? grain : limit);
    return pieces ? pta_round_up(divide_up(extent, pieces), grain) : grain;
}

static int64_t row_block_bytes(const pta_kernel *k, int64_t depth) {
    return k->rows * (pta_round_up(pta_round_up(depth, k->step) * k->a_size, 64) + PAD);
}

/* Bytes of packed a for one block of rows over `depth`, cut into blocks. */
static int64_t packed_bytes(const plan *plan, int64_t depth) {
    return depth / plan->block * row_block_bytes(plan->kernel, plan->block) +
           (depth % plan->block ? row_block_bytes(plan->kernel, depth % plan->block) : 0);
}

/* The grid that leaves the least to the busiest thread. Of equal ones that which cuts the longer side of the result: many
 * rows are then formed by the thread that works on them before and after, few stay in every thread's cache. */
static void choose_grid(plan *plan, int64_t row_blocks, int64_t panels) {
    const pta_product *p = plan->p;
    int64_t threads = 1 + p->rows * p->columns * p->depth / WORK, best = INT64_MAX;
    if (threads > plan->team->size) threads = plan->team->size;
    for (int64_t rows = 1; rows <= threads; rows++) {
        int64_t columns = threads / rows;
        int64_t most = divide_up(row_blocks, rows) * divide_up(panels, columns);
        if (most < best || (most == best && p->rows > p->columns)) {
            best = most;
            plan->row_threads = rows;
            plan->column_threads = columns;
        }
    }
}

static plan make_plan(const pta_team *team, const pta_product *p) {
    const pta_kernel *k = p->kernel;
    plan plan = {.team = team, .p = p, .kernel = k, .block = k->block};
    /* Few rows and packed weights: the weights stream by once, in order. */
    if (p->packed && p->rows <= k->rows && p->depth <= 65536) plan.block = pta_round_up(p->depth, PTA_DEPTH_STEP);
    if (plan.block < PTA_DEPTH_STEP) plan.block = PTA_DEPTH_STEP;
    plan.chained = p->c.dtype == PTA_BF16 && p->depth > plan.block;
    plan.column_step = plan.chained ? even_step(p->columns, SLICE, PTA_PANEL) : pta_round_up(p->columns, PTA_PANEL);
    plan.depth_step = plan.block < SUPER ? even_step(p->depth, SUPER, plan.block) : plan.block;

    int64_t per_block = packed_bytes(&plan, plan.depth_step), row_blocks = divide_up(p->rows, k->rows);
    int64_t room = plan.chained ? PTA_TEAM_SHARED / 2 : PTA_TEAM_SHARED, most = room / per_block;
    if (plan.chained) most = pta_min(most, room / (plan.column_step * k->rows * (int64_t)sizeof(float)));
    plan.row_step = even_step(row_blocks, most, 1) * k->rows;
    row_blocks = pta_min(row_blocks, plan.row_step / k->rows);
    choose_grid(&plan, row_blocks, pta_min(plan.column_step, pta_round_up(p->columns, PTA_PANEL)) / PTA_PANEL);

    plan.private = row_blocks * per_block <= PRIVATE;
    plan.direct = p->a.dtype == PTA_F32 && k->a_size == 4 && k->step == 1 && k->row_step == 1 &&
                  p->a.ld * 4 <= (p->columns <= FEW ? WIDE : NARROW);
    plan.direct_b = p->b.data && p->b.dtype == PTA_F32 && k->b_size == 4 && k->step == 1 && p->rows <= FEW &&
                    p->b.ld * 4 <= WIDE && p->columns % PTA_PANEL == 0 && ((uintptr_t)p->b.data | p->b.ld * 4) % 64 == 0;
    char *shared = pta_team_shared(team), *own = team->scratch;
    plan.packed_a = plan.private ? own : shared;
    plan.packed_b = own + PRIVATE;
    plan.chain = (float *)(shared + room);
    return plan;
}

static part take_part(const plan *plan, int64_t row, int64_t column, int64_t depth_at) {
    const pta_product *p = plan->p;
    part t = {.row = row, .column = column, .depth_at = depth_at};
    t.rows = pta_min(plan->row_step, p->rows - row);
    t.columns = pta_min(plan->column_step, p->columns - column);
    t.depth = pta_min(plan->depth_step, p->depth - depth_at);
    t.row_blocks = divide_up(t.rows, plan->kernel->rows);
    t.panels = divide_up(t.columns, PTA_PANEL);
    int64_t id = plan->team->id, at = id / plan->column_threads, across = id % plan->column_threads;
    if (at >= plan->row_threads) return t; /* an empty range */
    t.first_row_block = t.row_blocks * at / plan->row_threads;
    t.last_row_block = t.row_blocks * (at + 1) / plan->row_threads;
    t.first_panel = t.panels * across / plan->column_threads;
    t.last_panel = t.panels * (across + 1) / plan->column_threads;
    return t;
}

/* Where a block of rows lies in packed a, for the block of the depth that begins at k0. */
static char *packed_rows(const plan *plan, const part *t, int64_t row_block, int64_t k0, int64_t depth) {
    return plan->packed_a + t->row_blocks * (k0 / plan->block) * row_block_bytes(plan->kernel, plan->block) +
           row_block * row_block_bytes(plan->kernel, depth);
}

/* The same, wherever it lies. */
static const char *rows_of_a(const plan *plan, const part *t, int64_t row_block, int64_t k0, int64_t depth) {
    const pta_product *p = plan->p;
    int64_t row = t->row + row_block * plan->kernel->rows, at = t->depth_at + k0;
    if (plan->direct) return (const char *)(p->a_transposed ? pta_at(p->a, at, row) : pta_at(p->a, row, at)).data;
    return packed_rows(plan, t, row_block, k0, depth);
}

static void set_strides(const plan *plan, int64_t depth, int64_t *row, int64_t *step) {
    const pta_kernel *k = plan->kernel;
    const bool transposed = plan->p->a_transposed, natural = transposed && !k->rows_only;
    if (plan->direct) {
        *row = transposed ? 1 : plan->p->a.ld;
        *step = transposed ? plan->p->a.ld : 1;
        return;
    }
    *row = natural ? 1 : row_block_bytes(k, depth) / k->rows / 4;
    *step = natural ? k->rows : 1;
}

/* `count` rows of a matrix from `row` on their way into the cache: `columns` of them from `column`. */
static void fetch_rows(pta_matrix m, int64_t row, int64_t count, int64_t column, int64_t columns) {
    const int64_t bytes = columns * pta_dtype_size(m.dtype);
    for (int64_t i = 0; i < count; i++) {
        const char *p = pta_at(m, row + i, column).data;
        for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at);
    }
}

/* Columns of the source, a block of rows of a at a time; a few of its rows for all blocks, then the next. */
static void pack_across(const plan *plan, const part *t, int64_t first, int64_t last, int64_t k0, int64_t depth) {
    const pta_product *p = plan->p;
    const pta_kernel *k = plan->kernel;
    const int64_t stride = row_block_bytes(k, depth) / k->rows, step = (k->rows_only ? 1 : k->rows) * k->a_size;
    for (int64_t at = 0; at < depth; at += TOGETHER) {
        const int64_t here = pta_min(TOGETHER, depth - at), from = t->depth_at + k0 + at;
        for (int64_t b = first; b < last; b++) {
            const int64_t row = t->row + b * k->rows, rows = pta_min(k->rows, p->rows - row), next = row + AHEAD * k->rows;
            if (b + AHEAD < last) fetch_rows(p->a, from, here, next, pta_min(k->rows, p->rows - next));
            k->pack_columns(packed_rows(plan, t, b, k0, depth) + at * step, stride / 4, pta_at(p->a, from, row), rows, here,
                            pta_round_up(here, k->step));
        }
    }
}

static void pack_a(const plan *plan, const part *t, int64_t first, int64_t last) {
    const pta_product *p = plan->p;
    const pta_kernel *k = plan->kernel;
    for (int64_t k0 = 0; k0 < t->depth; k0 += plan->block) {
        int64_t depth = pta_min(plan->block, t->depth - k0), padded = pta_round_up(depth, k->step);
        int64_t stride = row_block_bytes(k, depth) / k->rows, at = t->depth_at + k0;
        if (p->a_transposed) pack_across(plan, t, first, last, k0, depth);
        for (int64_t b = first; b < last; b++) {
            int64_t row = t->row + b * k->rows, rows = pta_min(k->rows, p->rows - row);
            char *to = packed_rows(plan, t, b, k0, depth);
            if (!p->a_transposed) k->pack_rows(to, stride / 4, pta_at(p->a, row, at), rows, depth, padded);
            if (rows % k->row_step && !(p->a_transposed && !k->rows_only)) /* rows of a tile beyond the matrix */
                memset(to + rows * stride, 0, (size_t)((pta_round_up(rows, k->row_step) - rows) * stride));
        }
    }
}

/* Copy a tile's valid elements between the result and `local`. */
static void load_tile(float *local, const float *c, int64_t ldc, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++) memcpy(local + i * PTA_PANEL, c + i * ldc, (size_t)columns * sizeof(float));
}

static void store_tile(const plan *plan, int64_t row, int64_t column, const float *from, int64_t ld, int64_t rows,
                       int64_t columns) {
    const pta_matrix c = pta_at(plan->p->c, row, column);
    for (int64_t i = 0; i < rows; i++) {
        if (c.dtype == PTA_BF16)
            plan->kernel->round((pta_bf16 *)c.data + i * c.ld, from + i * ld, columns);
        else
            memcpy((float *)c.data + i * c.ld, from + i * ld, (size_t)columns * sizeof(float));
    }
}

/* One tile over one block: in the result itself, in the chain, or beside when the result is narrower than the tile. */
static void do_tile(const plan *plan, const part *t, pta_tile *tile, int64_t row_block, int64_t panel, bool last) {
    const pta_kernel *k = plan->kernel;
    const pta_matrix *c = &plan->p->c;
    float local[PTA_MOST_ROWS * PTA_PANEL] __attribute__((aligned(64)));
    int64_t row = t->row + row_block * k->rows, column = t->column + panel * PTA_PANEL;
    int64_t rows = pta_min(k->rows, plan->p->rows - row), columns = pta_min(PTA_PANEL, plan->p->columns - column);
    int64_t padded = pta_round_up(rows, k->row_step);
    if (plan->chained) {
        tile->ldc = t->panels * PTA_PANEL;
        tile->c = plan->chain + row_block * k->rows * tile->ldc + panel * PTA_PANEL;
        k->tile(tile, (int)padded);
        if (last) store_tile(plan, row, column, tile->c, tile->ldc, rows, columns);
    } else if (c->dtype == PTA_F32 && columns == PTA_PANEL && rows == padded) {
        tile->ldc = c->ld;
        tile->c = (float *)c->data + row * c->ld + column;
        if (row_block + 1 < t->last_row_block) /* the next tile's */
            for (int64_t i = 0; i < k->rows; i++) {
                __builtin_prefetch(tile->c + (k->rows + i) * c->ld, 1);
                __builtin_prefetch(tile->c + (k->rows + i) * c->ld + 16, 1);
            }
        k->tile(tile, (int)rows);
    } else {
        tile->ldc = PTA_PANEL;
        tile->c = local;
        if (tile->accumulate) {
            memset(local, 0, sizeof local);
            load_tile(local, (const float *)c->data + row * c->ld + column, c->ld, rows, columns);
        }
        k->tile(tile, (int)padded);
        store_tile(plan, row, column, local, PTA_PANEL, rows, columns);
    }
}

static const char *panel_of_b(const plan *plan, const part *t, int64_t panel, int64_t first_of_group, int64_t k0) {
    const pta_kernel *k = plan->kernel;
    if (plan->direct_b) return pta_at(plan->p->b, t->depth_at + k0, t->column + panel * PTA_PANEL).data;
    if (!plan->p->packed) return plan->packed_b + (panel - first_of_group) * plan->block * PTA_PANEL * k->b_size;
    int64_t at = (t->column / PTA_PANEL + panel) * plan->p->packed_depth + t->depth_at + k0;
    return plan->p->packed + at * PTA_PANEL * k->b_size;
}

/* A few rows of b at a time, for all panels: what the next rows of all panels need is fetched meanwhile. */
static void pack_group(const plan *plan, const part *t, int64_t first, int64_t last, int64_t k0, int64_t depth) {
    const pta_product *p = plan->p;
    const pta_kernel *k = plan->kernel;
    for (int64_t panel = first; p->frozen && panel < last; panel++)
        pta_frozen_panel(k, (char *)panel_of_b(plan, t, panel, first, k0), p->frozen, p->across,
                         t->column / PTA_PANEL + panel, t->depth_at + k0, depth);
    for (int64_t at = 0; !p->frozen && at < depth; at += TOGETHER) {
        const int64_t rows = pta_min(TOGETHER, depth - at), next = pta_min(TOGETHER, depth - at - rows);
        for (int64_t panel = first; panel < last; panel++) {
            const int64_t column = t->column + panel * PTA_PANEL, columns = pta_min(PTA_PANEL, p->columns - column);
            fetch_rows(p->b, t->depth_at + k0 + at + rows, next, column, columns);
            k->pack_panel((char *)panel_of_b(plan, t, panel, first, k0) + at * PTA_PANEL * k->b_size,
                          pta_at(p->b, t->depth_at + k0 + at, column), columns, rows, pta_round_up(rows, k->step));
        }
    }
}

/* Panels first .. last-1 over one block of the depth. */
static void do_block(const plan *plan, const part *t, int64_t first, int64_t last, int64_t k0) {
    const pta_kernel *k = plan->kernel;
    const pta_product *p = plan->p;
    int64_t depth = pta_min(plan->block, t->depth - k0);
    int64_t reused = REUSED / row_block_bytes(k, depth);
    if (reused < 1) reused = 1;
    pta_tile tile = {.depth = pta_round_up(depth, k->step), .accumulate = p->accumulate || t->depth_at + k0 > 0,
                     .b_stride = plan->direct_b ? p->b.ld : PTA_PANEL};
    set_strides(plan, depth, &tile.row_stride, &tile.step_stride);
    if (!p->packed && !plan->direct_b) pack_group(plan, t, first, last, k0, depth);
    for (int64_t r0 = t->first_row_block; r0 < t->last_row_block; r0 += reused) {
        int64_t r1 = pta_min(r0 + reused, t->last_row_block), count = r1 - r0;
        for (int64_t panel = first; panel < last; panel++) {
            tile.b = panel_of_b(plan, t, panel, first, k0);
            int64_t bytes = depth * PTA_PANEL * k->b_size;
            /* One block of rows: further on in the stream of b. More: what comes next, a slice with each of them. */
            const char *next = panel + 1 < last ? panel_of_b(plan, t, panel + 1, first, k0) : (const char *)tile.b + bytes;
            tile.ahead_step = p->packed ? 128 / count : 0;
            for (int64_t r = r0; r < r1; r++) {
                tile.ahead = count == 1 ? (const char *)tile.b + STREAM : next + (r - r0) * bytes / count;
                tile.a = rows_of_a(plan, t, r, k0, depth);
                do_tile(plan, t, &tile, r, panel, t->depth_at + k0 + depth == p->depth);
            }
        }
    }
}

static void do_part(const plan *plan, const part *t) {
    const pta_kernel *k = plan->kernel;
    if (t->first_row_block >= t->last_row_block) return;
    const int64_t group = t->last_row_block - t->first_row_block == 1 ? 1 : even_step(t->last_panel - t->first_panel, GROUP, 1);
    if (k->begin) k->begin();
    for (int64_t first = t->first_panel; first < t->last_panel; first += group)
        for (int64_t k0 = 0; k0 < t->depth; k0 += plan->block)
            do_block(plan, t, first, pta_min(first + group, t->last_panel), k0);
    if (k->end) k->end();
}

/* A sum over nothing. */
static void clear(const pta_team *team, const pta_product *p) {
    int64_t first, last;
    pta_team_share(team, p->rows, 1, &first, &last);
    for (int64_t i = first; i < last && !p->accumulate; i++)
        memset(pta_at(p->c, i, 0).data, 0, (size_t)(p->columns * pta_dtype_size(p->c.dtype)));
}

void pta_multiply(const pta_team *team, const pta_product *p) {
    if (p->rows <= 0 || p->columns <= 0) return;
    if (p->depth <= 0) {
        clear(team, p);
        return;
    }
    const plan plan = make_plan(team, p);
    const bool shares = (!plan.private && !plan.direct) || plan.chained;
    for (int64_t column = 0; column < p->columns; column += plan.column_step)
        for (int64_t row = 0; row < p->rows; row += plan.row_step)
            for (int64_t depth_at = 0; depth_at < p->depth; depth_at += plan.depth_step) {
                const part t = take_part(&plan, row, column, depth_at);
                if (shares) pta_team_barrier(team); /* nobody works any more on what lies there */
                if (plan.direct) {
                    /* nothing to pack */
                } else if (plan.private) {
                    if (t.first_panel < t.last_panel) pack_a(&plan, &t, t.first_row_block, t.last_row_block);
                } else {
                    int64_t first, last;
                    pta_team_share(team, t.row_blocks, 1, &first, &last);
                    pack_a(&plan, &t, first, last);
                    pta_team_barrier(team);
                }
                do_part(&plan, &t);
            }
}
