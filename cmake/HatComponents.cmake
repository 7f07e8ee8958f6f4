# The optional components of hat and what each needs; used by our build and, installed, by find_package(hat).
set(hat_components json report yaml gzip sentencepiece mpi)

# hat_find_component(name): looks for the library of a component. Sets in the caller hat_<name>_LIBRARY, a target or "",
# and hat_<name>_NEEDS, the library's name for messages.
function(hat_find_component name)
  if(name MATCHES "^(json|report)$") # configuration, checkpoints, model files; reports, which are written as JSON
    set(needs nlohmann_json)
    find_package(nlohmann_json QUIET)
    set(candidates nlohmann_json::nlohmann_json)
  elseif(name STREQUAL "yaml") # the reference's configuration files
    set(needs yaml-cpp)
    find_package(yaml-cpp QUIET)
    set(candidates yaml-cpp::yaml-cpp yaml-cpp) # without a namespace before 0.8
  elseif(name STREQUAL "gzip") # .gz text
    set(needs ZLIB)
    find_package(ZLIB QUIET)
    set(candidates ZLIB::ZLIB)
  elseif(name STREQUAL "sentencepiece") # subword models; it has a pkg-config file only
    set(needs sentencepiece)
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
      pkg_check_modules(HAT_SENTENCEPIECE QUIET IMPORTED_TARGET sentencepiece)
    endif()
    set(candidates PkgConfig::HAT_SENTENCEPIECE)
  elseif(name STREQUAL "mpi") # searches on several machines
    set(needs MPI)
    find_package(MPI QUIET COMPONENTS CXX)
    set(candidates MPI::MPI_CXX)
  else()
    list(JOIN hat_components ", " known)
    message(FATAL_ERROR "hat has no component ${name}; its components are ${known}")
  endif()
  set(hat_${name}_NEEDS ${needs} PARENT_SCOPE)
  set(hat_${name}_LIBRARY "" PARENT_SCOPE)
  foreach(candidate ${candidates})
    if(TARGET ${candidate})
      set(hat_${name}_LIBRARY ${candidate} PARENT_SCOPE)
      break()
    endif()
  endforeach()
endfunction()
