# One program built for several levels of instruction sets, and a launcher that starts the best one. A level is the list
# of features it needs: the flags of its build and what the launcher asks the processor both come from this list.
# The features are those that kernels in float and bfloat16 look for. The program computes nothing in bytes, so that VNNI
# and 64-bit ARM's extensions would bring it nothing.
set(hat_levels x86-64 x86-64-v3 x86-64-v4 x86-64-v4-bf16 x86-64-v4-amx) # a later one is better
set(hat_features_x86-64 "")
set(hat_features_x86-64-v3 avx2 bmi bmi2 fma)
set(hat_features_x86-64-v4 ${hat_features_x86-64-v3} avx512f avx512bw avx512cd avx512dq avx512vl)
set(hat_features_x86-64-v4-bf16 ${hat_features_x86-64-v4} avx512bf16)
set(hat_features_x86-64-v4-amx ${hat_features_x86-64-v4-bf16} amx-tile amx-bf16)

include(GNUInstallDirs)
file(RELATIVE_PATH hat_levels_folder "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBEXECDIR}/hat")
set(hat_launcher_source ${PROJECT_SOURCE_DIR}/examples/hat/launcher/launcher.cpp)

# hat_level_flags(variable level): the compiler's flags for it.
function(hat_level_flags variable level)
  list(TRANSFORM hat_features_${level} PREPEND -m OUTPUT_VARIABLE flags)
  set(${variable} -march=x86-64 ${flags} PARENT_SCOPE)
endfunction()

# hat_add_launcher(target name table): the program `name`, of flags that every x86-64 runs, which starts one of the levels
# in the file `levels.inc` of the folder `table`.
function(hat_add_launcher target name table)
  add_executable(${target} ${hat_launcher_source})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name})
  hat_level_flags(flags x86-64)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE ${flags} -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    $<$<BOOL:${HAT_WERROR}>:-Werror>)
  target_compile_definitions(${target} PRIVATE HAT_NAME="${name}" HAT_LEVELS_FOLDER="${hat_levels_folder}")
  target_include_directories(${target} PRIVATE ${table})
endfunction()

# hat_add_levels(target name prefix add level...): for each level the program that the function add(TARGET) defines as
# TARGET = target_level and links with hat_dev, and the launcher as the target itself, all in the build's folder
# `prefix` where they would be in an installation.
function(hat_add_levels target name prefix add)
  set(unknown ${ARGN})
  list(REMOVE_ITEM unknown ${hat_levels})
  list(JOIN hat_levels ", " known)
  if(unknown)
    message(FATAL_ERROR "there is no level ${unknown} of instruction sets; the levels are ${known}")
  elseif(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    message(FATAL_ERROR "the levels of instruction sets are of x86-64 (${known}), not of ${CMAKE_SYSTEM_PROCESSOR}")
  elseif(hat_levels_folder MATCHES "^\\.\\./\\.\\./")
    message(FATAL_ERROR "the launcher needs CMAKE_INSTALL_BINDIR and CMAKE_INSTALL_LIBEXECDIR beside each other")
  endif()
  hat_add_launcher(${target} ${name} ${CMAKE_CURRENT_BINARY_DIR}/${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${prefix}/bin)
  set(table "")
  foreach(level IN LISTS hat_levels)
    if(NOT level IN_LIST ARGN)
      continue()
    endif()
    cmake_language(CALL ${add} ${target}_${level})
    hat_level_flags(flags ${level})
    set_target_properties(${target}_${level} PROPERTIES HAT_ISA "${flags}" OUTPUT_NAME ${name}-${level}
      RUNTIME_OUTPUT_DIRECTORY ${prefix}/bin/${hat_levels_folder})
    target_compile_definitions(${target}_${level} PRIVATE HAT_LEVEL="${level}")
    add_dependencies(${target} ${target}_${level})
    set(test true)
    foreach(feature IN LISTS hat_features_${level})
      if(feature MATCHES "^amx")
        string(APPEND test " && amx()")
      else()
        string(APPEND test " && __builtin_cpu_supports(\"${feature}\")")
      endif()
    endforeach()
    string(APPEND table "{\"${level}\", ${test}},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${target}/levels.inc CONTENT "${table}" @ONLY)
endfunction()
