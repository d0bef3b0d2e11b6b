# Compiler flags for everything Culvert builds. Warnings are errors in the dev preset only, so that a newer
# compiler's new warning never stops a user's build.

option(CULVERT_WERROR "warnings are errors" OFF)
option(CULVERT_DCHECK "compile DP_DCHECK in" OFF)

add_library(culvert_flags INTERFACE)
target_compile_options(culvert_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Wcast-align -Woverloaded-virtual -Wimplicit-fallthrough
  -fno-omit-frame-pointer
  # GCC 12 sees overlapping copies in std::string's operator+ at -O3 where there are none (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<BOOL:${CULVERT_WERROR}>:-Werror>)
target_compile_definitions(culvert_flags INTERFACE
  $<$<BOOL:${CULVERT_DCHECK}>:CULVERT_DCHECK=1>
  CULVERT_VERSION="${PROJECT_VERSION}")

if(CULVERT_SANITIZE)
  string(FIND "${CULVERT_SANITIZE}" "undefined" has_undefined)
  set(sanitize -fsanitize=${CULVERT_SANITIZE} -fno-sanitize-recover=all)
  if(NOT has_undefined EQUAL -1)
    # Rooms are built without RTTI, which the vptr check needs.
    list(APPEND sanitize -fno-sanitize=vptr)
  endif()
  add_compile_options(${sanitize})
  add_link_options(${sanitize})
endif()

# Rooms of the data plane: no exceptions, no RTTI (house style 6).
add_library(culvert_plain_flags INTERFACE)
target_compile_options(culvert_plain_flags INTERFACE -fno-exceptions -fno-rtti)
