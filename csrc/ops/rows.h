/* Rows of either element type to floats and back, by the calling thread alone. */
#ifndef PTA_OPS_ROWS_H
#define PTA_OPS_ROWS_H

#include "../core/dtype.h"

/* to[rows, n] = the first rows and columns of a matrix, times scale. */
void pta_rows_load(float *to, pta_matrix from, float scale, int64_t rows, int64_t n);
/* The first rows and columns of a matrix = from[rows, n], rounded to its type. */
void pta_rows_store(pta_matrix to, const float *from, int64_t rows, int64_t n);
/* to[n, rows] = from[rows, n] across; rows is a multiple of 16. */
void pta_rows_across(float *to, const float *from, int64_t rows, int64_t n);
/* to[n] += from[n] */
void pta_row_add(float *to, const float *from, int64_t n);

#endif
