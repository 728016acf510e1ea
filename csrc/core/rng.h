/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A draw is a pure function of (key, counter). */
#ifndef PTA_CORE_RNG_H
#define PTA_CORE_RNG_H

#include <stdint.h>

/* Four 32-bit words for (key, counter). */
void pta_philox(uint32_t out[4], uint64_t key, uint64_t counter);

/* Uniform double in [0, 1) with 53 random bits. */
double pta_uniform(uint64_t key, uint64_t counter);

#endif
