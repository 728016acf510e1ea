/* What this machine can do at most, measured: the denominators of benchmarks. */
#ifndef PTA_KERNELS_PROBE_H
#define PTA_KERNELS_PROBE_H

#include <stdint.h>

#include "../core/status.h"

typedef enum { PTA_PROBE_F32, PTA_PROBE_BF16_DOT, PTA_PROBE_AMX } pta_probe;

/* Floating-point operations per second of independent multiply-adds on registers, on `threads` threads for about
 * `seconds`. PTA_E_VALUE where the CPU has no such instruction. */
pta_code pta_probe_peak(double *rate, pta_probe kind, double seconds, int threads, pta_error *err);
/* Bytes per second of reading `bytes` of memory once, best of five passes, every thread its part. */
pta_code pta_probe_bandwidth(double *rate, int64_t bytes, int threads, pta_error *err);

#endif
