/* The single operations of the core, for tests that compare each with its NumPy twin: ptagrpo._core.ops_*.
 *
 * Not part of the public interface. Every function takes float32 arrays, allocates its results and runs one operation.
 */
#include "../core/memory.h"
#include "../core/rng.h"
#include "../core/team.h"
#include "../core/vmath.h"
#include "../ops/attention.h"
#include "../ops/logprobs.h"
#include "../ops/ops.h"
#include "arrays.h"
#include "errors.h"
#include "state.h"

/* float32 array of `ndim` free dimensions, C-contiguous; its data and sizes. NULL with an exception. */
static float *floats(PyObject *object, const char *name, int ndim, npy_intp *dims) {
    PyArrayObject *array = pta_py_array(object, name, NPY_FLOAT32, ndim, NULL, ndim == 1 ? "(n,)" : "(n, m)");
    if (!array) return NULL;
    for (int i = 0; i < ndim; i++) dims[i] = PyArray_DIM(array, i);
    return PyArray_DATA(array);
}

/* New array of zeros, or a copy of `from`. */
static PyObject *result(int ndim, const npy_intp *dims, const float *from, float **data) {
    PyObject *array = PyArray_ZEROS(ndim, dims, NPY_FLOAT32, 0);
    if (!array) return NULL;
    *data = PyArray_DATA((PyArrayObject *)array);
    if (from) memcpy(*data, from, (size_t)PyArray_NBYTES((PyArrayObject *)array));
    return array;
}

static bool same(const char *name, npy_intp got, npy_intp wanted) {
    if (got == wanted) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected size %zd, got %zd", name, (Py_ssize_t)wanted, (Py_ssize_t)got);
    return false;
}

static PyObject *ops_exp(PyObject *Py_UNUSED(module), PyObject *x_in) {
    npy_intp n;
    float *x = floats(x_in, "x", 1, &n), *y;
    PyObject *out = x ? result(1, &n, NULL, &y) : NULL;
    for (npy_intp i = 0; out && i < n; i++) y[i] = pta_expf(x[i]);
    return out;
}

static PyObject *ops_uniform(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long key, counter;
    if (!PyArg_ParseTuple(args, "KK", &key, &counter)) return NULL;
    return PyFloat_FromDouble(pta_uniform(key, counter));
}

/* Run an operation on a team of all threads. 0, or -1 with an exception. */
static int run(pta_team_body body, void *arg) {
    pta_error err = {0};
    if (!pta_team_run(body, arg, 0, &err)) return 0;
    pta_py_raise(&err);
    return -1;
}

typedef struct {
    float *y, *dtable;
    const float *table, *dy;
    const int32_t *tokens;
    int64_t T, C;
} embedding_args;
static void run_embedding(const pta_team *team, void *arg) {
    const embedding_args *a = arg;
    pta_embedding_forward(team, a->y, pta_f32(a->table, a->C), a->tokens, a->T, a->C);
    pta_embedding_backward(team, a->dtable, a->dy, a->tokens, a->T, a->C);
}

static PyObject *ops_embedding(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *table_in, *tokens_in, *dy_in;
    if (!PyArg_ParseTuple(args, "OOO", &table_in, &tokens_in, &dy_in)) return NULL;
    npy_intp dims[2], T, dy_dims[2];
    float *table = floats(table_in, "table", 2, dims), *dy = table ? floats(dy_in, "dy", 2, dy_dims) : NULL, *y = NULL, *dt = NULL;
    const int32_t *tokens = dy ? pta_py_vector(tokens_in, "tokens", NPY_INT32, -1, "T", &T) : NULL;
    if (!tokens || !same("dy", dy_dims[0], T) || !same("dy", dy_dims[1], dims[1])) return NULL;
    for (npy_intp t = 0; t < T; t++)
        if (tokens[t] < 0 || tokens[t] >= dims[0]) return PyErr_Format(PyExc_ValueError, "tokens: out of range");
    PyObject *out = result(2, dy_dims, NULL, &y), *grad = out ? result(2, dims, NULL, &dt) : NULL;
    if (!grad) return Py_XDECREF(out), NULL;
    if (run(run_embedding, &(embedding_args){y, dt, table, dy, tokens, T, dims[1]})) return NULL;
    return Py_BuildValue("(NN)", out, grad);
}

typedef struct {
    float *y, *dx, *dw, *rstd, *scratch;
    const float *x, *w, *dy;
    int64_t T, C;
    float eps;
} rmsnorm_args;
static void run_rmsnorm(const pta_team *team, void *arg) {
    const rmsnorm_args *a = arg;
    pta_rmsnorm_forward(team, pta_f32(a->y, a->C), a->rstd, a->x, a->w, a->T, a->C, a->eps);
    pta_team_barrier(team);
    pta_rmsnorm_backward(team, a->dx, a->dw, a->dy, a->x, a->rstd, a->w, a->scratch, a->T, a->C);
}

/* (x, w, dy, eps) -> y, dx, dw */
static PyObject *ops_rmsnorm(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *x_in, *w_in, *dy_in;
    float eps;
    if (!PyArg_ParseTuple(args, "OOOf", &x_in, &w_in, &dy_in, &eps)) return NULL;
    npy_intp d[2], dw_dims, dy_dims[2];
    float *x = floats(x_in, "x", 2, d), *w = x ? floats(w_in, "w", 1, &dw_dims) : NULL, *y = NULL, *dx = NULL, *dw = NULL;
    float *dy = w ? floats(dy_in, "dy", 2, dy_dims) : NULL;
    if (!dy || !same("w", dw_dims, d[1]) || !same("dy", dy_dims[0], d[0]) || !same("dy", dy_dims[1], d[1])) return NULL;
    PyObject *first = result(2, d, NULL, &y), *second = result(2, d, NULL, &dx), *third = result(1, &d[1], NULL, &dw);
    float *rstd = pta_alloc(d[0], sizeof(float)), *scratch = pta_alloc(PTA_ROW_BLOCKS * d[1], sizeof(float));
    if (first && second && third && rstd && scratch)
        run(run_rmsnorm, &(rmsnorm_args){y, dx, dw, rstd, scratch, x, w, dy, d[0], d[1], eps});
    pta_free(rstd);
    pta_free(scratch);
    return Py_BuildValue("(NNN)", first, second, third);
}

typedef struct {
    float *y, *again, *dx;
    const float *x, *dy;
    int64_t T, F;
} swiglu_args;
static void run_swiglu(const pta_team *team, void *arg) {
    const swiglu_args *a = arg;
    pta_matrix x = pta_f32(a->x, 2 * a->F);
    pta_swiglu_forward(team, pta_f32(a->y, a->F), x, a->T, a->F);
    pta_swiglu_backward(team, pta_f32(a->dx, 2 * a->F), pta_f32(a->again, a->F), pta_f32(a->dy, a->F), x, a->T, a->F);
}

/* (gate_up, dy) -> y, the product as backward forms it again, dgate_up */
static PyObject *ops_swiglu(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *x_in, *dy_in;
    if (!PyArg_ParseTuple(args, "OO", &x_in, &dy_in)) return NULL;
    npy_intp d[2], dy_dims[2];
    float *x = floats(x_in, "gate_up", 2, d), *dy = x ? floats(dy_in, "dy", 2, dy_dims) : NULL;
    float *y = NULL, *product = NULL, *dx = NULL;
    if (!dy || !same("dy", dy_dims[0], d[0]) || !same("gate_up", d[1], 2 * dy_dims[1])) return NULL;
    PyObject *first = result(2, dy_dims, NULL, &y), *again = result(2, dy_dims, NULL, &product);
    PyObject *second = result(2, d, NULL, &dx);
    if (first && again && second) run(run_swiglu, &(swiglu_args){y, product, dx, x, dy, d[0], dy_dims[1]});
    return Py_BuildValue("(NNN)", first, again, second);
}

typedef struct {
    float *logprobs, *entropies, *lse, *dlogits;
    const int32_t *target;
    const float *dlogprobs, *dentropies;
    int64_t R, V;
    float scale;
} logprobs_args;
static void run_logprobs(const pta_team *team, void *arg) {
    const logprobs_args *a = arg;
    pta_logprobs_forward(team, a->logprobs, a->entropies, a->lse, a->dlogits, a->target, a->R, a->V, a->scale);
    pta_team_barrier(team);
    pta_logprobs_backward(team, a->dlogits, a->dlogprobs, a->dentropies, a->lse, a->entropies, a->target, a->R, a->V,
                          a->scale);
}

/* (logits, target, temperature, dlogprobs, dentropies) -> logprobs, entropies, dlogits */
static PyObject *ops_logprobs(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *z_in, *target_in, *dlp_in, *dh_in;
    float temperature;
    if (!PyArg_ParseTuple(args, "OOfOO", &z_in, &target_in, &temperature, &dlp_in, &dh_in)) return NULL;
    npy_intp d[2];
    float *z = floats(z_in, "logits", 2, d), *lp = NULL, *h = NULL, *lse = NULL, *dz = NULL;
    const int32_t *target = z ? pta_py_vector(target_in, "target", NPY_INT32, d[0], "R", NULL) : NULL;
    const float *dlp = target ? pta_py_vector(dlp_in, "dlogprobs", NPY_FLOAT32, d[0], "R", NULL) : NULL;
    const float *dh = dlp ? pta_py_vector(dh_in, "dentropies", NPY_FLOAT32, d[0], "R", NULL) : NULL;
    if (!dh) return NULL;
    for (npy_intp r = 0; r < d[0]; r++)
        if (target[r] < 0 || target[r] >= d[1]) return PyErr_Format(PyExc_ValueError, "target: out of range");
    PyObject *first = result(1, d, NULL, &lp), *second = result(1, d, NULL, &h), *sums = result(1, d, NULL, &lse);
    PyObject *third = result(2, d, z, &dz);
    if (first && second && sums && third)
        run(run_logprobs, &(logprobs_args){lp, h, lse, dz, target, dlp, dh, d[0], d[1], 1.0f / temperature});
    Py_XDECREF(sums);
    return Py_BuildValue("(NNN)", first, second, third);
}

typedef struct {
    Py_ssize_t H, K, D;
} head_sizes;

static bool check_width(npy_intp width, const head_sizes *s) {
    if (s->K < 1 || s->H < 1 || s->H % s->K || s->D < 2 || s->D % 2) {
        PyErr_SetString(PyExc_ValueError, "H must be a multiple of K, D even");
        return false;
    }
    return same("qkv", width, (s->H + 2 * s->K) * s->D);
}

typedef struct {
    float *qkv, *raw, *rstd, *dqkv, *dbias, *dq_norm, *dk_norm, *scratch;
    const int32_t *position;
    int64_t T;
    pta_heads heads;
} heads_args;
static void run_heads(const pta_team *team, void *arg) {
    const heads_args *a = arg;
    const pta_heads *p = &a->heads;
    int64_t width = (p->H + 2 * p->K) * p->D;
    pta_matrix raw = pta_f32(a->raw, (p->H + p->K) * p->D);
    pta_heads_forward(team, pta_f32(a->qkv, width), raw, a->rstd, a->qkv, p, a->position, a->T);
    pta_team_barrier(team);
    pta_heads_backward(team, a->dqkv, a->dbias, a->dq_norm, a->dk_norm, raw, a->rstd, p, a->position, a->scratch, a->T);
}

/* (qkv, bias, q_norm, k_norm, rope, position, dqkv, H, K, D, eps) -> qkv, dqkv, dbias, dq_norm, dk_norm;
 * norms None: no norm */
static PyObject *ops_heads(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *in[7];
    head_sizes s;
    float eps;
    if (!PyArg_ParseTuple(args, "OOOOOOOnnnf", &in[0], &in[1], &in[2], &in[3], &in[4], &in[5], &in[6], &s.H, &s.K, &s.D,
                          &eps))
        return NULL;
    npy_intp d[2], dd[2], rope_dims[2], D = s.D;
    float *x = floats(in[0], "qkv", 2, d);
    if (!x || !check_width(d[1], &s)) return NULL;
    npy_intp T = d[0], width = d[1], rotated = (s.H + s.K) * D;
    const float *bias = pta_py_vector(in[1], "bias", NPY_FLOAT32, width, "W", NULL), *q = NULL, *k = NULL;
    if (!bias) return NULL;
    bool norm = in[2] != Py_None;
    if (norm && !(q = pta_py_vector(in[2], "q_norm", NPY_FLOAT32, D, "D", NULL))) return NULL;
    if (norm && !(k = pta_py_vector(in[3], "k_norm", NPY_FLOAT32, D, "D", NULL))) return NULL;
    const float *rope = floats(in[4], "rope", 2, rope_dims);
    const int32_t *position = rope ? pta_py_vector(in[5], "position", NPY_INT32, T, "T", NULL) : NULL;
    const float *dy = position ? floats(in[6], "dqkv", 2, dd) : NULL;
    if (!dy || !same("dqkv", dd[0], T) || !same("dqkv", dd[1], width) || !same("rope", rope_dims[1], D)) return NULL;
    for (npy_intp t = 0; t < T; t++)
        if (position[t] < 0 || position[t] >= rope_dims[0]) return PyErr_Format(PyExc_ValueError, "position: out of range");
    float *y = NULL, *dx = NULL, *dbias = NULL, *dq = NULL, *dk = NULL;
    PyObject *out[5] = {result(2, d, x, &y), result(2, d, dy, &dx), result(1, &width, NULL, &dbias),
                        result(1, &D, NULL, &dq), result(1, &D, NULL, &dk)};
    float *raw = pta_alloc(T * rotated, sizeof(float)), *rstd = pta_alloc(T * (s.H + s.K), sizeof(float));
    float *scratch = pta_alloc(PTA_ROW_BLOCKS * (width + 2 * D), sizeof(float));
    bool ready = raw && rstd && scratch;
    for (int i = 0; i < 5; i++) ready = ready && out[i];
    if (ready)
        run(run_heads, &(heads_args){y, norm ? raw : NULL, norm ? rstd : NULL, dx, dbias, norm ? dq : NULL,
                                     norm ? dk : NULL, scratch, position, T, {s.H, s.K, D, bias, q, k, rope, eps}});
    pta_free(raw);
    pta_free(rstd);
    pta_free(scratch);
    return Py_BuildValue("(NNNNN)", out[0], out[1], out[2], out[3], out[4]);
}

typedef struct {
    float *out, *lse, *dqkv;
    const float *qkv, *dout;
    const pta_rows *rows;
    int64_t H, K, D;
    void *scratch;
} attention_args;
static void run_attention(const pta_team *team, void *arg) {
    const attention_args *a = arg;
    int64_t width = (a->H + 2 * a->K) * a->D, HD = a->H * a->D;
    pta_matrix qkv = pta_f32(a->qkv, width), out = pta_f32(a->out, HD);
    pta_attention_forward(team, out, a->lse, qkv, a->rows, a->H, a->K, a->D, a->scratch);
    pta_team_barrier(team);
    pta_attention_backward(team, pta_f32(a->dqkv, width), pta_f32(a->dout, HD), out, a->lse, qkv, a->rows, a->H, a->K,
                           a->D, a->scratch);
}

/* (qkv, forest, dout, H, K, D) -> out, lse, dqkv */
static PyObject *ops_attention(PyObject *module, PyObject *args) {
    PyObject *qkv_in, *forest_in, *dout_in;
    head_sizes s;
    pta_py_state *state = PyModule_GetState(module);
    if (!PyArg_ParseTuple(args, "OO!Onnn", &qkv_in, state->forest_type, &forest_in, &dout_in, &s.H, &s.K, &s.D))
        return NULL;
    const pta_forest *f = ((pta_py_forest *)forest_in)->forest;
    npy_intp d[2], dd[2];
    float *qkv = floats(qkv_in, "qkv", 2, d), *dout = qkv ? floats(dout_in, "dout", 2, dd) : NULL;
    if (!dout || !check_width(d[1], &s) || !same("qkv", d[0], f->T) || !same("dout", dd[0], f->T) ||
        !same("dout", dd[1], s.H * s.D))
        return NULL;
    const pta_rows rows = pta_forest_rows(f);
    npy_intp lse_dims[2] = {f->T, s.H};
    float *out = NULL, *lse = NULL, *dqkv = NULL;
    PyObject *first = result(2, dd, NULL, &out), *second = result(2, lse_dims, NULL, &lse);
    PyObject *third = result(2, d, NULL, &dqkv);
    int64_t bytes = pta_attention_pages(&rows, s.K, s.D);
    int64_t backward = pta_attention_backward_bytes(&rows, s.H, s.K, s.D);
    void *scratch = pta_alloc_uninit(bytes > backward ? bytes : backward, 1);
    int failed = !first || !second || !third || !scratch;
    if (failed)
        PyErr_NoMemory();
    else
        failed = run(run_attention, &(attention_args){out, lse, dqkv, qkv, dout, &rows, s.H, s.K, s.D, scratch});
    pta_free(scratch);
    if (!failed) return Py_BuildValue("(NNN)", first, second, third);
    Py_XDECREF(first);
    Py_XDECREF(second);
    Py_XDECREF(third);
    return NULL;
}

static PyMethodDef functions[] = {
    {"ops_exp", ops_exp, METH_O, "exp(x) of the core, elementwise"},
    {"ops_uniform", ops_uniform, METH_VARARGS, "(key, counter) -> uniform double in [0, 1)"},
    {"ops_embedding", ops_embedding, METH_VARARGS, "(table, tokens, dy) -> y, dtable"},
    {"ops_rmsnorm", ops_rmsnorm, METH_VARARGS, "(x, w, dy, eps) -> y, dx, dw"},
    {"ops_swiglu", ops_swiglu, METH_VARARGS, "(gate_up, dy) -> y, y as backward forms it again, dgate_up"},
    {"ops_logprobs", ops_logprobs, METH_VARARGS,
     "(logits, target, temperature, dlogprobs, dentropies) -> logprobs, entropies, dlogits"},
    {"ops_heads", ops_heads, METH_VARARGS,
     "(qkv, bias, q_norm, k_norm, rope, position, dqkv, H, K, D, eps) -> qkv, dqkv, dbias, dq_norm, dk_norm"},
    {"ops_attention", ops_attention, METH_VARARGS, "(qkv, forest, dout, H, K, D) -> out, lse, dqkv"},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_ops(PyObject *module) { return PyModule_AddFunctions(module, functions); }
