/* The matrix products of a model, whichever form its weights have: masters with packed copies, or frozen. Team operations. */
#ifndef PTA_MODEL_PRODUCTS_H
#define PTA_MODEL_PRODUCTS_H

#include "model.h"

/* y[T, N] = or += x[T, K] · Wᵀ. `layer` is ignored for the head. Packed weights must be ready. */
void pta_product_forward(const pta_team *team, const pta_model *m, int64_t layer, pta_matrix_id which, pta_matrix y,
                         pta_matrix x, int64_t T, bool accumulate);
/* dx[T, K] = dy[T, N] · W. */
void pta_product_dinput(const pta_team *team, const pta_model *m, int64_t layer, pta_matrix_id which, pta_matrix dx,
                        pta_matrix dy, int64_t T);

#endif
