/* From the core's failures to Python's exceptions. */
#ifndef PTA_PY_ERRORS_H
#define PTA_PY_ERRORS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../core/status.h"

/* Set the exception that belongs to *err and return NULL: ValueError, MemoryError, RuntimeError, FloatingPointError.
 * PTA_E_INTERRUPTED: the hook has set the exception (KeyboardInterrupt, or what the user's handler raised). */
PyObject *pta_py_raise(const pta_error *err);

#endif
