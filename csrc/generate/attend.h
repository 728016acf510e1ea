/* Attention of a batch of rows over cached pages. */
#ifndef PTA_GENERATE_ATTEND_H
#define PTA_GENERATE_ATTEND_H

#include "step.h"

/* Team operation: put every row's key and value of layer `layer` from step->qkv into its page. */
void pta_store_keys(const pta_team *team, const pta_step *step, const pta_config *config, int64_t layer);

/* Team operation: step->attention from step->qkv and the pages of layer `layer`. Consecutive rows that share a page read
 * it together. Uses pta_team_next and team->scratch. */
void pta_attend(const pta_team *team, const pta_step *step, const pta_config *config, int64_t layer);

#endif
