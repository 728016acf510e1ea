/* AVX-512: 12 × 32 sums in 24 registers; bfloat16 is widened on the fly. */
#include "kernel.h"

#ifdef PTA_X86
#define LANES 16
#define TILE_ROWS 12
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#include "fma_tile.h"

TARGET static void avx512_tile_f32(const pta_tile *t, int rows) { fma_tile(t, rows, false); }
TARGET static void avx512_tile_bf16(const pta_tile *t, int rows) { fma_tile(t, rows, true); }

PTA_FLOAT_PACKING(avx512, TARGET, TILE_ROWS)
PTA_FLOAT_KERNELS(avx512, "avx512", TILE_ROWS)
#endif
