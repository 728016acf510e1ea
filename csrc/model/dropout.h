/* Inverted dropout (Srivastava et al. 2014) of the inputs of adapters, with masks that are never stored: whether element
 * (row, column) is kept is a pure function of a key and its place, so that backward, a layer that is computed again and any
 * number of threads see the same mask.
 *
 * Element (row, column) belongs to word (column % 64) / 16 of Philox4x32-10 (core/rng.h) at counter
 * row · 16 · ⌈columns / 64⌉ + column / 64 · 16 + column % 16, and is kept where that word is at least p · 2^32.
 */
#ifndef PTA_MODEL_DROPOUT_H
#define PTA_MODEL_DROPOUT_H

#include "../core/dtype.h"
#include "../core/team.h"

typedef struct {
    float p;      /* probability of dropping, 0 <= p < 1 */
    uint64_t key; /* of one module in one pass */
} pta_dropout;

/* The key of a module (a number of the caller's) in the pass of that key. */
uint64_t pta_dropout_key(uint64_t pass, uint64_t module);
/* This thread's rows of to[T, n] = mask ∘ from / (1 − p), rounded to to's type. */
void pta_dropout_rows(const pta_team *team, pta_matrix to, pta_matrix from, pta_dropout dropout, int64_t T, int64_t n);
/* This thread's rows of to[T, n] += mask ∘ from / (1 − p), summed in float32, rounded once. */
void pta_dropout_add_rows(const pta_team *team, pta_matrix to, pta_matrix from, pta_dropout dropout, int64_t T, int64_t n);

#endif
