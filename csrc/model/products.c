#include "products.h"

static const pta_frozen *frozen_of(const pta_model *m, int64_t layer, pta_matrix_id which) {
    return which == PTA_HEAD ? &m->frozen.head : &m->frozen.layers[layer * PTA_LAYER_MATRICES + which];
}

static const pta_packed *packed_of(const pta_model *m, int64_t layer, pta_matrix_id which) {
    if (which == PTA_HEAD) return &m->packed.head;
    const pta_packed_layer *p = &m->packed.layers[layer];
    return which == PTA_QKV ? &p->qkv : which == PTA_O ? &p->o : which == PTA_GATE_UP ? &p->gate_up : &p->down;
}

static const float *master_of(const pta_model *m, int64_t layer, pta_matrix_id which) {
    if (which == PTA_HEAD) return m->weights.head;
    const pta_layer *w = &m->weights.layers[layer];
    return which == PTA_QKV ? w->qkv : which == PTA_O ? w->o : which == PTA_GATE_UP ? w->gate_up : w->down;
}

void pta_product_forward(const pta_team *team, const pta_model *m, int64_t layer, pta_matrix_id which, pta_matrix y,
                         pta_matrix x, int64_t T, bool accumulate) {
    if (m->config.frozen)
        pta_frozen_forward(team, y, x, frozen_of(m, layer, which), T, m->config.dtype, accumulate);
    else
        pta_linear_forward(team, y, x, packed_of(m, layer, which), T, accumulate);
}

void pta_product_dinput(const pta_team *team, const pta_model *m, int64_t layer, pta_matrix_id which, pta_matrix dx,
                        pta_matrix dy, int64_t T) {
    if (m->config.frozen) {
        pta_frozen_dinput(team, dx, dy, frozen_of(m, layer, which), T, m->config.dtype);
        return;
    }
    const pta_packed *shape = packed_of(m, layer, which);
    pta_linear_dinput(team, dx, dy, master_of(m, layer, which), T, shape->N, shape->K, m->config.dtype, false);
}
