/* The two element types of stored activations and working weights, and the conversions between them. */
#ifndef PTA_CORE_DTYPE_H
#define PTA_CORE_DTYPE_H

#include <stdint.h>
#include <string.h>

#include "target.h"

typedef enum { PTA_F32 = 0, PTA_BF16 = 1 } pta_dtype;
typedef uint16_t pta_bf16; /* the upper half of a float */

static inline int64_t pta_dtype_size(pta_dtype dtype) { return dtype == PTA_BF16 ? 2 : 4; }

/* A row-major matrix: element (i, j) is data[i · ld + j], ld counted in elements. */
typedef struct {
    void *data;
    int64_t ld;
    pta_dtype dtype;
} pta_matrix;

static inline pta_matrix pta_f32(const float *data, int64_t ld) { return (pta_matrix){(void *)data, ld, PTA_F32}; }
static inline pta_matrix pta_at(pta_matrix m, int64_t row, int64_t column) {
    m.data = (char *)m.data + (row * m.ld + column) * pta_dtype_size(m.dtype);
    return m;
}

PTA_INLINE float pta_widen(pta_bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to nearest, ties to even; NaN stays a NaN, subnormals are kept. */
PTA_INLINE pta_bf16 pta_round_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (pta_bf16)(x != x ? (bits >> 16) | 0x40u : rounded);
}

/* Element i of a row of either type; `dtype` is a constant where it matters, so that the compiler sees one loop. */
PTA_INLINE float pta_load(const void *row, int64_t i, const pta_dtype dtype) {
    return dtype == PTA_BF16 ? pta_widen(((const pta_bf16 *)row)[i]) : ((const float *)row)[i];
}
PTA_INLINE void pta_store(void *row, int64_t i, float value, const pta_dtype dtype) {
    if (dtype == PTA_BF16)
        ((pta_bf16 *)row)[i] = pta_round_bf16(value);
    else
        ((float *)row)[i] = value;
}

#endif
