/* Hands out pieces of an arena, 64-byte aligned; with a NULL base it only counts. */
#ifndef PTA_CORE_CURSOR_H
#define PTA_CORE_CURSOR_H

#include "dtype.h"

typedef struct {
    char *base;
    int64_t used; /* bytes */
} pta_cursor;
static inline void *pta_take(pta_cursor *c, int64_t bytes) {
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 63) / 64 * 64;
    return p;
}
static inline float *pta_take_floats(pta_cursor *c, int64_t count) { return pta_take(c, count * (int64_t)sizeof(float)); }
static inline pta_matrix pta_take_matrix(pta_cursor *c, int64_t rows, int64_t columns, pta_dtype dtype) {
    return (pta_matrix){pta_take(c, rows * columns * pta_dtype_size(dtype)), columns, dtype};
}

#endif
