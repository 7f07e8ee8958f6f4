import os

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class HatTestConan(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        options = self.dependencies[self.tested_reference_str.split("/")[0]].options
        components = [name for name in ("json", "yaml", "gzip") if options.get_safe(name)]
        cmake = CMake(self)
        cmake.configure(build_script_folder="..", variables={"COMPONENT": ";".join(components)})
        cmake.build()

    def test(self):
        if can_run(self):
            self.run(os.path.join(self.cpp.build.bindir, "consumer"), env="conanrun")
