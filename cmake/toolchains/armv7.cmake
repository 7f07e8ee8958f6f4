# 32-bit ARM with NEON on Debian: cmake --toolchain cmake/toolchains/armv7.cmake -S . -B build/armv7 -G Ninja
# Needs g++-arm-linux-gnueabihf, and qemu-user-static to run what was built.
set(CMAKE_SYSTEM_PROCESSOR armv7l)
string(APPEND CMAKE_CXX_FLAGS_INIT " -march=armv7-a+neon-vfpv4 -mfpu=neon-vfpv4 -Wno-psabi")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm-static)
set(hat_cross arm-linux-gnueabihf)
include(${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake)
