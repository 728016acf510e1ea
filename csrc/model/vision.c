#include "vision.h"

#include <string.h>

/* The next tensor of the table. */
typedef struct {
    const pta_param *next;
    float *arena;
} table_walk;

static float *next_tensor(void *context) {
    table_walk *w = context;
    return w->arena + (w->next++)->offset;
}

pta_code pta_vision_bind(pta_tower_tensors *t, const pta_model *m, float *arena, int64_t first, pta_error *err) {
    if (!m->config.vision.depth) return PTA_OK;
    return pta_tower_tensors_create(t, &m->config.vision, next_tensor, &(table_walk){m->params + first, arena}, err);
}

static void drop_seen(pta_model *m) {
    if (!m->seen) return;
    pta_windows_free(&m->seen->tape.windows);
    pta_buffer_free(&m->seen->memory);
    pta_free(m->seen);
    m->seen = NULL;
}

void pta_vision_free(pta_model *m) {
    drop_seen(m);
    pta_tower_tensors_free(&m->weights.tower);
    pta_tower_store_free(&m->tower);
    pta_buffer_free(&m->vision_memory);
}

pta_code pta_model_train_tower(pta_model *m, bool train, pta_error *err) {
    if (!m->config.vision.depth) return pta_fail(err, PTA_E_STATE, "the model has no vision tower");
    if (train && (m->config.frozen || m->adapter))
        return pta_fail(err, PTA_E_STATE, "the vision tower cannot be trained beside %s",
                        m->adapter ? "an adapter: remove it first" : "frozen weights");
    if (m->train_tower == train) return PTA_OK;
    pta_model_drop_tape(m);
    pta_model_drop_grads(m);
    drop_seen(m);
    m->train_tower = train;
    return PTA_OK;
}

static void pack(const pta_team *team, void *arg) {
    pta_model *m = arg;
    pta_tower_pack(team, &m->tower, &m->config.vision, &m->weights.tower);
}

/* Packed copies that agree with the masters. */
static pta_code ready(pta_model *m, pta_error *err) {
    pta_code code = PTA_OK;
    if (!m->tower.memory) {
        code = pta_tower_store_create(&m->tower, &m->config.vision, err);
        m->tower_stale = true;
    }
    if (code || m->config.vision.frozen || !(m->tower_stale || m->writers)) return code;
    code = pta_team_run(pack, m, 0, err);
    if (!code) m->tower_stale = false;
    return code;
}

typedef struct {
    pta_tower tower;
    pta_tower_tape *tape;
    const pta_tower_scratch *scratch; /* NULL: forward */
    float *out;
    const float *in;
    bool stopped;
    pta_error *err;
} computation;

static void compute(const pta_team *team, void *arg) {
    computation *c = arg;
    pta_error *err = team->id == 0 ? c->err : NULL;
    const bool stop = c->scratch ? pta_tower_backward(team, &c->tower, c->tape, c->scratch, c->in, err)
                                 : pta_tower_forward(team, &c->tower, c->tape, c->out, c->in, err);
    if (team->id == 0) c->stopped = stop;
}

static pta_code run(computation *c, pta_model *m, pta_error *err) {
    c->tower = (pta_tower){&m->config.vision, &m->weights.tower, c->scratch ? &m->grads.tower : NULL, &m->tower};
    c->err = err;
    pta_code code = pta_team_run(compute, c, 0, err);
    return code ? code : c->stopped ? err->code : PTA_OK;
}

static pta_code forward(pta_model *m, pta_tower_tape *t, pta_buffer *memory, const float *pixels, float *out, pta_error *err) {
    pta_cursor counter = {0};
    pta_tower_tape_layout(t, &counter, &m->config.vision);
    char *base = (char *)pta_buffer_reserve(memory, (counter.used + 3) / 4, err);
    if (!base) return err->code;
    pta_tower_tape_layout(t, &(pta_cursor){base, 0}, &m->config.vision);
    return run(&(computation){.tape = t, .out = out, .in = pixels}, m, err);
}

/* A tape that backward will use: memory of its own. */
static pta_code forward_kept(pta_model *m, const int32_t (*grids)[2], int64_t images, const float *pixels, float *out,
                             pta_error *err) {
    pta_seen *seen = pta_alloc(1, sizeof *seen);
    if (!seen) return pta_fail(err, PTA_E_MEMORY, "no memory for a tape");
    m->seen = seen;
    seen->version = m->version;
    seen->tape.keep = true;
    pta_code code = pta_windows_create(&seen->tape.windows, &m->config.vision, grids, images, err);
    if (!code) code = forward(m, &seen->tape, &seen->memory, pixels, out, err);
    if (code) drop_seen(m);
    return code;
}

pta_code pta_model_see(pta_model *m, const float *pixels, const int32_t (*grids)[2], int64_t images, bool keep, float *out,
                       pta_error *err) {
    pta_tower_tape t = {0};
    if (!m->config.vision.depth) return pta_fail(err, PTA_E_STATE, "the model has no vision tower");
    if (keep && !m->train_tower)
        return pta_fail(err, PTA_E_STATE, "the vision tower is frozen, so nothing is kept for backward: train_tower(True) first");
    drop_seen(m);
    pta_code code = ready(m, err);
    if (code) return code;
    if (keep) return forward_kept(m, grids, images, pixels, out, err);
    code = pta_windows_create(&t.windows, &m->config.vision, grids, images, err);
    if (code) return code;
    code = forward(m, &t, &m->vision_memory, pixels, out, err);
    pta_windows_free(&t.windows);
    return code;
}

int64_t pta_model_see_bytes(const pta_model *m, const int32_t (*grids)[2], int64_t images, bool keep) {
    pta_tower_tape t = {.keep = keep};
    pta_tower_scratch s;
    pta_cursor counter = {0};
    if (pta_windows_create(&t.windows, &m->config.vision, grids, images, &(pta_error){0})) return -1;
    pta_tower_tape_layout(&t, &counter, &m->config.vision);
    if (keep) pta_tower_scratch_layout(&s, &counter, &m->config.vision, &t.windows);
    pta_windows_free(&t.windows);
    return counter.used;
}

int64_t pta_model_seen_rows(const pta_model *m) {
    const int64_t side = m->config.vision.merge;
    return m->seen ? m->seen->tape.windows.T / (side * side) : -1;
}

pta_code pta_model_see_backward(pta_model *m, const float *dout, pta_error *err) {
    pta_tower_scratch s;
    pta_cursor counter = {0};
    pta_seen *seen = m->seen;
    if (!seen) return pta_fail(err, PTA_E_STATE, "see_backward without a forward: call see(..., keep=True) first");
    if (seen->version != m->version)
        return pta_fail(err, PTA_E_STATE, "the weights changed since see(..., keep=True): call it again");
    pta_code code = pta_model_need_grads(m, err);
    pta_tower_scratch_layout(&s, &counter, &m->config.vision, &seen->tape.windows);
    char *base = code ? NULL : (char *)pta_buffer_reserve(&m->vision_memory, (counter.used + 3) / 4, err);
    if (!base) return err->code;
    pta_tower_scratch_layout(&s, &(pta_cursor){base, 0}, &m->config.vision, &seen->tape.windows);
    m->grads_zero = false;
    code = run(&(computation){.tape = &seen->tape, .scratch = &s, .in = dout}, m, err);
    drop_seen(m);
    return code;
}
