/* Around a long computation: who may use an object, the GIL, and Ctrl-C. */
#ifndef PTA_PY_COMPUTE_H
#define PTA_PY_COMPUTE_H

#include "state.h"

/* Take the object for this call. 0, or -1 with RuntimeError "Model is in use by another call ...". GIL held. */
int pta_py_acquire(pta_py_busy *flag, const char *what);
void pta_py_release(pta_py_busy *flag);

/* begin releases the GIL and installs the interrupt hook for this thread; end takes the GIL back and puts the previous
 * hook in place. Between them: no Python. The hook takes the GIL, runs signal handlers, and releases it again. */
typedef struct pta_py_call {
    PyThreadState *thread;
    struct pta_py_call *outer;
} pta_py_call;
void pta_py_begin(pta_py_call *call);
void pta_py_end(pta_py_call *call);

#endif
