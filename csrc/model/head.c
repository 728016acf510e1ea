#include "head.h"

#include <math.h>
#include <string.h>

#include "../core/gemm.h"
#include "../core/threads.h"
#include "../core/vmath.h"
#include "../ops/logprobs.h"
#include "../ops/ops.h"

enum { CHUNK_FLOATS = 1 << 24, CHUNK_ROWS = 4096 }; /* at most 64 MiB of logits at a time, where a row is smaller */

/* Scratch of one chunk of R rows. */
typedef struct {
    int64_t rows;
    float *gathered, *normed, *rstd, *logits, *dnormed, *dgathered, *reduce;
} chunk;

static pta_code chunk_create(chunk *k, pta_model *m, int64_t N, pta_error *err) {
    const pta_config *c = &m->config;
    int64_t rows = CHUNK_FLOATS / c->V;
    rows = rows < 16 ? 16 : rows > CHUNK_ROWS ? CHUNK_ROWS : rows;
    k->rows = rows < N ? rows : N;
    int64_t wide = k->rows * c->C, total = 4 * wide + k->rows + k->rows * c->V + PTA_ROW_BLOCKS * c->C;
    float *p = pta_buffer_reserve(&m->head_memory, total, err);
    if (!p) return err->code;
    k->logits = p, p += k->rows * c->V;
    k->gathered = p, p += wide;
    k->normed = p, p += wide;
    k->dnormed = p, p += wide;
    k->dgathered = p, p += wide;
    k->reduce = p, p += PTA_ROW_BLOCKS * c->C;
    k->rstd = p;
    return PTA_OK;
}

/* Gather, norm and project rows[R] into k->logits (or `logits` when given). */
static void chunk_logits(const pta_model *m, const pta_tape *t, chunk *k, const int32_t *rows, int64_t R,
                         float *logits) {
    const pta_config *c = &m->config;
    pta_embedding_forward(k->gathered, t->output, rows, R, c->C);
    pta_rmsnorm_forward(k->normed, k->rstd, k->gathered, m->weights.norm, R, c->C, c->eps);
    pta_gemm_forward(logits ? logits : k->logits, c->V, k->normed, c->C, m->weights.head, R, c->V, c->C, false);
}

pta_code pta_head_forward(pta_model *m, pta_tape *t, float *logprobs, float *entropies, pta_error *err) {
    chunk k = {0};
    pta_code code = chunk_create(&k, m, t->N, err);
    if (code) return code;
    for (int64_t first = 0; first < t->N && !code; first += k.rows) {
        int64_t R = t->N - first < k.rows ? t->N - first : k.rows;
        chunk_logits(m, t, &k, t->source + first, R, NULL);
        pta_logprobs_forward(logprobs + first, t->entropy + first, t->lse + first, k.logits, t->target + first, R,
                             m->config.V, t->temperature);
        for (int64_t r = first; r < first + R && !code; r++)
            if (isnan(logprobs[r]) || isnan(t->entropy[r]))
                code = pta_fail(err, PTA_E_NONFINITE,
                                "the log-probability of target %lld (token %d after row %d) is NaN: weights or "
                                "activations are not finite",
                                (long long)r, t->target[r], t->source[r]);
        if (!code) code = pta_poll_interrupt(err);
    }
    memcpy(entropies, t->entropy, (size_t)t->N * sizeof(float));
    return code;
}

pta_code pta_head_backward(pta_model *m, const pta_tape *t, float *dx, const float *dlogprobs, const float *dentropies,
                           pta_error *err) {
    const pta_config *c = &m->config;
    chunk k = {0};
    pta_code code = chunk_create(&k, m, t->N, err);
    if (code) return code;
    memset(dx, 0, (size_t)(t->forest->T * c->C) * sizeof(float));
    for (int64_t first = 0; first < t->N && !code; first += k.rows) {
        int64_t R = t->N - first < k.rows ? t->N - first : k.rows;
        chunk_logits(m, t, &k, t->source + first, R, NULL);
        pta_logprobs_backward(k.logits, dlogprobs + first, dentropies ? dentropies + first : NULL, t->lse + first,
                              t->entropy + first, t->target + first, R, c->V, t->temperature);
        pta_gemm_dweight(m->grads.head, k.logits, c->V, k.normed, c->C, R, c->V, c->C, true);
        pta_gemm_dinput(k.dnormed, c->C, k.logits, c->V, m->weights.head, R, c->V, c->C, false);
        memset(k.dgathered, 0, (size_t)(R * c->C) * sizeof(float));
        pta_rmsnorm_backward(k.dgathered, m->grads.norm, k.dnormed, k.gathered, k.rstd, m->weights.norm, k.reduce, R,
                             c->C);
        pta_embedding_backward(dx, k.dgathered, t->source + first, R, c->C); /* scatter-add back to the rows */
        code = pta_poll_interrupt(err);
    }
    return code;
}

pta_code pta_head_logits(pta_model *m, const pta_tape *t, const int32_t *rows, int64_t R, float *logits,
                         pta_error *err) {
    chunk k = {0};
    pta_code code = chunk_create(&k, m, R, err);
    if (code) return code;
    for (int64_t first = 0; first < R; first += k.rows) {
        int64_t count = R - first < k.rows ? R - first : k.rows;
        chunk_logits(m, t, &k, rows + first, count, logits + first * m->config.V);
    }
    return PTA_OK;
}
