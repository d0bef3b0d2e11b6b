# Third-party libraries, each as one target. Debian packages: scripts/deps.
#
# DPDK's headers are system headers: their warnings are not ours. Only the rooms named in house style 2 link them.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(culvert_pkg target module)
  pkg_check_modules(${target} REQUIRED IMPORTED_TARGET ${module})
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE PkgConfig::${target})
endfunction()

# Debian's libdpdk.pc carries -march flags for the oldest CPU it supports and, for static linking, every driver.
# We link the shared libraries and load the drivers' shared objects at start (EAL does that by itself).
pkg_check_modules(LIBDPDK REQUIRED libdpdk)
add_library(dpdk INTERFACE)
target_include_directories(dpdk SYSTEM INTERFACE ${LIBDPDK_INCLUDE_DIRS})
target_compile_options(dpdk INTERFACE -include rte_config.h -march=corei7)
target_compile_definitions(dpdk INTERFACE ALLOW_EXPERIMENTAL_API)
target_link_libraries(dpdk INTERFACE ${LIBDPDK_LINK_LIBRARIES})

find_package(OpenSSL 3.0 REQUIRED)
culvert_pkg(nghttp2 libnghttp2)
find_library(IPSEC_MB_LIBRARY IPSec_MB REQUIRED)
add_library(ipsec_mb INTERFACE)
target_link_libraries(ipsec_mb INTERFACE ${IPSEC_MB_LIBRARY})
