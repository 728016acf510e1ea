#include "tower.h"

#include <stdio.h>
#include <string.h>

void pta_tower_shape(const pta_tower_config *c, int64_t matrix, int64_t *N, int64_t *K) {
    const int64_t joined = c->merge * c->merge * c->C;
    const int64_t block[PTA_TOWER_PER_BLOCK][2] = {{3 * c->C, c->C}, {c->C, c->C}, {2 * c->F, c->C}, {c->C, c->F}};
    const int64_t ends[3][2] = {{c->C, c->patch}, {joined, joined}, {c->O, joined}};
    const int64_t merger = matrix - pta_tower_merger_matrix(c, 0);
    const int64_t *shape = matrix == 0 ? ends[0] : merger >= 0 ? ends[1 + merger] : block[(matrix - 1) % PTA_TOWER_PER_BLOCK];
    *N = shape[0], *K = shape[1];
}

/* The table -------------------------------------------------------------------------------------------------------- */

typedef struct {
    pta_tower_visit visit;
    void *context;
    int64_t block;
} walk;

static void in_block(const walk *w, const char *suffix, int64_t rows, int64_t cols, bool join, int64_t matrix, int64_t first) {
    char name[80];
    snprintf(name, sizeof name, "visual.blocks.%lld.%s", (long long)w->block, suffix);
    w->visit(w->context, name, rows, cols, join, matrix < 0 ? -1 : pta_tower_block_matrix(w->block, matrix), first);
}

void pta_tower_describe(const pta_tower_config *c, pta_tower_visit visit, void *context) {
    if (!c->depth) return;
    const int64_t joined = c->merge * c->merge * c->C, merger = pta_tower_merger_matrix(c, 0);
    visit(context, "visual.patch_embed.proj.weight", c->C, c->patch, false, 0, 0);
    for (int64_t b = 0; b < c->depth; b++) {
        const walk w = {visit, context, b};
        in_block(&w, "norm1.weight", c->C, 0, false, -1, 0);
        in_block(&w, "norm2.weight", c->C, 0, false, -1, 0);
        in_block(&w, "attn.qkv.weight", 3 * c->C, c->C, false, PTA_TOWER_QKV, 0);
        in_block(&w, "attn.qkv.bias", 3 * c->C, 0, false, -1, 0);
        in_block(&w, "attn.proj.weight", c->C, c->C, false, PTA_TOWER_PROJ, 0);
        in_block(&w, "attn.proj.bias", c->C, 0, false, -1, 0);
        in_block(&w, "mlp.gate_proj.weight", c->F, c->C, false, PTA_TOWER_GATE_UP, 0);
        in_block(&w, "mlp.up_proj.weight", c->F, c->C, true, PTA_TOWER_GATE_UP, c->F);
        in_block(&w, "mlp.gate_proj.bias", c->F, 0, false, -1, 0);
        in_block(&w, "mlp.up_proj.bias", c->F, 0, true, -1, 0);
        in_block(&w, "mlp.down_proj.weight", c->C, c->F, false, PTA_TOWER_DOWN, 0);
        in_block(&w, "mlp.down_proj.bias", c->C, 0, false, -1, 0);
    }
    visit(context, "visual.merger.ln_q.weight", c->C, 0, false, -1, 0);
    visit(context, "visual.merger.mlp.0.weight", joined, joined, false, merger, 0);
    visit(context, "visual.merger.mlp.0.bias", joined, 0, false, -1, 0);
    visit(context, "visual.merger.mlp.2.weight", c->O, joined, false, merger + 1, 0);
    visit(context, "visual.merger.mlp.2.bias", c->O, 0, false, -1, 0);
}

pta_code pta_tower_tensors_create(pta_tower_tensors *t, const pta_tower_config *c, float *(*next)(void *context),
                                  void *context, pta_error *err) {
    *t = (pta_tower_tensors){.matrices = pta_alloc(pta_tower_matrices(c), sizeof *t->matrices),
                             .blocks = pta_alloc(c->depth, sizeof *t->blocks)};
    if (!t->matrices || !t->blocks) {
        pta_tower_tensors_free(t);
        return pta_fail(err, PTA_E_MEMORY, "no memory for a vision tower's table of parameters");
    }
    float **m = t->matrices;
    const bool trained = !c->frozen;
    if (trained) m[0] = next(context);
    for (int64_t b = 0; b < c->depth; b++) {
        pta_tower_block *block = &t->blocks[b];
        block->norm1 = next(context);
        block->norm2 = next(context);
        if (trained) m[pta_tower_block_matrix(b, PTA_TOWER_QKV)] = next(context);
        block->qkv_bias = next(context);
        if (trained) m[pta_tower_block_matrix(b, PTA_TOWER_PROJ)] = next(context);
        block->proj_bias = next(context);
        if (trained) m[pta_tower_block_matrix(b, PTA_TOWER_GATE_UP)] = next(context), next(context); /* up follows gate */
        block->gate_up_bias = next(context);
        next(context);
        if (trained) m[pta_tower_block_matrix(b, PTA_TOWER_DOWN)] = next(context);
        block->down_bias = next(context);
    }
    t->norm = next(context);
    if (trained) m[pta_tower_merger_matrix(c, 0)] = next(context);
    t->bias1 = next(context);
    if (trained) m[pta_tower_merger_matrix(c, 1)] = next(context);
    t->bias2 = next(context);
    return PTA_OK;
}

void pta_tower_tensors_free(pta_tower_tensors *t) {
    pta_free(t->matrices);
    pta_free(t->blocks);
    *t = (pta_tower_tensors){0};
}

/* Packed or frozen matrices ---------------------------------------------------------------------------------------- */

/* Shapes, and with a base pointers; with a NULL store only counts. */
static void lay_out(pta_tower_matrices_store *s, pta_cursor *cursor, const pta_tower_config *c) {
    for (int64_t i = 0; i < pta_tower_matrices(c); i++) {
        int64_t N, K;
        pta_tower_shape(c, i, &N, &K);
        void *data = pta_take(cursor, c->frozen ? pta_frozen_bytes(PTA_FROZEN_BF16, N, K) : pta_packed_bytes(c->dtype, N, K));
        if (s && c->frozen) s->frozen[i] = (pta_frozen){PTA_FROZEN_BF16, N, K, data};
        if (s && !c->frozen) s->packed[i] = (pta_packed){.dtype = c->dtype, .N = N, .K = K, .data = data};
    }
}

int64_t pta_tower_store_bytes(const pta_tower_config *c) {
    pta_cursor counter = {0};
    lay_out(NULL, &counter, c);
    return counter.used;
}

pta_code pta_tower_store_create(pta_tower_matrices_store *s, const pta_tower_config *c, pta_error *err) {
    const int64_t bytes = pta_tower_store_bytes(c);
    *s = (pta_tower_matrices_store){.bytes = bytes};
    if (c->frozen)
        s->frozen = pta_alloc(pta_tower_matrices(c), sizeof *s->frozen);
    else
        s->packed = pta_alloc(pta_tower_matrices(c), sizeof *s->packed);
    s->memory = c->frozen ? pta_alloc(bytes, 1) : pta_alloc_uninit(bytes, 1);
    if (!s->memory || !(c->frozen ? (void *)s->frozen : (void *)s->packed)) {
        pta_tower_store_free(s);
        return pta_fail(err, PTA_E_MEMORY, "no memory for %.2f GiB of a vision tower's matrices", (double)bytes / (1 << 30));
    }
    lay_out(s, &(pta_cursor){s->memory, 0}, c);
    return PTA_OK;
}

void pta_tower_store_free(pta_tower_matrices_store *s) {
    pta_free(s->memory);
    pta_free(s->packed);
    pta_free(s->frozen);
    *s = (pta_tower_matrices_store){0};
}

void pta_tower_pack(const pta_team *team, const pta_tower_matrices_store *s, const pta_tower_config *c,
                    const pta_tower_tensors *weights) {
    for (int64_t i = 0; i < pta_tower_matrices(c); i++) pta_linear_pack(team, &s->packed[i], weights->matrices[i]);
}

pta_code pta_tower_check(const pta_tower_config *c, pta_error *err) {
    const struct {
        const char *name;
        int64_t value, limit;
    } sizes[] = {{"depth", c->depth, PTA_TOWER_MOST_BLOCKS}, {"hidden_size", c->C, 1 << 16},
                 {"intermediate_size", c->F, 1 << 18},       {"num_heads", c->H, 1 << 12},
                 {"out_hidden_size", c->O, 1 << 20},         {"patch_values", c->patch, 1 << 20},
                 {"spatial_merge_size", c->merge, 16},       {"window", c->window, 1 << 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].limit)
            return pta_fail(err, PTA_E_VALUE, "vision: %s is %lld, must be 1 to %lld", sizes[i].name,
                            (long long)sizes[i].value, (long long)sizes[i].limit);
    if (c->C % (4 * c->H) || c->C / c->H > 2048)
        return pta_fail(err, PTA_E_VALUE, "vision: hidden_size (%lld) must be num_heads (%lld) times a multiple of 4, at most 2048",
                        (long long)c->C, (long long)c->H);
    return PTA_OK;
}
