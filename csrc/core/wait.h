/* Sleeping until a word changes: a futex on Linux, a lock and a condition elsewhere (and with -DPTA_NO_FUTEX). */
#ifndef PTA_CORE_WAIT_H
#define PTA_CORE_WAIT_H

#include <stdatomic.h>

/* Sleep while *word is `old`. May return early: the caller looks again. */
void pta_sleep_while(atomic_int *word, int old);

/* Wake all who sleep on it; called after *word has changed (sequentially consistent). */
void pta_wake_all(atomic_int *word);

/* For a forked child, whose other threads are gone: nobody sleeps, nothing is locked. */
void pta_wait_reset(void);

/* Tell the processor that this thread spins. */
static inline void pta_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
