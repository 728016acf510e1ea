/* The one thread knob, and the interrupt hook that long computations poll.
 *
 * Nothing else decides how many threads run: teams (team.h) take as many, and OpenBLAS is always called with one thread
 * inside a team.
 */
#ifndef PTA_CORE_THREADS_H
#define PTA_CORE_THREADS_H

#include "status.h"

int pta_num_threads(void);          /* >= 1; at first use: OMP_NUM_THREADS, else the CPUs this process may run on */
void pta_set_num_threads(int n);    /* n < 1 is taken as 1 */
int pta_available_cpus(void);       /* CPUs this process may run on: affinity, and the control group's quota */

/* Interrupts. The caller (csrc/py) installs a hook for its own OS thread around a long call; the core polls it
 * between and within layers and between decode steps, on the thread that made the call. The hook is rate
 * limited here (every 20 ms). A non-zero answer makes the poll return PTA_E_INTERRUPTED. */
typedef int (*pta_interrupt_hook)(void *context);
void pta_set_interrupt_hook(pta_interrupt_hook hook, void *context); /* NULL removes it */
pta_code pta_poll_interrupt(pta_error *err);

#endif
