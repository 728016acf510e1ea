/* Checks of arguments. C is strict: it takes exactly one dtype and layout, and says what it got instead. */
#ifndef PTA_PY_ARRAYS_H
#define PTA_PY_ARRAYS_H

#include "state.h"

/* `object` as a C-contiguous, aligned, native array of type number `type` (NPY_INT32 ...) and `ndim` dimensions of
 * sizes dims[] (-1: any). `shape` is what the message calls it, "(R, V)". Borrowed reference, or NULL with
 *   TypeError   tokens: expected int32 C-contiguous (T,), got int64 (4, 7)
 *   ValueError  target: expected int32 C-contiguous (N,) = (12,), got int32 (11,)            when only sizes differ */
PyArrayObject *pta_py_array(PyObject *object, const char *name, int type, int ndim, const npy_intp *dims,
                            const char *shape);

/* The same for one dimension of `length` elements (-1: any), called "(letter,)". Returns the data, never NULL unless an
 * exception is set; *count (may be NULL) receives the length. */
void *pta_py_vector(PyObject *object, const char *name, int type, npy_intp length, const char *letter,
                    npy_intp *count);

/* A view of memory that `owner` (a new reference is taken) keeps alive. New reference or NULL. */
PyObject *pta_py_view(PyObject *owner, void *data, int type, int ndim, const npy_intp *dims, bool writable);

/* A new zero-filled vector and its data. NULL with MemoryError. */
PyObject *pta_py_new_vector(int type, npy_intp count, void **data);

/* positions, input_rows and inputs of T rows (each an array, or None), borrowed. 0, or -1 with an exception. */
int pta_py_extra(pta_extra *extra, PyObject *positions, PyObject *rows, PyObject *inputs, npy_intp T);

/* A Python number as a finite double. 0, or -1 with TypeError/ValueError that names it. */
int pta_py_finite(PyObject *object, const char *name, double *out);

#endif
