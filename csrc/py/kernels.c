/* The matrix kernels, for tests and benchmarks: ptagrpo._core.kernels_*. Not part of the public interface.
 *
 * A matrix is a 2-D array of float32, or of uint16 (bfloat16 bits), whose rows are contiguous and may lie apart. */
#include <string.h>
#include <time.h>

#include "../core/memory.h"
#include "../kernels/kernel.h"
#include "compute.h"
#include "errors.h"
#include "state.h"

typedef enum { FORWARD, DINPUT, DWEIGHT } product;

typedef struct {
    product kind;
    pta_dtype compute;
    pta_matrix a, b, out; /* forward: x, w, y. dinput: dy, w, dx. dweight: dy, x, dw */
    pta_packed packed;
    int64_t M, N, K;
    bool accumulate;
    int repeats;
    double seconds;
} job;

static int product_of(PyObject *object, void *out) {
    const char *names[] = {"forward", "dinput", "dweight"}, *text = PyUnicode_AsUTF8(object);
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, names[i])) {
            *(product *)out = (product)i;
            return 1;
        }
    if (text) PyErr_Format(PyExc_ValueError, "product: expected forward, dinput or dweight, got %R", object);
    return 0;
}

static int dtype_of(PyObject *object, void *out) {
    const char *text = PyUnicode_AsUTF8(object);
    if (!text) return 0;
    bool bf16 = !strcmp(text, "bfloat16");
    if (!bf16 && strcmp(text, "float32"))
        return PyErr_Format(PyExc_ValueError, "dtype: expected float32 or bfloat16, got %R", object), 0;
    *(pta_dtype *)out = bf16 ? PTA_BF16 : PTA_F32;
    return 1;
}

typedef struct {
    pta_matrix m;
    int64_t rows, columns;
} view;

static int view_of(PyObject *object, void *out) {
    view *v = out;
    PyArrayObject *array = (PyArrayObject *)object;
    int type = PyArray_Check(object) ? PyArray_TYPE(array) : -1, size = type == NPY_UINT16 ? 2 : 4;
    if ((type != NPY_FLOAT32 && type != NPY_UINT16) || PyArray_NDIM(array) != 2 || !PyArray_ISALIGNED(array) ||
        (PyArray_SIZE(array) && ((PyArray_DIM(array, 1) > 1 && PyArray_STRIDE(array, 1) != size) ||
                                 PyArray_STRIDE(array, 0) % size || PyArray_STRIDE(array, 0) < 0))) {
        PyErr_SetString(PyExc_TypeError, "expected a 2-D array of float32, or uint16 as bfloat16, with contiguous rows");
        return 0;
    }
    v->rows = PyArray_DIM(array, 0);
    v->columns = PyArray_DIM(array, 1);
    int64_t ld = v->rows > 1 && PyArray_SIZE(array) ? PyArray_STRIDE(array, 0) / size : v->columns;
    v->m = (pta_matrix){PyArray_DATA(array), ld, type == NPY_UINT16 ? PTA_BF16 : PTA_F32};
    return 1;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run_body(const pta_team *team, void *arg) {
    job *j = arg;
    if (j->kind == FORWARD) pta_linear_pack(team, &j->packed, j->b.data);
    pta_team_barrier(team);
    const double started = seconds_now();
    for (int i = 0; i < j->repeats; i++) {
        if (j->kind == FORWARD)
            pta_linear_forward(team, j->out, j->a, &j->packed, j->M, j->accumulate);
        else if (j->kind == DINPUT)
            pta_linear_dinput(team, j->out, j->a, j->b.data, j->M, j->N, j->K, j->compute, j->accumulate);
        else
            pta_linear_dweight(team, j->out.data, j->a, j->b, j->M, j->N, j->K, j->compute);
        pta_team_barrier(team);
    }
    if (team->id == 0) j->seconds = (seconds_now() - started) / j->repeats;
}

/* 0, or -1 with an exception. */
static int run(job *j, int threads) {
    pta_error err = {0};
    int64_t bytes = j->kind == FORWARD ? pta_packed_bytes(j->compute, j->N, j->K) : 0;
    j->packed = (pta_packed){j->compute, j->N, j->K, pta_alloc_uninit(bytes, 1)};
    if (!j->packed.data) return PyErr_NoMemory(), -1;
    pta_py_call call;
    pta_py_begin(&call);
    pta_team_run(run_body, j, threads, &err);
    pta_py_end(&call);
    pta_free(j->packed.data);
    return err.code ? pta_py_raise(&err), -1 : 0;
}

static PyObject *kernels_run(PyObject *Py_UNUSED(module), PyObject *args) {
    job j = {.repeats = 1};
    view a, b, out;
    int accumulate, threads;
    if (!PyArg_ParseTuple(args, "O&O&O&O&O&pi", product_of, &j.kind, dtype_of, &j.compute, view_of, &a, view_of, &b,
                          view_of, &out, &accumulate, &threads))
        return NULL;
    j.a = a.m, j.b = b.m, j.out = out.m, j.accumulate = accumulate || j.kind == DWEIGHT;
    j.M = a.rows;
    j.N = j.kind == FORWARD ? b.rows : a.columns;
    j.K = b.columns;
    bool weights = j.kind == DWEIGHT || (b.m.dtype == PTA_F32 && b.m.ld == j.K); /* w: plain float32 */
    bool gradient = j.kind != DWEIGHT || (out.m.dtype == PTA_F32 && out.m.ld == j.K);
    bool inner = j.kind == FORWARD ? a.columns == b.columns : j.kind == DINPUT ? a.columns == b.rows : a.rows == b.rows;
    int64_t rows = j.kind == DWEIGHT ? j.N : j.M, columns = j.kind == FORWARD ? j.N : j.K;
    if (!weights || !gradient || !inner || out.rows != rows || out.columns != columns ||
        (j.accumulate && out.m.dtype != PTA_F32))
        return PyErr_Format(PyExc_ValueError, "shapes or types do not fit the product");
    if (run(&j, threads)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *kernels_benchmark(PyObject *Py_UNUSED(module), PyObject *args) {
    job j = {0};
    pta_dtype stored;
    long long M, N, K;
    int threads;
    if (!PyArg_ParseTuple(args, "O&O&O&LLLii", product_of, &j.kind, dtype_of, &j.compute, dtype_of, &stored, &M, &N, &K,
                          &j.repeats, &threads))
        return NULL;
    if (M < 1 || N < 1 || K < 1 || j.repeats < 1 || M > 1 << 24 || N > 1 << 24 || K > 1 << 24)
        return PyErr_Format(PyExc_ValueError, "sizes and repeats must be positive");
    j.M = M, j.N = N, j.K = K;
    float *x = pta_alloc(M * K, 4), *y = pta_alloc(M * N, 4), *w = pta_alloc(N * K, 4);
    PyObject *answer = NULL;
    if (!x || !y || !w) {
        PyErr_NoMemory();
    } else {
        for (int64_t i = 0; i < N * K; i++) w[i] = (float)(i % 13) * 0.01f;
        const pta_matrix mx = {x, K, stored}, my = {y, N, stored};
        j.a = j.kind == FORWARD ? mx : my;
        j.b = j.kind == DWEIGHT ? mx : pta_f32(w, K);
        j.out = j.kind == FORWARD ? my : j.kind == DINPUT ? mx : pta_f32(w, K);
        if (!run(&j, threads)) answer = PyFloat_FromDouble(j.seconds);
    }
    pta_free(x);
    pta_free(y);
    pta_free(w);
    return answer;
}

static PyObject *kernels_variants(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    int count;
    const pta_variant *variants = pta_kernels_variants(&count);
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i <= count; i++) {
        if (i < count && !variants[i].available()) continue;
        PyObject *name = PyUnicode_FromString(i < count ? variants[i].simd : "openblas");
        if (!name || PyList_Append(names, name) < 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *kernels_use(PyObject *Py_UNUSED(module), PyObject *argument) {
    pta_error err = {0};
    const char *name = argument == Py_None ? NULL : PyUnicode_AsUTF8(argument);
    if (!name && argument != Py_None) return NULL;
    if (name ? pta_kernels_use(name, &err) : pta_kernels_init(&err)) return pta_py_raise(&err);
    return Py_BuildValue("{s:s, s:s}", "float32", pta_kernels_name(PTA_F32), "bfloat16", pta_kernels_name(PTA_BF16));
}

static PyMethodDef functions[] = {
    {"kernels_variants", kernels_variants, METH_NOARGS, "-> names of what this machine has, the plainest first"},
    {"kernels_use", kernels_use, METH_O,
     "(variant or None: as at start) -> kernels' names by dtype. Weights packed before are void."},
    {"kernels_run", kernels_run, METH_VARARGS,
     "(product, dtype, a, b, out, accumulate, threads): forward x, w -> y; dinput dy, w -> dx; dweight dy, x -> dw +="},
    {"kernels_benchmark", kernels_benchmark, METH_VARARGS,
     "(product, dtype, stored dtype of activations, M, N, K, repeats, threads) -> seconds of one product"},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_kernels(PyObject *module) { return PyModule_AddFunctions(module, functions); }
