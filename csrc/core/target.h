/* PTA_CLONES before a function compiles it for several instruction sets; the loader picks one for this CPU. */
#ifndef PTA_CORE_TARGET_H
#define PTA_CORE_TARGET_H

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(PTA_NO_CLONES)
/* Feature levels, not CPU names: "arch=skylake-avx512" would be taken on that very CPU alone, "default" on later ones. */
#if __GNUC__ >= 12
#define PTA_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define PTA_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
#else
#define PTA_CLONES
#endif

/* For helpers of cloned functions: a plain `inline` is not inlined into a clone for another architecture (gcc then
 * calls one scalar copy, and the loop around it is not vectorised). */
#if defined(__GNUC__)
#define PTA_INLINE static inline __attribute__((always_inline))
#else
#define PTA_INLINE static inline
#endif

#endif
