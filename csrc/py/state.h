/* What every file of csrc/py shares: Python's and NumPy's headers, the module's state, the structs of its types. */
#ifndef PTA_PY_STATE_H
#define PTA_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* One table of NumPy functions for all files; module.c fills it. */
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL pta_numpy_api
#ifndef PTA_PY_MODULE_C
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <stdbool.h>

#include "../model/forest.h"
#include "../model/model.h"

/* Heap types; strong references, visited and cleared by module.c. */
typedef struct {
    PyTypeObject *model_type;
    PyTypeObject *forest_type;
    PyTypeObject *adamw_type;
    PyTypeObject *cache_type;
    PyTypeObject *stop_table_type;
    PyTypeObject *lease_type; /* of views of weights; see model.c */
} pta_py_state;

/* State of the module that made `type` (a type of ours, not subclassable: Py_TYPE(self) will do). Borrowed. */
static inline pta_py_state *pta_py_state_of(PyTypeObject *type) { return PyType_GetModuleState(type); }

/* True while a thread computes with the object; read and written with the GIL held. See compute.h. */
typedef struct {
    bool busy;
} pta_py_busy;

typedef struct {
    PyObject_HEAD
    pta_forest *forest; /* immutable after creation: any number of threads may read it */
    PyObject *inputs;   /* the array that forest->extra.inputs points into, or NULL */
} pta_py_forest;

typedef struct {
    PyObject_HEAD
    pta_model *model;
    pta_py_busy busy;
    PyObject *tape_forest; /* the forest of the recorded tape, kept alive; NULL without one */
    Py_ssize_t adapter_views; /* leases on the adapter's matrices */
} pta_py_model;

/* Each creates its types with pta_py_add_type or its functions and returns 0, or -1 with an exception set. */
int pta_py_add_forest(PyObject *module);
int pta_py_add_model(PyObject *module);
int pta_py_add_cache(PyObject *module);
int pta_py_add_rl(PyObject *module);
int pta_py_add_train(PyObject *module);
int pta_py_add_optim(PyObject *module);
int pta_py_add_ops(PyObject *module);
int pta_py_add_kernels(PyObject *module);
int pta_py_add_attention(PyObject *module);
int pta_py_add_plan(PyObject *module);

/* Create a heap type of `module`, put it into *slot of the module's state and into the module. 0 or -1. */
int pta_py_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot);

#endif
