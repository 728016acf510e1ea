#include "status.h"

#include <stdarg.h>
#include <stdio.h>

pta_code pta_fail(pta_error *err, pta_code code, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        err->code = code;
    }
    return code;
}
