/* The one pool of threads. Workers are made when first needed, sleep between jobs, and are made anew in a forked child. */
#ifndef PTA_CORE_POOL_H
#define PTA_CORE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

/* Take the pool for a job; false when it is in use, by another thread or by a job that this thread is in: the caller then
 * does its work alone. Who takes it gives it back. */
bool pta_pool_take(void);
void pta_pool_give(void);

/* How many threads of `size` there can be, the caller among them; makes them. */
int pta_pool_grant(int size);

/* Run work(context, id) for id = 0 .. size-1, id 0 on the calling thread, and wait for all. `size` as granted. */
void pta_pool_run(void (*work)(void *context, int id), void *context, int size);

/* Wait until *word is not `old`: spin for a while, then sleep. pta_wake wakes who sleeps on it. What was written before
 * the word changed is seen by who has waited for it. */
void pta_wait_change(atomic_int *word, int old, atomic_int *sleepers);
void pta_wake(atomic_int *word, atomic_int *sleepers);

#endif
