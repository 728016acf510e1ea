/* Rows of either element type to floats and back, by the calling thread alone. */
#ifndef PTA_OPS_ROWS_H
#define PTA_OPS_ROWS_H

#include "../core/dtype.h"

/* to[n] = the first n elements of a matrix's first row, times scale. */
void pta_row_load(float *to, pta_matrix from, float scale, int64_t n);
/* The first n elements of a matrix's first row = from[n], rounded to its type. */
void pta_row_store(pta_matrix to, const float *from, int64_t n);

#endif
