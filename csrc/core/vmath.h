/* Elementary functions that the compiler can vectorise, and the fixed number of blocks of every reduction over rows. */
#ifndef PTA_CORE_VMATH_H
#define PTA_CORE_VMATH_H

#include <stdint.h>
#include <string.h>

#include "target.h"

/* Sums over rows (gradients of norms and biases) are formed in this many blocks of rows and then added up in block
 * order, so that they do not depend on the thread count. Scratch for them counts PTA_ROW_BLOCKS · width floats. */
enum { PTA_ROW_BLOCKS = 32 };

/* e^x, relative error below 2e-7 for x in [-87.3, 88]; 0 below, the largest float's neighbourhood above; NaN stays. */
PTA_INLINE float pta_expf(float x) {
    float clamped = x > 88.0f ? 88.0f : x;
    clamped = clamped < -87.3f ? -87.3f : clamped;
    const float magic = 12582912.0f; /* 1.5 · 2^23: adding it rounds to an integer */
    float n = clamped * 1.44269504089f + magic;
    n -= magic;
    float r = clamped - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = (int32_t)((uint32_t)((int32_t)n + 127) << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    float result = p * power;
    result = x < -87.3f ? 0.0f : result;
    return x != x ? x : result;
}

#endif
