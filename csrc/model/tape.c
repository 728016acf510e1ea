#include "tape.h"

#include <string.h>

#include "../ops/attention.h"

static void take_layer(pta_activations *a, pta_cursor *c, const pta_config *k, int64_t T) {
    a->rstd_input = pta_take_floats(c, T);
    a->qkv = pta_take_matrix(c, T, pta_qkv_width(k), k->dtype);
    a->raw = k->qk_norm ? pta_take_matrix(c, T, (k->H + k->K) * k->D, k->dtype) : (pta_matrix){0};
    a->rstd_heads = k->qk_norm ? pta_take_floats(c, T * (k->H + k->K)) : NULL;
    a->attention = pta_take_matrix(c, T, k->H * k->D, k->dtype);
    a->lse = pta_take_floats(c, T * k->H);
    a->rstd_middle = pta_take_floats(c, T);
    a->gate_up = pta_take_matrix(c, T, 2 * k->F, k->dtype);
}

/* Nothing kept: one residual stream that every layer adds to, in place. Otherwise every layer has its input, and a
 * middle of its own where that is kept. */
static void lay_out(pta_tape *t, pta_cursor *c, const pta_model *m) {
    const pta_config *k = &m->config;
    int64_t T = t->forest->T;
    t->output = pta_take_floats(c, T * k->C);
    float *middle = t->keep == PTA_KEEP_INPUTS ? pta_take_floats(c, T * k->C) : t->output;
    pta_activations shared = {0};
    if (t->keep != PTA_KEEP_ALL) take_layer(&shared, c, k, T);
    for (int64_t l = 0; l < k->L; l++) {
        pta_activations *a = &t->layers[l];
        *a = shared;
        if (t->keep == PTA_KEEP_ALL) take_layer(a, c, k, T);
        a->input = t->keep == PTA_KEEP_NOTHING ? t->output : pta_take_floats(c, T * k->C);
        a->middle = t->keep == PTA_KEEP_ALL ? pta_take_floats(c, T * k->C) : middle;
    }
    t->normed = pta_take_matrix(c, T, k->C, k->dtype);
    t->product = pta_take_matrix(c, T, k->F, k->dtype);
    t->projected = k->dtype == PTA_F32 ? NULL : pta_take_floats(c, T * pta_qkv_width(k));
    t->pages = pta_take(c, pta_attention_pages(&t->rows, k->K, k->D));
    pta_adapter_layout(&t->adapter, c, m, T);
    if (t->forest->extra.axes) pta_rotation_layout(&t->rotation_room, c, k, T);
}

static int64_t count_bytes(pta_tape *t, const pta_model *m) {
    pta_cursor counter = {0};
    lay_out(t, &counter, m);
    return counter.used;
}

int64_t pta_tape_bytes(const pta_model *m, const pta_forest *f, pta_keep keep) {
    pta_tape t = {.forest = f, .rows = pta_forest_rows(f), .keep = keep};
    t.layers = pta_alloc(m->config.L, sizeof(pta_activations));
    if (!t.layers) return -1;
    int64_t bytes = count_bytes(&t, m);
    pta_free(t.layers);
    return bytes;
}

pta_code pta_tape_create(pta_tape **out, pta_model *m, const pta_forest *f, int64_t num_targets, pta_keep keep,
                         pta_error *err) {
    pta_tape *t = pta_alloc(1, sizeof *t);
    if (!t) return pta_fail(err, PTA_E_MEMORY, "no memory for a tape");
    t->keep = keep;
    t->forest = f;
    t->rows = pta_forest_rows(f);
    t->N = num_targets;
    t->version = m->version;
    t->layers = pta_alloc(m->config.L, sizeof(pta_activations));
    t->source = pta_alloc_uninit(num_targets, sizeof(int32_t));
    t->target = pta_alloc_uninit(num_targets, sizeof(int32_t));
    int64_t floats = 0;
    if (t->layers) {
        floats = (count_bytes(t, m) + 3) / 4;
        t->memory = m->tape_memory;
        m->tape_memory = (pta_buffer){NULL, 0};
        pta_buffer_reserve(&t->memory, floats, NULL);
    }
    if (t->memory.capacity < floats || !t->memory.data || !t->layers || !t->source || !t->target) {
        pta_tape_free(t, m);
        return pta_fail(err, PTA_E_MEMORY,
                        "no memory for the activations of %d tokens: %.2f GiB; use smaller batches "
                        "(max_tokens_per_micro_batch)",
                        f->T, (double)floats * 4 / (1 << 30));
    }
    lay_out(t, &(pta_cursor){(char *)t->memory.data, 0}, m);
    t->rotation = f->extra.axes ? pta_rotation_of_axes(&t->rotation_room, m, f->extra.axes, f->T, f->T)
                                : (pta_rotation){m->rope, f->position};
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
    pta_free(t);
}
