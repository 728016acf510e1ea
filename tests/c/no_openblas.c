/* In the place of csrc/kernels/openblas.c: the kernels are tested without it. */
#include <stdlib.h>

#include "../../csrc/kernels/kernel.h"
#include "../../csrc/kernels/openblas.h"

void pta_openblas_init(void) {}
const char *pta_openblas_config(void) { return "none"; }
const char *pta_openblas_corename(void) { return "none"; }
void pta_openblas_pack(pta_packed *packed, const float *w, int64_t first, int64_t last) {
    (void)packed, (void)w, (void)first, (void)last;
    abort();
}
void pta_openblas_multiply(const pta_team *team, const pta_openblas_product *p) {
    (void)team, (void)p;
    abort();
}
