# An overlay port: vcpkg install hat --overlay-ports=FOLDER_OF_HAT/cmake/vcpkg takes the sources around it. Copied into a
# registry, it takes those of a release: then set REPO, and the SHA512 that vcpkg prints.
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../.." ABSOLUTE)
if(NOT EXISTS "${SOURCE_PATH}/include/hat/hat.hpp")
    vcpkg_from_github(
        OUT_SOURCE_PATH SOURCE_PATH
        REPO hat/hat
        REF "v${VERSION}"
        SHA512 0
        HEAD_REF main
    )
endif()

set(VCPKG_BUILD_TYPE release) # header-only
vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        -DHAT_BUILD_TESTS=OFF
        -DHAT_BUILD_EXAMPLES=OFF
        -DHAT_BUILD_BENCH=OFF
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/hat)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/lib")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
