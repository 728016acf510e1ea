/* The module ptagrpo._core: its state, its types, and what it knows about its own build. */
#define PTA_PY_MODULE_C
#include "../core/threads.h"
#include "../kernels/linear.h"
#include "../kernels/openblas.h"
#include "errors.h"
#include "state.h"

#ifndef PTA_VERSION
#define PTA_VERSION "unknown"
#endif
#ifndef PTA_SANITIZE
#define PTA_SANITIZE ""
#endif

/* The instruction set that the loader picks for functions marked PTA_CLONES (core/target.h). */
static const char *simd_path(void) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(PTA_NO_CLONES)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "baseline";
}

PyDoc_STRVAR(build_info_doc,
             "build_info() -> dict\n\n"
             "How this extension was built and what it runs on: version, compiler, blas (OpenBLAS's configuration),\n"
             "blas_corename (the kernel that it chose), simd ('avx512', 'avx2' or 'baseline': elementwise loops), kernels\n"
             "(of matrix products, by dtype), threads, sanitize (empty in a normal build).");
static PyObject *build_info(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return Py_BuildValue("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:i, s:s}", "version", PTA_VERSION, "compiler",
#ifdef __clang__
                         __VERSION__,
#else
                         "GCC " __VERSION__,
#endif
                         "blas", pta_openblas_config(), "blas_corename", pta_openblas_corename(), "simd", simd_path(),
                         "kernels", "float32", pta_kernels_name(PTA_F32), "bfloat16", pta_kernels_name(PTA_BF16), "threads",
                         pta_num_threads(), "sanitize", PTA_SANITIZE);
}

PyDoc_STRVAR(set_num_threads_doc, "set_num_threads(n)\n\nUse n >= 1 threads in every computation from now on.");
static PyObject *set_num_threads(PyObject *Py_UNUSED(module), PyObject *argument) {
    long n = PyLong_AsLong(argument);
    if (n == -1 && PyErr_Occurred()) return NULL;
    if (n < 1 || n > 1024) return PyErr_Format(PyExc_ValueError, "num_threads: expected 1 to 1024, got %ld", n);
    pta_set_num_threads((int)n);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_num_threads_doc,
             "get_num_threads() -> int\n\nThreads per computation: what set_num_threads set, else OMP_NUM_THREADS, else "
             "the CPUs that this process may use.");
static PyObject *get_num_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLong(pta_num_threads());
}

static PyMethodDef functions[] = {
    {"build_info", build_info, METH_NOARGS, build_info_doc},
    {"set_num_threads", set_num_threads, METH_O, set_num_threads_doc},
    {"get_num_threads", get_num_threads, METH_NOARGS, get_num_threads_doc},
    {NULL, NULL, 0, NULL},
};

int pta_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (!type) return -1;
    *slot = (PyTypeObject *)type; /* the state owns this reference */
    return PyModule_AddType(module, *slot);
}

static int module_exec(PyObject *module) {
    import_array1(-1);
    pta_error err = {0};
    if (pta_kernels_init(&err)) {
        pta_py_raise(&err);
        return -1;
    }
    if (pta_py_add_forest(module) < 0) return -1;
    if (pta_py_add_model(module) < 0) return -1;
    if (pta_py_add_cache(module) < 0) return -1;
    if (pta_py_add_rl(module) < 0) return -1;
    if (pta_py_add_train(module) < 0) return -1;
    if (pta_py_add_optim(module) < 0) return -1;
    if (pta_py_add_ops(module) < 0) return -1;
    if (pta_py_add_kernels(module) < 0) return -1;
    if (pta_py_add_attention(module) < 0) return -1;
    if (pta_py_add_plan(module) < 0) return -1;
    return 0;
}

#define EACH_TYPE(state, DO) \
    do {                     \
        DO((state)->model_type);      \
        DO((state)->forest_type);     \
        DO((state)->adamw_type);      \
        DO((state)->cache_type);      \
        DO((state)->stop_table_type); \
        DO((state)->lease_type);      \
    } while (0)

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    pta_py_state *state = PyModule_GetState(module);
    if (state) EACH_TYPE(state, Py_VISIT);
    return 0;
}

static int module_clear(PyObject *module) {
    pta_py_state *state = PyModule_GetState(module);
    if (state) EACH_TYPE(state, Py_CLEAR);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ptagrpo._core",
    .m_doc = "The C core of ptagrpo: models, generation, loss and optimiser over NumPy arrays.",
    .m_size = sizeof(pta_py_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
