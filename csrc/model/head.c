#include "head.h"

#include <math.h>
#include <string.h>

#include "../core/vmath.h"
#include "../ops/logprobs.h"
#include "../ops/ops.h"
#include "products.h"

/* A chunk is as large as this allows: the head's gradient is read and written once for every chunk. */
enum { CHUNK_FLOATS = 1 << 26, CHUNK_ROWS = 4096, LEAST_ROWS = 16 };

static int64_t chunk_rows(int64_t V, int64_t N) {
    int64_t most = CHUNK_FLOATS / V;
    most = most < LEAST_ROWS ? LEAST_ROWS : most > CHUNK_ROWS ? CHUNK_ROWS : most;
    if (N < 1) N = 1;
    int64_t chunks = (N + most - 1) / most, rows = (N + chunks - 1) / chunks; /* chunks of equal size */
    rows = (rows + 31) / 32 * 32;
    return rows < N ? rows : N;
}

void pta_head_layout(pta_head_chunk *k, pta_cursor *cursor, const pta_config *c, int64_t N, bool train) {
    k->rows = chunk_rows(c->V, N);
    k->logits = pta_take_floats(cursor, k->rows * c->V);
    k->gathered = pta_take_floats(cursor, k->rows * c->C);
    k->rstd = pta_take_floats(cursor, k->rows);
    k->lse = pta_take_floats(cursor, k->rows);
    k->normed = pta_take_matrix(cursor, k->rows, c->C, c->dtype);
    if (!train) return;
    k->dlogprobs = pta_take_floats(cursor, k->rows);
    k->dnormed = pta_take_floats(cursor, k->rows * c->C);
    k->dgathered = pta_take_floats(cursor, k->rows * c->C);
    k->reduce = pta_take_floats(cursor, PTA_ROW_BLOCKS * c->C);
}

void pta_head_logits(const pta_team *team, const pta_model *m, const pta_tape *t, const pta_head_chunk *k,
                     const int32_t *rows, int64_t R, float *logits) {
    const pta_config *c = &m->config;
    pta_embedding_forward(team, k->gathered, pta_f32(t->output, c->C), rows, R, c->C);
    pta_team_barrier(team);
    pta_rmsnorm_forward(team, k->normed, k->rstd, k->gathered, m->weights.norm, R, c->C, c->eps);
    pta_team_barrier(team);
    pta_product_forward(team, m, 0, PTA_HEAD, pta_f32(logits, c->V), k->normed, R, false);
    pta_team_barrier(team);
}

/* By thread 0: refuse NaN, then the loss of the chunk's targets. */
static pta_code judge(pta_head_pass *p, int64_t first, int64_t R, pta_error *err) {
    const pta_tape *t = p->t;
    for (int64_t r = first; r < first + R; r++)
        if (isnan(p->logprobs[r]) || isnan(p->entropies[r]))
            return pta_fail(err, PTA_E_NONFINITE,
                            "the log-probability of target %lld (token %d after row %d) is NaN: weights or activations "
                            "are not finite",
                            (long long)r, t->target[r], t->source[r]);
    if (!p->loss) return PTA_OK;
    return p->loss(p->context, first, R, p->logprobs + first, p->entropies + first, p->chunk.dlogprobs, err);
}

/* This thread's rows of x[R, C] = 0 */
static void clear_rows(const pta_team *team, float *x, int64_t R, int64_t C) {
    int64_t first, last;
    pta_team_share(team, R, 1, &first, &last);
    memset(x + first * C, 0, (size_t)((last - first) * C) * sizeof(float));
}

/* The chunk's dlogits and what follows from them: gradients of head and norm, and of the rows of t->output. */
static void chunk_backward(const pta_team *team, const pta_head_pass *p, int64_t first, int64_t R) {
    pta_model *m = p->m;
    const pta_config *c = &m->config;
    const pta_head_chunk *k = &p->chunk;
    pta_matrix dlogits = pta_f32(k->logits, c->V);
    pta_logprobs_backward(team, k->logits, k->dlogprobs, p->dentropies ? p->dentropies + first : NULL, k->lse,
                          p->entropies + first, p->t->target + first, R, c->V, 1.0f / p->t->temperature);
    clear_rows(team, k->dgathered, R, c->C);
    pta_team_barrier(team);
    if (!m->adapter) pta_linear_dweight(team, m->grads.head, dlogits, k->normed, R, c->V, c->C, c->dtype);
    pta_product_dinput(team, m, 0, PTA_HEAD, pta_f32(k->dnormed, c->C), dlogits, R);
    pta_team_barrier(team);
    pta_rmsnorm_backward(team, k->dgathered, m->grads.norm, k->dnormed, k->gathered, k->rstd, m->weights.norm, k->reduce,
                         R, c->C);
    pta_team_barrier(team);
    pta_embedding_backward(team, p->dx, k->dgathered, p->t->source + first, R, c->C); /* back to their rows, adding */
    pta_team_barrier(team);
}

bool pta_head_run(const pta_team *team, pta_head_pass *p, pta_error *err) {
    const pta_config *c = &p->m->config;
    const pta_tape *t = p->t;
    if (p->loss) clear_rows(team, p->dx, t->forest->T, c->C);
    for (int64_t first = 0; first < t->N; first += p->chunk.rows) {
        int64_t R = t->N - first < p->chunk.rows ? t->N - first : p->chunk.rows;
        pta_head_logits(team, p->m, t, &p->chunk, t->source + first, R, p->chunk.logits);
        pta_logprobs_forward(team, p->logprobs + first, p->entropies + first, p->chunk.lse, p->chunk.logits,
                             t->target + first, R, c->V, 1.0f / t->temperature);
        pta_team_barrier(team);
        if (team->id == 0) p->code = judge(p, first, R, err);
        if (pta_team_interrupted(team, err)) return true;
        if (p->code) return true;
        if (p->loss) chunk_backward(team, p, first, R);
    }
    pta_team_barrier(team);
    return false;
}
