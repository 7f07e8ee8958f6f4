# 64-bit ARM on Debian: cmake --toolchain cmake/toolchains/aarch64.cmake -S . -B build/aarch64 -G Ninja
# Needs g++-aarch64-linux-gnu, and qemu-user-static to run what was built. HAT_CPU is the processor.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(HAT_CPU cortex-a72 CACHE STRING "-mcpu of the target")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HAT_CPU)
string(APPEND CMAKE_CXX_FLAGS_INIT " -mcpu=${HAT_CPU}")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
set(hat_cross aarch64-linux-gnu)
include(${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake)
