/* What the functions over policy losses share. */
#ifndef PTA_PY_RL_H
#define PTA_PY_RL_H

#include "../rl/policy_loss.h"
#include "state.h"

/* None (no bound: infinity) or a number. 0, or -1 with an exception. */
int pta_py_read_delta(PyObject *object, double *delta);
/* The dict that policy_loss's docstring describes. New reference or NULL. */
PyObject *pta_py_policy_stats(const pta_policy_stats *stats);

#endif
