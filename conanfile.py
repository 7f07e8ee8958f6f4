import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir


class HatConan(ConanFile):
    name = "hat"
    description = "Hardware-aware Transformers: search, train and deploy small fast translation models"
    license = "MIT"
    topics = ("transformer", "machine-translation", "neural-architecture-search", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    # each option is one optional component of the CMake package (json: two, with report); sentencepiece has no recipe,
    # and an MPI is the machine's own
    options = {"json": [True, False], "yaml": [True, False], "gzip": [True, False]}
    default_options = {"json": True, "yaml": False, "gzip": False}
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*"
    test_package_folder = "tests/install/conan"
    no_copy_source = True

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "include", "hat", "version.hpp"))
        self.version = ".".join(
            re.search(rf"HAT_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")
        )

    def requirements(self):
        # xtensor first: it pins its xsimd, and the range below must meet that pin
        self.requires("xtensor/[>=0.24.3 <0.28]", transitive_headers=True)
        self.requires("xsimd/[>=8.1 <15]", transitive_headers=True)
        self.requires("boost/[>=1.74 <2]", transitive_headers=True, options={"header_only": True})
        if self.options.json:
            self.requires("nlohmann_json/[>=3.11 <4]", transitive_headers=True)
        if self.options.yaml:
            self.requires("yaml-cpp/[>=0.7 <1]", transitive_headers=True, transitive_libs=True)
        if self.options.gzip:
            self.requires("zlib/[>=1.2.11 <2]", transitive_headers=True, transitive_libs=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.settings.clear()  # the options stay: they are components with libraries of their own

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(HAT_BUILD_TESTS=False, HAT_BUILD_EXAMPLES=False, HAT_BUILD_BENCH=False)
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()
        rmdir(self, os.path.join(self.package_folder, "share"))  # Conan writes its own package files

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "hat")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "hat::hat")
        core.set_property("pkg_config_name", "hat")
        core.requires = ["xtensor::xtensor", "xsimd::xsimd", "boost::headers"]
        core.bindirs = []
        core.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            core.system_libs = ["pthread"]
        libraries = {
            "json": ("json", "nlohmann_json::nlohmann_json"),
            "report": ("json", "nlohmann_json::nlohmann_json"),
            "yaml": ("yaml", "yaml-cpp::yaml-cpp"),
            "gzip": ("gzip", "zlib::zlib"),
        }
        for name, (option, library) in libraries.items():
            if self.options.get_safe(option):
                component = self.cpp_info.components[name]
                component.set_property("cmake_target_name", f"hat::{name}")
                component.requires = ["core", library]
                component.bindirs = []
                component.libdirs = []
