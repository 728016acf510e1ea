/* The model's table of parameters and its memory. The table is written once, in `describe`, and everything else (the
 * arena's layout, the pointers of a layer, names seen from Python, decay) follows from it. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tape.h"
#include "vision.h"

enum { PAD = 16 }; /* a group of tensors starts on a 64-byte line */

/* Add one tensor at the arena's end. `join`: directly behind the one before, so that both are one matrix. */
static void add(pta_model *m, const char *name, int64_t rows, int64_t cols, bool join) {
    if (cols && m->config.frozen) return; /* model/frozen.c has it */
    if (!join) m->num_floats = (m->num_floats + PAD - 1) / PAD * PAD;
    pta_param *p = &m->params[m->num_params++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->offset = m->num_floats;
    p->rows = rows;
    p->cols = cols;
    p->decay = cols > 0;
    p->packed = cols > 0 && (m->num_params > 1 || m->config.tied); /* the embedding only where it is the head */
    int64_t size = rows * (cols ? cols : 1);
    m->num_floats += size;
    m->num_elements += size;
}

static void add_layer(pta_model *m, int64_t layer, const char *suffix, int64_t rows, int64_t cols, bool join) {
    char name[sizeof m->params->name];
    snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, suffix);
    add(m, name, rows, cols, join);
}

/* A tensor of the vision tower: its matrices are packed apart (vision/tower.h). */
static void add_vision(void *context, const char *name, int64_t rows, int64_t cols, bool join, int64_t matrix, int64_t first) {
    pta_model *m = context;
    const int64_t before = m->num_params;
    (void)matrix, (void)first;
    add(m, name, rows, cols, join);
    if (m->num_params > before) m->params[before].packed = false;
}

static void describe(pta_model *m) {
    const pta_config *c = &m->config;
    int64_t q = c->H * c->D, kv = c->K * c->D;
    add(m, "model.embed_tokens.weight", c->V, c->C, false);
    for (int64_t l = 0; l < c->L; l++) {
        add_layer(m, l, "input_layernorm.weight", c->C, 0, false);
        add_layer(m, l, "self_attn.q_proj.weight", q, c->C, false);
        add_layer(m, l, "self_attn.k_proj.weight", kv, c->C, true);
        add_layer(m, l, "self_attn.v_proj.weight", kv, c->C, true);
        if (c->qkv_bias) {
            add_layer(m, l, "self_attn.q_proj.bias", q, 0, false);
            add_layer(m, l, "self_attn.k_proj.bias", kv, 0, true);
            add_layer(m, l, "self_attn.v_proj.bias", kv, 0, true);
        }
        if (c->qk_norm) {
            add_layer(m, l, "self_attn.q_norm.weight", c->D, 0, false);
            add_layer(m, l, "self_attn.k_norm.weight", c->D, 0, false);
        }
        add_layer(m, l, "self_attn.o_proj.weight", c->C, q, false);
        add_layer(m, l, "post_attention_layernorm.weight", c->C, 0, false);
        add_layer(m, l, "mlp.gate_proj.weight", c->F, c->C, false);
        add_layer(m, l, "mlp.up_proj.weight", c->F, c->C, true);
        add_layer(m, l, "mlp.down_proj.weight", c->C, c->F, false);
    }
    add(m, "model.norm.weight", c->C, 0, false);
    if (!c->tied) add(m, "lm_head.weight", c->V, c->C, false);
    m->decoder.params = m->num_params, m->decoder.floats = m->num_floats, m->decoder.elements = m->num_elements;
    pta_tower_describe(&c->vision, add_vision, m);
}

/* Allocate an arena, of the decoder alone or with the vision tower, and set its pointers by walking the table in the order
 * of `describe`. */
static pta_code make_tensors(pta_tensors *t, const pta_model *m, bool tower, pta_error *err) {
    const pta_config *c = &m->config;
    const int64_t floats = tower ? m->num_floats : m->decoder.floats;
    float *arena = pta_alloc(floats, sizeof(float));
    pta_layer *layers = pta_alloc(c->L, sizeof(pta_layer));
    if (!arena || !layers) {
        pta_free(arena);
        pta_free(layers);
        return pta_fail(err, PTA_E_MEMORY, "no memory for %.2f GiB of parameters", (double)floats * 4 / (1 << 30));
    }
    const pta_param *p = m->params;
    const bool frozen = c->frozen;
    t->arena = arena;
    t->layers = layers;
    if (!frozen) t->embed = arena + (p++)->offset;
    for (int64_t l = 0; l < c->L; l++) {
        pta_layer *y = &layers[l];
        y->input_norm = arena + (p++)->offset;
        if (!frozen) y->qkv = arena + p->offset, p += 3;
        if (c->qkv_bias) y->qkv_bias = arena + p->offset, p += 3;
        if (c->qk_norm) y->q_norm = arena + (p++)->offset, y->k_norm = arena + (p++)->offset;
        if (!frozen) y->o = arena + (p++)->offset;
        y->post_norm = arena + (p++)->offset;
        if (frozen) continue;
        y->gate_up = arena + p->offset, p += 2;
        y->down = arena + (p++)->offset;
    }
    t->norm = arena + (p++)->offset;
    t->head = frozen ? NULL : c->tied ? t->embed : arena + p->offset;
    return tower ? pta_vision_bind(&t->tower, m, arena, m->decoder.params, err) : PTA_OK;
}

static pta_code check_config(const pta_config *c, pta_error *err) {
    const struct {
        const char *name;
        int64_t value, limit;
    } sizes[] = {{"vocab_size", c->V, 1 << 24},          {"hidden_size", c->C, 1 << 20},
                 {"intermediate_size", c->F, 1 << 22},   {"num_hidden_layers", c->L, 4096},
                 {"num_attention_heads", c->H, 1 << 16}, {"num_key_value_heads", c->K, 1 << 16},
                 {"head_dim", c->D, 2048}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].limit)
            return pta_fail(err, PTA_E_VALUE, "%s is %lld, must be 1 to %lld", sizes[i].name, (long long)sizes[i].value,
                            (long long)sizes[i].limit);
    if (c->H % c->K)
        return pta_fail(err, PTA_E_VALUE, "num_attention_heads (%lld) must be a multiple of num_key_value_heads (%lld)",
                        (long long)c->H, (long long)c->K);
    if (pta_qkv_width(c) > 1 << 20)
        return pta_fail(err, PTA_E_VALUE, "(num_attention_heads + 2 num_key_value_heads) head_dim is %lld, must be at most %d",
                        (long long)pta_qkv_width(c), 1 << 20);
    if (c->vision.depth && c->vision.O != c->C)
        return pta_fail(err, PTA_E_VALUE, "vision: out_hidden_size is %lld, must be hidden_size (%lld)", (long long)c->vision.O,
                        (long long)c->C);
    if (c->vision.depth) {
        pta_code code = pta_tower_check(&c->vision, err);
        if (code) return code;
    }
    if (c->D % 2) return pta_fail(err, PTA_E_VALUE, "head_dim is %lld, must be even", (long long)c->D);
    if (!(c->eps > 0.0f) || !isfinite(c->eps))
        return pta_fail(err, PTA_E_VALUE, "rms_norm_eps is %g, must be positive and finite", (double)c->eps);
    const int64_t pairs = c->rope_sections[0] + c->rope_sections[1] + c->rope_sections[2];
    for (int i = 0; i < 3; i++)
        if (c->rope_sections[i] < 0 || (pairs && pairs != c->D / 2))
            return pta_fail(err, PTA_E_VALUE, "rope_sections are %lld, %lld, %lld, must add up to head_dim/2 (%lld)",
                            (long long)c->rope_sections[0], (long long)c->rope_sections[1], (long long)c->rope_sections[2],
                            (long long)c->D / 2);
    for (int64_t i = 0; i < c->D / 2; i++)
        if (!isfinite(c->inv_freq[i])) return pta_fail(err, PTA_E_VALUE, "inv_freq[%lld] is not finite", (long long)i);
    return PTA_OK;
}

pta_code pta_model_plan(pta_model **out, const pta_config *config, pta_error *err) {
    pta_code code = check_config(config, err);
    if (code) return code;
    pta_model *m = pta_alloc(1, sizeof *m);
    if (!m) return pta_fail(err, PTA_E_MEMORY, "no memory for a model");
    m->config = *config;
    m->config.vision.dtype = config->dtype;
    m->config.vision.frozen = config->frozen;
    m->config.inv_freq = pta_alloc_uninit(config->D / 2, sizeof(double));
    m->params = pta_alloc(3 + 14 * config->L + 6 + 12 * config->vision.depth, sizeof(pta_param));
    if (!m->config.inv_freq || !m->params) {
        pta_model_free(m);
        return pta_fail(err, PTA_E_MEMORY, "no memory for a model's table of parameters");
    }
    memcpy(m->config.inv_freq, config->inv_freq, (size_t)(config->D / 2) * sizeof(double));
    describe(m);
    if (m->config.frozen) code = pta_frozen_plan(m, err);
    if (code)
        pta_model_free(m);
    else
        *out = m;
    return code;
}

pta_code pta_model_create(pta_model **out, const pta_config *config, pta_error *err) {
    pta_model *m = NULL;
    pta_code code = pta_model_plan(&m, config, err);
    if (code) return code;
    code = make_tensors(&m->weights, m, true, err);
    if (!code && m->config.frozen) code = pta_frozen_create(m, err);
    if (code)
        pta_model_free(m);
    else
        *out = m;
    return code;
}

void pta_model_free(pta_model *m) {
    if (!m) return;
    pta_model_remove_adapter(m);
    pta_tape_free(m->tape, m);
    pta_buffer_free(&m->tape_memory);
    pta_buffer_free(&m->head_memory);
    pta_buffer_free(&m->backward_memory);
    pta_buffer_free(&m->input_gradients);
    pta_frozen_free(&m->frozen);
    pta_vision_free(m);
    pta_free(m->weights.arena);
    pta_free(m->weights.layers);
    pta_free(m->packed.memory);
    pta_free(m->packed.layers);
    pta_model_drop_grads(m);
    pta_free(m->rope);
    pta_free(m->config.inv_freq);
    pta_free(m->params);
    pta_free(m);
}

/* Lay out the packed matrices, or with a NULL base only count. */
static void packed_layout(pta_packed_tensors *t, pta_cursor *cursor, const pta_config *c) {
    int64_t q = c->H * c->D;
    for (int64_t l = 0; l < c->L; l++) {
        pta_packed_layer *p = &t->layers[l];
        *p = (pta_packed_layer){.qkv = {.dtype = c->dtype, .N = pta_qkv_width(c), .K = c->C},
                                .o = {.dtype = c->dtype, .N = c->C, .K = q},
                                .gate_up = {.dtype = c->dtype, .N = 2 * c->F, .K = c->C},
                                .down = {.dtype = c->dtype, .N = c->C, .K = c->F}};
        pta_packed *matrices[] = {&p->qkv, &p->o, &p->gate_up, &p->down};
        for (int i = 0; i < 4; i++)
            matrices[i]->data = pta_take(cursor, pta_packed_bytes(c->dtype, matrices[i]->N, matrices[i]->K));
    }
    t->head = (pta_packed){.dtype = c->dtype, .N = c->V, .K = c->C};
    t->head.data = pta_take(cursor, pta_packed_bytes(c->dtype, c->V, c->C));
}

/* Bytes of all packed matrices. */
static int64_t packed_bytes(const pta_config *c) {
    pta_packed_layer layer;
    pta_packed_tensors one = {.layers = &layer};
    pta_config shallow = *c;
    shallow.L = 1;
    pta_cursor cursor = {0};
    packed_layout(&one, &cursor, &shallow);
    int64_t head = pta_packed_bytes(c->dtype, c->V, c->C);
    return (cursor.used - head) * c->L + head;
}

pta_model_memory pta_model_get_memory(const pta_model *m) {
    const pta_trainable trained = pta_model_trainable(m);
    const int64_t of_tower = m->config.vision.depth ? pta_tower_store_bytes(&m->config.vision) : 0;
    const pta_adapter *a = m->adapter;
    int64_t arena = m->num_floats * (int64_t)sizeof(float) + m->frozen.bytes + (m->config.frozen ? of_tower : 0);
    const int64_t own = m->config.frozen ? 0 : packed_bytes(&m->config), own_tower = m->config.frozen ? 0 : of_tower;
    const int64_t packed = own + own_tower + (a ? a->packed_bytes : 0);
    const int64_t gradients = trained.num_floats * (int64_t)sizeof(float);
    if (a) arena += gradients;
    int64_t kept = m->tape_memory.capacity + m->head_memory.capacity + m->backward_memory.capacity +
                   m->vision_memory.capacity + m->input_gradients.capacity;
    const int64_t now = (m->packed.memory ? own : 0) + (m->tower.memory ? own_tower : 0) +
                        (a && a->packed_memory ? a->packed_bytes : 0);
    pta_model_memory memory = {arena, now, trained.grads ? gradients : 0, kept * (int64_t)sizeof(float), 0};
    memory.to_allocate = (packed - memory.packed) + (gradients - memory.gradients);
    return memory;
}

pta_code pta_model_need_packed(pta_model *m, pta_error *err) {
    pta_packed_tensors *t = &m->packed;
    if (t->memory || m->config.frozen) return PTA_OK;
    pta_cursor cursor = {0};
    if (!t->layers) t->layers = pta_alloc(m->config.L, sizeof(pta_packed_layer));
    if (t->layers) {
        packed_layout(t, &cursor, &m->config);
        t->memory = pta_alloc_uninit(cursor.used, 1);
    }
    if (!t->memory)
        return pta_fail(err, PTA_E_MEMORY, "no memory for %.2f GiB of packed weights", (double)cursor.used / (1 << 30));
    packed_layout(t, &(pta_cursor){t->memory, 0}, &m->config);
    m->touched = true;
    return PTA_OK;
}

static void pack(const pta_team *team, void *arg) {
    pta_model *m = arg;
    for (int64_t l = 0; l < m->config.L; l++) {
        const pta_layer *w = &m->weights.layers[l];
        pta_packed_layer *p = &m->packed.layers[l];
        pta_linear_pack(team, &p->qkv, w->qkv);
        pta_linear_pack(team, &p->o, w->o);
        pta_linear_pack(team, &p->gate_up, w->gate_up);
        pta_linear_pack(team, &p->down, w->down);
    }
    pta_linear_pack(team, &m->packed.head, m->weights.head);
}

bool pta_model_packed_fresh(const pta_model *m) {
    return m->packed.memory && !m->touched && m->writers == 0 && m->packed.version == m->version;
}

pta_code pta_model_ready(pta_model *m, pta_error *err) {
    pta_code code = pta_model_need_packed(m, err);
    if (!code && !m->config.frozen && !pta_model_packed_fresh(m)) {
        code = pta_team_run(pack, m, 0, err);
        if (code) return code;
        m->packed.version = m->version;
        m->touched = false;
    }
    return code ? code : pta_adapter_ready(m, err);
}

void pta_model_changed_adapter(pta_model *m) {
    const bool fresh = m->packed.version == m->version;
    m->version++;
    if (fresh) m->packed.version = m->version;
}

pta_trainable pta_model_trainable(const pta_model *m) {
    const pta_adapter *a = m->adapter;
    if (a) return (pta_trainable){a->num_params, a->num_floats, a->num_elements, a->params, a->weights, a->grads};
    if (m->train_tower)
        return (pta_trainable){m->num_params, m->num_floats, m->num_elements, m->params, m->weights.arena, m->grads.arena};
    return (pta_trainable){m->decoder.params, m->decoder.floats, m->decoder.elements, m->params, m->weights.arena, m->grads.arena};
}

pta_code pta_model_need_grads(pta_model *m, pta_error *err) {
    pta_code code = PTA_OK;
    if (pta_model_trainable(m).grads) return code;
    if (m->config.frozen && !m->adapter)
        return pta_fail(err, PTA_E_STATE, "the weights are frozen: give the model an adapter to train");
    if (m->adapter) {
        m->adapter->grads = pta_alloc(m->adapter->num_floats, sizeof(float));
        if (!m->adapter->grads) code = pta_fail(err, PTA_E_MEMORY, "no memory for the gradients of an adapter");
    } else {
        code = make_tensors(&m->grads, m, m->train_tower, err);
        if (code) pta_model_drop_grads(m);
    }
    m->grads_zero = !code;
    return code;
}

void pta_model_drop_grads(pta_model *m) {
    pta_free(m->grads.arena);
    pta_free(m->grads.layers);
    pta_tower_tensors_free(&m->grads.tower);
    m->grads = (pta_tensors){0};
    m->grads_zero = m->grads_seen = false;
}

void pta_model_zero_grads(pta_model *m) {
    const pta_trainable trained = pta_model_trainable(m);
    if (!trained.grads || m->grads_zero) return;
    memset(trained.grads, 0, (size_t)trained.num_floats * sizeof(float));
    m->grads_zero = !m->grads_seen;
}

static int64_t rope_capacity(const pta_model *m, int64_t count) {
    int64_t capacity = m->rope_capacity ? m->rope_capacity : 256;
    while (capacity < count) capacity *= 2;
    return capacity;
}

int64_t pta_model_rope_bytes(const pta_model *m, int64_t count) {
    return rope_capacity(m, count) * m->config.D * (int64_t)sizeof(float);
}

pta_code pta_model_need_rope(pta_model *m, int64_t count, pta_error *err) {
    if (count <= m->rope_capacity) return PTA_OK;
    const int64_t D = m->config.D, capacity = rope_capacity(m, count);
    float *rope = pta_alloc_uninit(capacity * D, sizeof(float));
    if (!rope) return pta_fail(err, PTA_E_MEMORY, "no memory for rotary angles of %lld positions", (long long)capacity);
    for (int64_t t = 0; t < capacity; t++)
        for (int64_t i = 0; i < D / 2; i++) {
            double angle = (double)t * m->config.inv_freq[i];
            rope[t * D + i] = (float)cos(angle);
            rope[t * D + D / 2 + i] = (float)sin(angle);
        }
    pta_free(m->rope);
    m->rope = rope;
    m->rope_capacity = capacity;
    return PTA_OK;
}

void pta_model_drop_tape(pta_model *m) {
    pta_tape_free(m->tape, m);
    m->tape = NULL;
}

int64_t pta_model_num_targets(const pta_model *m) { return m->tape ? m->tape->N : -1; }
