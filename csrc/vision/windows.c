#include "windows.h"

#include <math.h>

static const double THETA = 10000.0; /* base of the rotary frequencies */

static int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

static pta_code count(pta_windows *w, const pta_tower_config *c, const int32_t (*grids)[2], int64_t images, pta_error *err) {
    *w = (pta_windows){.images = images};
    if (images < 1) return pta_fail(err, PTA_E_VALUE, "grids: expected at least one image");
    for (int64_t i = 0; i < images; i++) {
        const int64_t rows = grids[i][0], columns = grids[i][1];
        if (rows < 1 || columns < 1 || rows % c->merge || columns % c->merge || rows > 1 << 16 || columns > 1 << 16)
            return pta_fail(err, PTA_E_VALUE, "grids[%lld] is %lld x %lld patches, must be positive multiples of %lld, at most %d",
                            (long long)i, (long long)rows, (long long)columns, (long long)c->merge, 1 << 16);
        w->T += rows * columns;
        w->windows += parts(rows / c->merge, c->window) * parts(columns / c->merge, c->window);
        if (w->T > INT32_MAX / 2) return pta_fail(err, PTA_E_VALUE, "grids: more than %d patches", INT32_MAX / 2);
    }
    return PTA_OK;
}

static void lay_out(pta_windows *w, pta_cursor *cursor, const pta_tower_config *c) {
    const int64_t size = sizeof(int32_t), most = w->images > w->windows ? w->images : w->windows;
    w->squares = pta_take(cursor, w->T / (c->merge * c->merge) * size);
    w->image_offsets = pta_take(cursor, (w->images + 1) * size);
    w->window_offsets = pta_take(cursor, (w->windows + 1) * size);
    w->roots = pta_take(cursor, most * size);
    w->angles = pta_take_floats(cursor, w->T * (c->C / c->H));
    w->line = pta_take(cursor, w->T * size);
}

/* Angles of the patch at (row, column) of its image: pairs 0 .. D/4-1 by the row, D/4 .. D/2-1 by the column. */
static void turn(float *angles, int64_t D, int64_t row, int64_t column) {
    for (int64_t i = 0; i < D / 4; i++) {
        const double frequency = pow(THETA, -2.0 * (double)i / (double)(D / 2));
        for (int64_t axis = 0; axis < 2; axis++) {
            const double angle = (double)(axis ? column : row) * frequency;
            angles[axis * (D / 4) + i] = (float)cos(angle);
            angles[D / 2 + axis * (D / 4) + i] = (float)sin(angle);
        }
    }
}

typedef struct {
    int64_t square, row, window; /* that come next */
} place;

/* The squares of one window of an image that is `across` squares wide and whose first square is `base`. */
static void fill_window(const pta_windows *w, const pta_tower_config *c, place *at, int64_t base, int64_t across,
                        int64_t top, int64_t bottom, int64_t left, int64_t right) {
    const int64_t D = c->C / c->H, side = c->merge;
    for (int64_t r = top; r < bottom; r++)
        for (int64_t k = left; k < right; k++) {
            w->squares[at->square++] = (int32_t)(base + r * across + k);
            for (int64_t p = 0; p < side * side; p++, at->row++) {
                turn(w->angles + at->row * D, D, r * side + p / side, k * side + p % side);
                w->line[at->row] = (int32_t)at->row;
            }
        }
    w->window_offsets[++at->window] = (int32_t)at->row;
}

static void fill(const pta_windows *w, const pta_tower_config *c, const int32_t (*grids)[2]) {
    place at = {0};
    w->window_offsets[0] = w->image_offsets[0] = 0;
    for (int64_t i = 0; i < w->images; i++) {
        const int64_t down = grids[i][0] / c->merge, across = grids[i][1] / c->merge, base = at.square, side = c->window;
        for (int64_t r = 0; r < down; r += side)
            for (int64_t k = 0; k < across; k += side)
                fill_window(w, c, &at, base, across, r, r + side < down ? r + side : down, k,
                            k + side < across ? k + side : across);
        w->image_offsets[i + 1] = (int32_t)at.row;
    }
    for (int64_t i = 0; i < w->images || i < w->windows; i++) w->roots[i] = -1;
}

pta_code pta_windows_create(pta_windows *w, const pta_tower_config *c, const int32_t (*grids)[2], int64_t images,
                            pta_error *err) {
    pta_cursor cursor = {0};
    pta_code code = count(w, c, grids, images, err);
    if (code) return code;
    lay_out(w, &cursor, c);
    w->memory = pta_alloc_uninit(cursor.used, 1);
    if (!w->memory) return pta_fail(err, PTA_E_MEMORY, "no memory for the places of %lld patches", (long long)w->T);
    lay_out(w, &(pta_cursor){w->memory, 0}, c);
    fill(w, c, grids);
    return PTA_OK;
}

void pta_windows_free(pta_windows *w) {
    pta_free(w->memory);
    *w = (pta_windows){0};
}

pta_rows pta_windows_rows(const pta_windows *w, bool whole_images) {
    const int32_t *offsets = whole_images ? w->image_offsets : w->window_offsets;
    return (pta_rows){w->T, whole_images ? w->images : w->windows, offsets, w->roots, offsets + 1, true};
}
