/* The type Model, which five files make: model.c, views.c (weights as arrays), adapter.c, frozen.c and vision.c. */
#ifndef PTA_PY_MODEL_H
#define PTA_PY_MODEL_H

#include "state.h"

/* What owns the views of one call: while it lives, somebody may be writing into the weights (or the adapter's matrices).
 * New reference. */
PyObject *pta_py_lease(pta_py_model *model, bool adapter);
int pta_py_add_lease(PyObject *module);
/* dict of writable views of `arena`, which `owner` keeps alive. New reference. */
PyObject *pta_py_named_views(const pta_param *params, int64_t count, PyObject *owner, float *arena);
/* Arguments: a Model's configuration (inv_freq borrowed from it), names of projections as bits, what activations to keep.
 * 0, or -1 with an exception set. */
int pta_py_read_config(PyObject *config, pta_config *out);
int pta_py_read_targets(PyObject *names, unsigned *targets);
int pta_py_read_keep(const char *text, pta_keep *keep);

PyObject *pta_py_model_add_adapter(PyObject *model, PyObject *args, PyObject *kwargs);
PyObject *pta_py_model_remove_adapter(PyObject *model, PyObject *ignored);
PyObject *pta_py_model_adapter_parameters(PyObject *model, PyObject *ignored);
PyObject *pta_py_get_adapter(PyObject *model, void *closure);
PyObject *pta_py_get_adapter_enabled(PyObject *model, void *closure);
int pta_py_set_adapter_enabled(PyObject *model, PyObject *value, void *closure);
extern const char pta_py_add_adapter_doc[], pta_py_remove_adapter_doc[], pta_py_adapter_parameters_doc[];

#define PTA_PY_ADAPTER_METHODS                                                                                     \
    {"add_adapter", (PyCFunction)(void (*)(void))pta_py_model_add_adapter, METH_VARARGS | METH_KEYWORDS,          \
     pta_py_add_adapter_doc},                                                                                      \
    {"remove_adapter", pta_py_model_remove_adapter, METH_NOARGS, pta_py_remove_adapter_doc},                       \
    {"adapter_parameters", pta_py_model_adapter_parameters, METH_NOARGS, pta_py_adapter_parameters_doc}
#define PTA_PY_ADAPTER_GETTERS                                                                                     \
    {"adapter", pta_py_get_adapter, NULL, "dict of rank, scale and targets, or None", NULL},                       \
    {"adapter_enabled", pta_py_get_adapter_enabled, pta_py_set_adapter_enabled,                                    \
     "bool; False: compute what the base computes, to the bit", NULL}


/* config['rope_sections'] and config['vision'], both optional, and back. Returns how many keys it read, or -1. */
int pta_py_read_vision(PyObject *config, pta_config *c);
int pta_py_write_vision(PyObject *config, const pta_config *c);
int pta_py_config_size(PyObject *config, const char *key, int64_t *out);
/* A sequence of ints into to[]: how many, at most `most`; -1 with an exception. */
Py_ssize_t pta_py_config_ints(PyObject *value, const char *what, int64_t *to, Py_ssize_t most);

PyObject *pta_py_model_train_tower(PyObject *model, PyObject *train);
PyObject *pta_py_model_see(PyObject *model, PyObject *args, PyObject *kwargs);
PyObject *pta_py_model_see_bytes(PyObject *model, PyObject *args, PyObject *kwargs);
PyObject *pta_py_model_see_backward(PyObject *model, PyObject *dout);
PyObject *pta_py_model_input_gradients(PyObject *model, PyObject *ignored);
PyObject *pta_py_get_tower_trained(PyObject *model, void *closure);
extern const char pta_py_train_tower_doc[], pta_py_see_doc[], pta_py_see_bytes_doc[], pta_py_see_backward_doc[],
    pta_py_input_gradients_doc[];

#define PTA_PY_VISION_METHODS                                                                                      \
    {"train_tower", pta_py_model_train_tower, METH_O, pta_py_train_tower_doc},                                      \
    {"see", (PyCFunction)(void (*)(void))pta_py_model_see, METH_VARARGS | METH_KEYWORDS, pta_py_see_doc},          \
    {"see_bytes", (PyCFunction)(void (*)(void))pta_py_model_see_bytes, METH_VARARGS | METH_KEYWORDS,              \
     pta_py_see_bytes_doc},                                                                                        \
    {"see_backward", pta_py_model_see_backward, METH_O, pta_py_see_backward_doc},                                  \
    {"input_gradients", pta_py_model_input_gradients, METH_NOARGS, pta_py_input_gradients_doc}
#define PTA_PY_VISION_GETTERS                                                                                      \
    {"tower_trained", pta_py_get_tower_trained, NULL, "bool: the vision tower is trained with the rest", NULL}

PyObject *pta_py_model_frozen_parameters(PyObject *model, PyObject *ignored);
PyObject *pta_py_model_frozen_bytes(PyObject *model, PyObject *ignored);
PyObject *pta_py_model_set_rows(PyObject *model, PyObject *args, PyObject *kwargs);
PyObject *pta_py_model_get_rows(PyObject *model, PyObject *args, PyObject *kwargs);
extern const char pta_py_frozen_parameters_doc[], pta_py_frozen_bytes_doc[], pta_py_set_rows_doc[], pta_py_get_rows_doc[];

#define PTA_PY_FROZEN_METHODS                                                                                      \
    {"frozen_parameters", pta_py_model_frozen_parameters, METH_NOARGS, pta_py_frozen_parameters_doc},              \
    {"frozen_bytes", pta_py_model_frozen_bytes, METH_NOARGS, pta_py_frozen_bytes_doc},                             \
    {"set_rows", (PyCFunction)(void (*)(void))pta_py_model_set_rows, METH_VARARGS | METH_KEYWORDS,                \
     pta_py_set_rows_doc},                                                                                         \
    {"get_rows", (PyCFunction)(void (*)(void))pta_py_model_get_rows, METH_VARARGS | METH_KEYWORDS,                \
     pta_py_get_rows_doc}

#endif
