/* The one thread knob, and the interrupt hook that long computations poll.
 *
 * Parallel regions are written  #pragma omp parallel for num_threads(pta_num_threads())  and nothing else decides
 * how many threads run: OpenBLAS is always called with one thread inside our regions.
 */
#ifndef PTA_CORE_THREADS_H
#define PTA_CORE_THREADS_H

#include "status.h"

int pta_num_threads(void);          /* >= 1; at first use: OMP_NUM_THREADS, else the CPUs this process may run on */
void pta_set_num_threads(int n);    /* n < 1 is taken as 1 */
int pta_thread(void);               /* index of the calling thread inside a parallel region, 0 outside */

/* Interrupts. The caller (csrc/py) installs a hook for its own OS thread around a long call; the core polls it
 * between and within layers and between decode steps, on the calling thread only, outside parallel regions. The hook is rate
 * limited here (every 20 ms). A non-zero answer makes the poll return PTA_E_INTERRUPTED. */
typedef int (*pta_interrupt_hook)(void *context);
void pta_set_interrupt_hook(pta_interrupt_hook hook, void *context); /* NULL removes it */
pta_code pta_poll_interrupt(pta_error *err);

#endif
