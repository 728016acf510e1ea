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

/* The same for what a softmax takes, x <= 88: fewer steps, an absolute error below 2e-7 for x <= 0, e^0 = 1; 0 below -87.3, NaN
 * stays. */
PTA_INLINE float pta_exp_score(float x) {
    const float log2e = 1.44269504f, magic = 12582912.0f;
    const float shifted = x * log2e + magic;
    const float f = x * log2e - (shifted - magic); /* in [-1/2, 1/2] */
    float p = f * 0.00132644549f + 0.00967172533f;
    p = p * f + 0.0555073619f;
    p = p * f + 0.240222394f;
    p = p * f + 0.693147004f;
    p = p * f + 1.0f; /* 2^f */
    uint32_t bits, power;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&power, &shifted, sizeof power);
    bits += power << 23; /* the integer stands in the low bits */
    memcpy(&p, &bits, sizeof p);
    return x < -87.3f ? 0.0f : p;
}

#endif
