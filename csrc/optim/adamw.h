/* AdamW (Loshchilov and Hutter 2019) over what a model trains (pta_model_trainable), with clipping by the global norm.
 *
 *     f = min(1, max_norm / (‖g‖ + 1e-6))   g' = f·g                      (as torch.nn.utils.clip_grad_norm_)
 *     w ← w·(1 - lr·weight_decay)            for parameters that decay (matrices)
 *     m ← m + (1-β1)·(g' - m)                v ← β2·v + (1-β2)·g'²
 *     w ← w - lr/(1-β1^t) · m / ( √v/√(1-β2^t) + eps )                    (as torch.optim.AdamW)
 *
 * Weights and moments are float32, coefficients and the norm float64. The result does not depend on the thread count:
 * updates are elementwise, and the norm is summed over blocks of fixed size in their order.
 */
#ifndef PTA_OPTIM_ADAMW_H
#define PTA_OPTIM_ADAMW_H

#include <stdint.h>

#include "../core/status.h"
#include "../model/model.h"

typedef struct {
    double beta1, beta2, eps;
    int64_t step_count; /* steps taken: t of the last one */
    int64_t num_floats;
    float *m, *v;       /* [num_floats], laid out as the weights */
} pta_adamw;

/* Moments of zero. PTA_E_VALUE: beta1 or beta2 outside [0, 1), eps not positive. */
pta_code pta_adamw_create(pta_adamw **out, const pta_model *model, double beta1, double beta2, double eps,
                          pta_error *err);
void pta_adamw_free(pta_adamw *o);
/* Bytes of the moments of what a model trains. */
int64_t pta_adamw_bytes(const pta_model *model);

/* One step with the model's gradients, which are only read, or set to zero in the same sweep with `zero_grad`. Packed
 * weights that were up to date are so afterwards. *grad_norm: the norm before clipping. max_norm <= 0: no
 * clipping. The model's version moves on. PTA_E_STATE: no gradients yet. PTA_E_VALUE: lr or weight_decay negative or
 * not finite, max_norm NaN. PTA_E_NONFINITE: a gradient is NaN or infinite (the message names the tensor), or too large
 * for the moments; then nothing was changed. */
pta_code pta_adamw_step(pta_adamw *o, pta_model *model, double lr, double weight_decay, double max_norm,
                        bool zero_grad, double *grad_norm, pta_error *err);

/* √Σ x² in float64, in the fixed order described above. NaN or infinity in, NaN or infinity out. x[count]. */
pta_code pta_global_norm(double *norm, const float *x, int64_t count, pta_error *err);

#endif
