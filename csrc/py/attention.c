/* Attention alone, repeated, for benchmarks: ptagrpo._core.attention_benchmark. Not part of the public interface. */
#include <string.h>
#include <time.h>

#include "../core/memory.h"
#include "../core/rng.h"
#include "../ops/attention.h"
#include "compute.h"
#include "errors.h"
#include "state.h"

/* One causal sequence. room: pages of forward, then scratch of backward. */
typedef struct {
    pta_rows rows;
    int64_t H, K, D;
    pta_matrix qkv, out, dout, dqkv;
    float *lse;
    void *room;
    bool backward;
    int repeats;
    double seconds;
} job;

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void forward(const pta_team *team, job *j) {
    pta_attention_forward(team, j->out, j->lse, j->qkv, &j->rows, j->H, j->K, j->D, j->room);
    pta_team_barrier(team);
}

static void body(const pta_team *team, void *arg) {
    job *j = arg;
    forward(team, j); /* warms up, and gives backward its out and lse */
    const double started = seconds_now();
    for (int i = 0; i < j->repeats; i++) {
        if (j->backward) {
            pta_attention_backward(team, j->dqkv, j->dout, j->out, j->lse, j->qkv, &j->rows, j->H, j->K, j->D, j->room);
            pta_team_barrier(team);
        } else {
            forward(team, j);
        }
    }
    if (team->id == 0) j->seconds = (seconds_now() - started) / j->repeats;
}

static void fill(pta_matrix m, int64_t count, uint64_t key) {
    for (int64_t i = 0; i < count; i++) pta_store(m.data, i, (float)pta_uniform(key, (uint64_t)i) - 0.5f, m.dtype);
}

static PyObject *attention_benchmark(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *direction, *dtype;
    long long T, H, K, D;
    job j = {0};
    int threads;
    if (!PyArg_ParseTuple(args, "ssLLLLii", &direction, &dtype, &T, &H, &K, &D, &j.repeats, &threads)) return NULL;
    if (strcmp(direction, "forward") && strcmp(direction, "backward"))
        return PyErr_Format(PyExc_ValueError, "direction: expected forward or backward, got %s", direction);
    if (strcmp(dtype, "float32") && strcmp(dtype, "bfloat16"))
        return PyErr_Format(PyExc_ValueError, "dtype: expected float32 or bfloat16, got %s", dtype);
    if (T < 1 || T > 1 << 20 || K < 1 || H < K || H > 1 << 10 || H % K || D < 1 || D > 1 << 10 || j.repeats < 1)
        return PyErr_Format(PyExc_ValueError, "T, H, K, D and repeats must be positive, and H a multiple of K");
    const pta_dtype stored = strcmp(dtype, "float32") ? PTA_BF16 : PTA_F32;
    const int32_t offsets[2] = {0, (int32_t)T}, parent = -1, until = (int32_t)T;
    const int64_t wide = (H + 2 * K) * D, narrow = H * D;
    j.rows = (pta_rows){T, 1, offsets, &parent, &until};
    j.H = H, j.K = K, j.D = D, j.backward = !strcmp(direction, "backward");
    const int64_t pages = pta_attention_pages(&j.rows, K, D), scratch = pta_attention_backward_bytes(&j.rows, H, K, D);
    j.qkv = (pta_matrix){pta_alloc(T * wide, 4), wide, stored};
    j.out = (pta_matrix){pta_alloc(T * narrow, 4), narrow, stored};
    j.dout = (pta_matrix){pta_alloc(T * narrow, 4), narrow, stored};
    j.dqkv = pta_f32(pta_alloc(T * wide, 4), wide); /* the trainer's is float32 too */
    j.lse = pta_alloc(T * H, 4);
    j.room = pta_alloc(pages > scratch ? pages : scratch, 1);
    pta_error err = {0};
    const bool ready = j.qkv.data && j.out.data && j.dout.data && j.dqkv.data && j.lse && j.room;
    if (ready) {
        fill(j.qkv, T * wide, 1);
        fill(j.dout, T * narrow, 2);
        pta_py_call call;
        pta_py_begin(&call);
        pta_team_run(body, &j, threads, &err);
        pta_py_end(&call);
    }
    void *const all[] = {j.qkv.data, j.out.data, j.dout.data, j.dqkv.data, j.lse, j.room};
    for (int i = 0; i < 6; i++) pta_free(all[i]);
    if (!ready) return PyErr_NoMemory();
    return err.code ? pta_py_raise(&err) : PyFloat_FromDouble(j.seconds);
}

static PyMethodDef functions[] = {
    {"attention_benchmark", attention_benchmark, METH_VARARGS,
     "(forward or backward, dtype of activations, T, H, K, D, repeats, threads) -> seconds of one, causal"},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_attention(PyObject *module) { return PyModule_AddFunctions(module, functions); }
