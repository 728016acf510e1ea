/* OpenBLAS: what it says of itself, and its set-up. Its products are declared in kernel.h. */
#ifndef PTA_KERNELS_OPENBLAS_H
#define PTA_KERNELS_OPENBLAS_H

void pta_openblas_init(void); /* one thread per call: ours is the only pool */
const char *pta_openblas_config(void);
const char *pta_openblas_corename(void);

#endif
