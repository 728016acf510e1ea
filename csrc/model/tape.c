#include "tape.h"

#include <string.h>

/* Hands out pieces of the arena; with a NULL base it only counts. */
typedef struct {
    float *base;
    int64_t used;
} cursor;

static float *take(cursor *c, int64_t floats) {
    float *p = c->base ? c->base + c->used : NULL;
    c->used += (floats + 15) / 16 * 16;
    return p;
}

static void lay_out(pta_tape *t, cursor *c, const pta_config *k, int64_t T) {
    for (int64_t l = 0; l < t->num_layers; l++) {
        pta_activations *a = &t->layers[l];
        a->input = take(c, T * k->C);
        a->rstd_input = take(c, T);
        a->qkv = take(c, T * pta_qkv_width(k));
        a->raw = k->qk_norm ? take(c, T * (k->H + k->K) * k->D) : NULL;
        a->rstd_heads = k->qk_norm ? take(c, T * (k->H + k->K)) : NULL;
        a->attention = take(c, T * k->H * k->D);
        a->lse = take(c, T * k->H);
        a->middle = take(c, T * k->C);
        a->rstd_middle = take(c, T);
        a->gate_up = take(c, T * 2 * k->F);
    }
    t->output = take(c, T * k->C);
    t->normed = take(c, T * k->C);
    t->product = take(c, T * k->F);
}

pta_code pta_tape_create(pta_tape **out, pta_model *m, const pta_forest *f, int64_t num_targets, bool keep,
                         pta_error *err) {
    pta_tape *t = pta_alloc(1, sizeof *t);
    if (!t) return pta_fail(err, PTA_E_MEMORY, "no memory for a tape");
    t->num_layers = keep ? m->config.L : 1;
    t->forest = f;
    t->N = num_targets;
    t->version = m->version;
    t->layers = pta_alloc(t->num_layers, sizeof(pta_activations));
    t->source = pta_alloc_uninit(num_targets, sizeof(int32_t));
    t->target = pta_alloc_uninit(num_targets, sizeof(int32_t));
    t->lse = pta_alloc_uninit(num_targets, sizeof(float));
    t->entropy = pta_alloc_uninit(num_targets, sizeof(float));
    cursor count = {NULL, 0};
    if (t->layers) {
        lay_out(t, &count, &m->config, f->T);
        t->memory = m->tape_memory;
        m->tape_memory = (pta_buffer){NULL, 0};
        pta_buffer_reserve(&t->memory, count.used, NULL);
    }
    if (t->memory.capacity < count.used || !t->memory.data || !t->layers || !t->source || !t->target || !t->lse ||
        !t->entropy) {
        pta_tape_free(t, m);
        return pta_fail(err, PTA_E_MEMORY,
                        "no memory for the activations of %d tokens: %.2f GiB; use smaller batches "
                        "(max_tokens_per_micro_batch)",
                        f->T, (double)count.used * 4 / (1 << 30));
    }
    lay_out(t, &(cursor){t->memory.data, 0}, &m->config, f->T);
    *out = t;
    return PTA_OK;
}

void pta_tape_free(pta_tape *t, pta_model *m) {
    if (!t) return;
    if (m->tape_memory.capacity < t->memory.capacity) { /* keep the larger of two */
        pta_buffer_free(&m->tape_memory);
        m->tape_memory = t->memory;
    } else {
        pta_buffer_free(&t->memory);
    }
    pta_free(t->layers);
    pta_free(t->source);
    pta_free(t->target);
    pta_free(t->lse);
    pta_free(t->entropy);
    pta_free(t);
}
