// Assertions about our own mistakes, never about input.
//
// DP_CHECK stays in every build: it aborts where going on would corrupt memory or let unauthorised traffic pass.
// DP_DCHECK is compiled into the dev and sanitizer presets only; use it freely.
#pragma once

namespace culvert {

// Prints file, line and the condition to standard error and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition);

}  // namespace culvert

#define DP_CHECK(condition)                                                 \
  (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) \
                                                     : ::culvert::check_failed(__FILE__, __LINE__, #condition))

#ifdef CULVERT_DCHECK
#define DP_DCHECK(condition) DP_CHECK(condition)
#else
#define DP_DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#endif
