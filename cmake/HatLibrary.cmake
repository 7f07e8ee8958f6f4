# The library: an INTERFACE target with nothing but its headers and what they need, one target for each optional
# component, and their installation. No flag of ours reaches users from here.
find_package(xtensor REQUIRED)
find_package(xsimd REQUIRED) # never with a version: its version file refuses other majors
find_package(Boost 1.74 CONFIG REQUIRED)
find_package(Threads REQUIRED)
include(${CMAKE_CURRENT_LIST_DIR}/HatComponents.cmake)

# A header belongs to the components that its opening comment names (the test `layers` holds that against what it
# includes), else to the core.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/hat/*.hpp)
set(core_headers "")
set(optional_headers "")
list(JOIN hat_components "|" any_component)
foreach(header ${headers})
  file(STRINGS ${header} named REGEX "^/// .*hat::(${any_component})")
  if(named)
    list(APPEND optional_headers ${header})
  else()
    list(APPEND core_headers ${header})
  endif()
endforeach()

add_library(hat INTERFACE)
add_library(hat::hat ALIAS hat)
target_compile_features(hat INTERFACE cxx_std_20)
target_sources(hat INTERFACE
  FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${core_headers}
  FILE_SET optional TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${optional_headers})
target_link_libraries(hat INTERFACE xtensor xsimd Boost::headers Threads::Threads)

# hat::<component> is hat::hat plus the component's library.
set(hat_found_components "")
foreach(name ${hat_components})
  hat_find_component(${name})
  if(hat_${name}_LIBRARY)
    add_library(hat_${name} INTERFACE)
    add_library(hat::${name} ALIAS hat_${name})
    target_link_libraries(hat_${name} INTERFACE hat ${hat_${name}_LIBRARY})
    list(APPEND hat_found_components hat::${name})
  elseif(NOT PROJECT_IS_TOP_LEVEL)
    # whoever links it reads in CMake's error, and in this line before it, why it is not there
    message(STATUS "hat's component ${name} needs ${hat_${name}_NEEDS}, which was not found")
    add_library(hat_${name} INTERFACE)
    add_library(hat::${name} ALIAS hat_${name})
    target_link_libraries(hat_${name} INTERFACE hat::${name}_needs_${hat_${name}_NEEDS}_which_was_not_found)
  endif()
endforeach()

# Every header must compile on its own: target all_verify_interface_header_sets. The optional ones only where their
# libraries are there.
if(PROJECT_IS_TOP_LEVEL)
  set_target_properties(hat PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
  set(verified "")
  foreach(header ${optional_headers})
    file(STRINGS ${header} named REGEX "^/// .*hat::(${any_component})")
    string(REGEX MATCHALL "hat::(${any_component})" named "${named}")
    list(REMOVE_ITEM named ${hat_found_components})
    if(NOT named)
      list(APPEND verified ${header})
    endif()
  endforeach()
  add_library(hat_optional INTERFACE)
  target_sources(hat_optional INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${verified})
  target_link_libraries(hat_optional INTERFACE ${hat_found_components})
  set_target_properties(hat_optional PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endif()

option(HAT_INSTALL "Install hat with the project" ${PROJECT_IS_TOP_LEVEL})
if(HAT_INSTALL)
  include(GNUInstallDirs)
  include(CMakePackageConfigHelpers)
  set(package_folder ${CMAKE_INSTALL_DATADIR}/cmake/hat) # nothing in it depends on the architecture
  install(TARGETS hat EXPORT hatTargets
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT headers
    FILE_SET optional DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT headers)
  install(EXPORT hatTargets NAMESPACE hat:: DESTINATION ${package_folder} COMPONENT headers)
  configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hatConfig.cmake.in ${PROJECT_BINARY_DIR}/hatConfig.cmake
    INSTALL_DESTINATION ${package_folder})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/hatConfigVersion.cmake
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
  install(FILES ${PROJECT_BINARY_DIR}/hatConfig.cmake ${PROJECT_BINARY_DIR}/hatConfigVersion.cmake
    ${CMAKE_CURRENT_LIST_DIR}/HatComponents.cmake DESTINATION ${package_folder} COMPONENT headers)
  file(RELATIVE_PATH hat_pc_to_prefix ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  file(RELATIVE_PATH hat_pc_to_include ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/hat.pc.in ${PROJECT_BINARY_DIR}/hat.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/hat.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig COMPONENT headers)
endif()
