/* How the core reports failure: a code and a message. Nothing in csrc/ outside csrc/py prints, exits or aborts.
 *
 * A function that can fail returns pta_code and takes `pta_error *err`. On failure it returns non-zero, fills *err,
 * and leaves its outputs as its header states (by default: objects are as they were before the call).
 */
#ifndef PTA_CORE_STATUS_H
#define PTA_CORE_STATUS_H

typedef enum {
    PTA_OK = 0,
    PTA_E_VALUE,       /* an argument is out of range: ValueError */
    PTA_E_MEMORY,      /* an allocation failed: MemoryError */
    PTA_E_STATE,       /* not allowed now (no tape, freed segment): RuntimeError */
    PTA_E_NONFINITE,   /* NaN or infinity where a finite number is needed: FloatingPointError */
    PTA_E_INTERRUPTED  /* the interrupt hook asked to stop; the hook has set its own exception */
} pta_code;

typedef struct {
    pta_code code;
    char message[320];
} pta_error;

/* Fill *err (printf format) and return `code`: `return pta_fail(err, PTA_E_VALUE, "...", ...)`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
pta_code pta_fail(pta_error *err, pta_code code, const char *format, ...);

#endif
