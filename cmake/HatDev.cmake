# Flags of our own programs only: warnings, instruction set, sanitizers.
add_library(hat_dev INTERFACE)
target_link_libraries(hat_dev INTERFACE hat::hat)
target_compile_options(hat_dev INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  # kernels say fma where they mean it; nothing else may be contracted, so that equal sums stay equal
  -ffp-contract=off)
if(HAT_WERROR)
  target_compile_options(hat_dev INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12's AVX-512 intrinsics trip these even as system headers
  target_compile_options(hat_dev INTERFACE -Wno-maybe-uninitialized -Wno-uninitialized
    -Wno-restrict) # g++ 12 sees overlaps in "text" + std::string (GCC bug 105651)
endif()
# a target's property HAT_ISA names another instruction set for it
target_compile_options(hat_dev INTERFACE
  $<IF:$<BOOL:$<TARGET_PROPERTY:HAT_ISA>>,$<TARGET_PROPERTY:HAT_ISA>,$<$<BOOL:${HAT_NATIVE}>:-march=native>>)
if(HAT_SANITIZE)
  # the unrolled kernels take minutes to compile with checks at -O2; a target's property HAT_BRIEF says that it runs for
  # seconds, too, when nothing is optimised
  target_compile_options(hat_dev INTERFACE $<IF:$<BOOL:$<TARGET_PROPERTY:HAT_BRIEF>>,-O0,-O1> -g1)
  target_compile_definitions(hat_dev INTERFACE HAT_SANITIZED) # a few tests do less then: they would take minutes
  target_compile_options(hat_dev INTERFACE -fsanitize=${HAT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # clang counts this as undefined, g++ does not; xsimd's generic conversions to integers rely on a mask applied after
  target_compile_options(hat_dev INTERFACE $<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=float-cast-overflow>)
  target_link_options(hat_dev INTERFACE -fsanitize=${HAT_SANITIZE})
endif()
find_program(HAT_CCACHE ccache)
if(HAT_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HAT_CCACHE})
endif()

# hat_add_mpi_test(name target ranks): runs the program on this machine as so many ranks; left out without mpiexec.
function(hat_add_mpi_test name target ranks)
  if(NOT MPIEXEC_EXECUTABLE)
    message(STATUS "hat: no mpiexec: the test '${name}' is left out")
    return()
  endif()
  add_test(NAME ${name} COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} $<TARGET_FILE:${target}>)
  # Open MPI asks for consent to run as root, and to run more ranks than there are cores; others ignore these
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 PROCESSORS ${ranks} ENVIRONMENT
    "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1")
endfunction()
