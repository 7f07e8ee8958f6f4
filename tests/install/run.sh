#!/usr/bin/env bash
# Installs hat into a clean prefix, moves it, and uses it as other people's projects would. Ends with status 0 when
# every way works. Usage: tests/install/run.sh WORK_FOLDER [CXX]
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
rm -rf "${1:?the folder to work in}"
mkdir -p "$1"
work=$(cd "$1" && pwd)
cxx=${2:-g++}
export CXX=$cxx CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja} # which the set-up script installs; make may be absent

step() { # step NAME COMMAND...: its output only when it fails
  local name=$1
  shift
  if "$@" >"$work/$name.log" 2>&1; then
    echo "ok     $name"
  else
    echo "FAILED $name: $*"
    cat "$work/$name.log"
    exit 1
  fi
}
refused() { # refused NAME MESSAGE COMMAND...: it must fail and say so
  local name=$1 message=$2
  shift 2
  if "$@" >"$work/$name.log" 2>&1 || ! tr '\n' ' ' <"$work/$name.log" | tr -s ' ' | grep -q "$message"; then
    echo "FAILED $name: expected to fail with: $message"
    cat "$work/$name.log"
    exit 1
  fi
  echo "ok     $name"
}

cd "$work"
step configure cmake -S "$source" -B build -DHAT_BUILD_TESTS=OFF -DHAT_BUILD_EXAMPLES=OFF
step install cmake --install build --prefix "$work/staged"
step install.headers cmake --install build --component headers --prefix "$work/headers"
step install.headers_are_all diff -r staged headers # whatever else a build installs is another component
mv staged prefix # nothing in it may know where it was installed
step no_path_of_the_build bash -c "! grep -r -e '$work' -e '$source' prefix"

consumer() { # consumer NAME ARGUMENTS...
  local name=$1
  shift
  step "$name.configure" cmake -S "$source/tests/install" -B "$name" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
  step "$name.build" cmake --build "$name" -j "$(nproc)"
  step "$name.run" "$name/consumer"
  # what the user did not ask for: warnings, optimisation, instruction sets, sanitizers
  step "$name.no_flag_leaks" bash -c "! grep -E '\"command\".* -(W|O|m|f)[^ ]*' $name/compile_commands.json"
}
components="json;report;yaml;gzip;sentencepiece"
if command -v mpicxx >/dev/null; then components="$components;mpi"; else echo "no MPI: the component mpi is left out"; fi
consumer find_package "-DCMAKE_PREFIX_PATH=$work/prefix" "-DCOMPONENT=$components"
step find_package.from_the_prefix grep -q "^hat_DIR:PATH=$work/prefix" find_package/CMakeCache.txt
consumer add_subdirectory "-DHAT_SOURCE_DIR=$source"
step add_subdirectory.install cmake --install add_subdirectory --prefix "$work/theirs"
step add_subdirectory.installs_only_theirs [ "$(cd theirs && find . -type f)" = ./bin/consumer ]
step fetch_content.configure cmake -S "$source/tests/install" -B fetch_content "-DHAT_SOURCE_DIR=$source" -DFETCH=ON
step fetch_content.builds_only_theirs [ "$(cmake --build fetch_content --target help | grep -c hat_test)" = 0 ]
refused unknown_component "hat has no component colour; its components are json, report, yaml" \
  cmake -S "$source/tests/install" -B unknown "-DCMAKE_PREFIX_PATH=$work/prefix" -DCOMPONENT=colour
step unknown_optional_component cmake -S "$source/tests/install" -B optional "-DCMAKE_PREFIX_PATH=$work/prefix" \
  -DOPTIONAL=colour
for needs in json:nlohmann_json:nlohmann_json report:nlohmann_json:nlohmann_json yaml:yaml-cpp:yaml-cpp gzip:ZLIB:ZLIB \
  sentencepiece:sentencepiece:PkgConfig mpi:MPI:MPI; do # component:what it needs:by which package
  IFS=: read -r component library package <<<"$needs"
  refused "missing.$component" "hat's component $component needs $library, which was not found" \
    cmake -S "$source/tests/install" -B "missing_$component" "-DCMAKE_PREFIX_PATH=$work/prefix" \
    "-DCOMPONENT=$component" "-DCMAKE_DISABLE_FIND_PACKAGE_$package=ON"
  step "vcpkg.feature.$component" grep -q "\"$component\": {" "$source/cmake/vcpkg/vcpkg.json"
done
refused missing_library_of_a_part \
  "hat's component json needs nlohmann_json, which was not found .*hat::json_needs_nlohmann_json_which_was_not_found" \
  cmake -S "$source/tests/install" -B missing_part "-DHAT_SOURCE_DIR=$source" \
  -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON

# one version in all package files
version=$(sed -n 's/.*version = "\(.*\)";/\1/p' "$source/include/hat/version.hpp")
for file in vcpkg.json cmake/vcpkg/vcpkg.json; do
  step "version.${file//\//.}" grep -q "\"version\": \"$version\"" "$source/$file"
done
step version.package grep -q "PACKAGE_VERSION \"$version\"" "$work/prefix/share/cmake/hat/hatConfigVersion.cmake"

# without CMake, as ordinary (not system) headers, with all warnings
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
step compiler.build "$cxx" -std=c++20 $warnings -I "$work/prefix/include" -pthread -o plain \
  "$source/examples/custom_latency/main.cpp"
step compiler.run ./plain
refused compiler.older_standard "hat needs C++20" "$cxx" -std=c++17 -fsyntax-only -I "$work/prefix/include" \
  "$source/examples/custom_latency/main.cpp"
# no header defines anything that two translation units may not have: one with all headers, linked with itself
# (without the MPI header, whose library each system has elsewhere)
(cd prefix/include && find hat -name '*.hpp' ! -path '*/distributed/*' | sort) | sed 's/.*/#include <&>/' >all.cpp
step all_headers.compile "$cxx" -std=c++20 $warnings -c -I "$work/prefix/include" -o all.o all.cpp
step all_headers.twice "$cxx" -r -o twice.o all.o all.o
if command -v pkg-config >/dev/null; then
  export PKG_CONFIG_PATH=$work/prefix/share/pkgconfig
  step pkg_config.version [ "$(pkg-config --modversion hat)" = "$version" ]
  # folders named otherwise, some of several levels
  step pkg_config.layout.configure cmake -S "$source" -B layout -DHAT_BUILD_TESTS=OFF -DHAT_BUILD_EXAMPLES=OFF \
    -DCMAKE_INSTALL_INCLUDEDIR=include/of/hat -DCMAKE_INSTALL_DATADIR=lib/data
  step pkg_config.layout.install cmake --install layout --prefix "$work/laid"
  step pkg_config.layout.include test -f "$(PKG_CONFIG_PATH=$work/laid/lib/data/pkgconfig \
    pkg-config --variable=includedir hat)/hat/hat.hpp"
  # the next standard, and without RTTI, on the way
  step pkg_config.cxx23_no_rtti "$cxx" -std=c++2b -fno-rtti $warnings -fsyntax-only $(pkg-config --cflags hat) \
    "$source/examples/custom_latency/main.cpp"
fi
echo "hat works from $work/prefix"
