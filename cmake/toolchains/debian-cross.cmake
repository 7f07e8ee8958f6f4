# What the toolchain files beside this one share: Debian's cross compilers, and the packages of headers of the system
# that compiles, which do not depend on the processor. Its libraries are not found, on purpose.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_CXX_COMPILER ${hat_cross}-g++)
set(HAT_NATIVE OFF CACHE BOOL "")      # the machine that compiles is another one
set(HAT_REQUIRE_ALL OFF CACHE BOOL "") # what needs a library is left out
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -static") # runs without the other system's libraries
foreach(package xtensor xsimd Boost)
  file(GLOB folder /usr/lib/*/cmake/${package} /usr/lib/*/cmake/${package}-[0-9]*)
  if(folder)
    list(GET folder 0 folder)
    set(${package}_DIR ${folder} CACHE PATH "")
  endif()
endforeach()
foreach(package yaml-cpp ZLIB PkgConfig MPI benchmark)
  set(CMAKE_DISABLE_FIND_PACKAGE_${package} ON)
endforeach()
