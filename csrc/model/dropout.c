#include "dropout.h"

#include "../core/rng.h"
#include "../core/target.h"
#include "../ops/rows.h"

enum { LANES = 16, WORDS = 4, GROUP = LANES * WORDS };

uint64_t pta_dropout_key(uint64_t pass, uint64_t module) {
    uint32_t words[4];
    pta_philox(words, pass, module);
    return (uint64_t)words[1] << 32 | words[0];
}

/* pta_philox at counters first .. first + LANES - 1, all at once: word w of counter l to words[w · LANES + l]. */
PTA_INLINE void philox_lanes(uint32_t *restrict words, uint64_t key, uint64_t first) {
    uint32_t *c0 = words, *c1 = words + LANES, *c2 = words + 2 * LANES, *c3 = words + 3 * LANES;
    for (int l = 0; l < LANES; l++) {
        c0[l] = (uint32_t)(first + l), c1[l] = (uint32_t)((first + l) >> 32);
        c2[l] = c3[l] = 0;
    }
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[l], p1 = (uint64_t)0xCD9E8D57u * c2[l];
            c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ k0;
            c1[l] = (uint32_t)p1;
            c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ k1;
            c3[l] = (uint32_t)p0;
        }
    }
}

/* x[n], row `row` of the matrix, in place. */
PTA_CLONES static void drop_row(float *restrict x, pta_dropout dropout, int64_t row, int64_t n) {
    const uint32_t least = (uint32_t)((double)dropout.p * 0x1p32);
    const float scale = 1.0f / (1.0f - dropout.p);
    const int64_t groups = (n + GROUP - 1) / GROUP;
    for (int64_t g = 0; g < groups; g++, x += GROUP, n -= GROUP) {
        uint32_t words[GROUP];
        philox_lanes(words, dropout.key, (uint64_t)(row * groups + g) * LANES);
        const int64_t here = n < GROUP ? n : GROUP;
        for (int64_t i = 0; i < here; i++) x[i] = words[i] >= least ? x[i] * scale : 0.0f;
    }
}

void pta_dropout_rows(const pta_team *team, pta_matrix to, pta_matrix from, pta_dropout dropout, int64_t T, int64_t n) {
    int64_t first, last;
    float *row = team->scratch;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        pta_rows_load(row, pta_at(from, t, 0), 1.0f, 1, n);
        drop_row(row, dropout, t, n);
        pta_rows_store(pta_at(to, t, 0), row, 1, n);
    }
}

void pta_dropout_add_rows(const pta_team *team, pta_matrix to, pta_matrix from, pta_dropout dropout, int64_t T, int64_t n) {
    int64_t first, last;
    float *row = team->scratch, *sum = row + n;
    pta_team_share(team, T, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        pta_rows_load(row, pta_at(from, t, 0), 1.0f, 1, n);
        drop_row(row, dropout, t, n);
        pta_rows_load(sum, pta_at(to, t, 0), 1.0f, 1, n);
        pta_row_add(sum, row, n);
        pta_rows_store(pta_at(to, t, 0), sum, 1, n);
    }
}
