#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "wait.h"

#if defined(__linux__) && !defined(PTA_NO_FUTEX)
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void pta_sleep_while(atomic_int *word, int old) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0); }
void pta_wake_all(atomic_int *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }
void pta_wait_reset(void) {}

#else
#include <pthread.h>

/* One pair for all words: who is woken for another's sake looks and sleeps again. Who sleeps has looked at the word with the
 * lock held, and who wakes takes the lock after the change: so no change falls between the look and the sleep. */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_changed = PTHREAD_COND_INITIALIZER;

void pta_sleep_while(atomic_int *word, int old) {
    pthread_mutex_lock(&g_lock);
    while (atomic_load(word) == old) pthread_cond_wait(&g_changed, &g_lock);
    pthread_mutex_unlock(&g_lock);
}

void pta_wake_all(atomic_int *word) {
    (void)word;
    pthread_mutex_lock(&g_lock);
    pthread_cond_broadcast(&g_changed);
    pthread_mutex_unlock(&g_lock);
}

void pta_wait_reset(void) {
    g_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    g_changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}
#endif
