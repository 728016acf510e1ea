/* What a configuration would take, asked of a model without memory (pta_model_plan): the sizes are the allocations' own. */
#include "../core/threads.h"
#include "../generate/sampler.h"
#include "../generate/step.h"
#include "../model/adapter.h"
#include "../optim/adamw.h"
#include "arrays.h"
#include "errors.h"
#include "model.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Keys, values and hidden states of a rollout at its fullest: segments that others continue in whole, and of the others the
 * first `rows`, whose last token is drawn but never fed. */
static pta_code cache_bytes(int64_t *bytes, const pta_config *c, const pta_forest *f, int64_t rows, pta_error *err) {
    int64_t page, pages = 0, hidden = 0;
    pta_code code = pta_cache_page_bytes(&page, c, err);
    for (int32_t s = 0; s < f->S && !code; s++) {
        const int64_t length = f->offsets[s + 1] - f->offsets[s];
        const bool continued = f->until[s] > f->offsets[s + 1];
        if (!length || (!continued && rows-- <= 0)) continue;
        pages += pta_segment_pages(f->position[f->offsets[s]], length - !continued);
        hidden += continued;
    }
    *bytes = pages * pta_alloc_bytes(page) + hidden * c->C * pta_dtype_size(c->dtype);
    return code;
}

/* Tokens of the roots: prompts. */
static int64_t prompt_tokens(const pta_forest *f) {
    int64_t count = 0;
    for (int32_t s = 0; s < f->S; s++)
        if (f->parent[s] < 0) count += f->offsets[s + 1] - f->offsets[s];
    return count;
}

/* The larger of prefill's batch and the sampler's. */
static int64_t decode_bytes(const pta_model *m, const pta_forest *f, int64_t rows) {
    const int64_t prefill = pta_step_bytes(m, smaller(prompt_tokens(f), PTA_STEP_ROWS), 0);
    return larger(prefill, pta_step_bytes(m, smaller(rows, PTA_STEP_ROWS), 0)) +
           pta_num_threads() * pta_sampler_scratch(m->config.V);
}

PyDoc_STRVAR(plan_bytes_doc,
             "plan_bytes(config, batch, keep, rollout, rows, rank=0, targets=(), dropout=0.0,\n"
             "           grids=None) -> dict[str, int]\n\n"
             "Bytes that training a model of this configuration would take, by the same arithmetic that allocates them; nothing\n"
             "of the model is allocated.\n\n"
             "Args:\n"
             "    config: as Model's. rank, targets, dropout: as add_adapter's; rank 0: no adapter.\n"
             "    batch: Forest of the largest micro-batch; its tokens below the roots are targets. keep: 'all' or 'inputs'.\n"
             "    rollout: Forest of what is sampled together; rows: how much of its last generation at once.\n"
             "    grids: int32[images, 2], rows and columns of patches of the images that a frozen tower sees at once.\n\n"
             "Returns:\n"
             "    weights (masters, or the frozen form), adapter, packed (working copies), gradients, moments (of AdamW),\n"
             "    activations (of the batch, with scratch), forward (the same for a forward pass alone), cache (keys and values),\n"
             "    decode (activations of a decoding step), tower (of the images), fixed (scratch of the threads, rotary angles).\n\n"
             "Raises:\n"
             "    TypeError, ValueError: as Model and add_adapter.");
static PyObject *plan_bytes(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"config", "batch", "keep", "rollout", "rows", "rank", "targets", "dropout", "grids", NULL};
    pta_py_state *state = PyModule_GetState(module);
    PyObject *dict, *targets_in = NULL, *grids_in = Py_None;
    pta_py_forest *batch, *rollout;
    const char *text;
    Py_ssize_t rows, rank = 0;
    pta_config config = {0};
    pta_keep keep;
    unsigned targets = 0;
    double dropout = 0.0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!sO!n|nOdO:plan_bytes", names, &PyDict_Type, &dict, state->forest_type,
                                     &batch, &text, state->forest_type, &rollout, &rows, &rank, &targets_in,
                                     &dropout, &grids_in) ||
        pta_py_read_keep(text, &keep) || pta_py_read_config(dict, &config) ||
        (rank && targets_in && pta_py_read_targets(targets_in, &targets)))
        return NULL;
    const npy_intp pairs[2] = {-1, 2};
    PyArrayObject *grids = grids_in == Py_None ? NULL : pta_py_array(grids_in, "grids", NPY_INT32, 2, pairs, "(images, 2)");
    if (grids_in != Py_None && !grids) return NULL;
    pta_error err = {0};
    pta_model *m = NULL;
    int64_t cache = 0;
    pta_code code = pta_model_plan(&m, &config, &err);
    if (!code && rank) code = pta_model_add_adapter(m, rank, 1.0, targets, dropout, &err);
    if (!code) code = cache_bytes(&cache, &config, rollout->forest, rows, &err);
    const int64_t tower = code || !grids ? 0 : pta_model_see_bytes(m, PyArray_DATA(grids), PyArray_DIM(grids, 0), false);
    if (tower < 0) code = pta_fail(&err, PTA_E_VALUE, "grids: an image is no whole number of squares, or too large");
    if (code) {
        pta_model_free(m);
        return pta_py_raise(&err);
    }
    const pta_forest *f = batch->forest;
    const pta_model_memory memory = pta_model_get_memory(m);
    const pta_trainable trained = pta_model_trainable(m);
    const int64_t gradients = trained.num_floats * (int64_t)sizeof(float), adapter = rank ? gradients : 0;
    const bool trains = rank || !config.frozen;
    const int64_t count = f->T - prompt_tokens(f), length = larger(f->max_position, rollout->forest->max_position);
    PyObject *found = Py_BuildValue(
        "{s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L}", "weights", (long long)(memory.weights - adapter), "adapter",
        (long long)adapter, "packed", (long long)(memory.to_allocate - gradients), "gradients",
        (long long)(trains ? gradients : 0), "moments", (long long)(trains ? pta_adamw_bytes(m) : 0), "activations",
        (long long)(trains ? pta_model_train_bytes(m, f, count, keep) : 0), "forward",
        (long long)pta_model_train_bytes(m, f, count, PTA_KEEP_NOTHING), "cache", (long long)cache, "decode",
        (long long)decode_bytes(m, rollout->forest, rows), "tower", (long long)tower, "fixed",
        (long long)(pta_team_bytes(pta_num_threads()) + pta_model_rope_bytes(m, length)));
    pta_model_free(m);
    return found;
}

static PyMethodDef functions[] = {
    {"plan_bytes", (PyCFunction)(void (*)(void))plan_bytes, METH_VARARGS | METH_KEYWORDS, plan_bytes_doc},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_plan(PyObject *module) { return PyModule_AddFunctions(module, functions); }
