/* Group-relative advantages (Eq. 10 of the paper), in float64.
 *
 *     A_i = (R_i - mean) / (std + eps)
 *
 * mean is that of the response's group. std is, by `scale`, that of the group (Eq. 10), that of all rewards of the
 * call around their common mean (TRL's scale_rewards="batch"), or 1 with no eps (Dr. GRPO). std divides by n - ddof.
 *
 * A reward that is NaN is not applicable: it is left out of mean and std, and its advantage is 0. A group whose
 * applicable rewards are all equal (an exact max == min test, so that rounding residue is never blown up), or too few
 * for ddof, has advantages 0.
 */
#ifndef PTA_RL_ADVANTAGES_H
#define PTA_RL_ADVANTAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/status.h"

typedef enum { PTA_SCALE_GROUP, PTA_SCALE_BATCH, PTA_SCALE_NONE } pta_scale;

/* advantages[n] and zero_std[G] (true where a group's applicable rewards carry no signal: all equal, or none) from
 * rewards[n], group g being rewards[offsets[g] .. offsets[g+1]).
 * PTA_E_VALUE: offsets that do not run from 0 to n without decreasing, an infinite reward, ddof < 0, eps negative or not
 * finite. PTA_E_NONFINITE: rewards so large that their spread overflows. On failure the outputs are undefined. */
pta_code pta_group_advantages(double *advantages, bool *zero_std, const double *rewards, int64_t n,
                              const int64_t *offsets, int64_t G, pta_scale scale, int64_t ddof, double eps,
                              pta_error *err);

#endif
