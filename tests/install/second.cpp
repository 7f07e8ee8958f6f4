// A second translation unit with all of hat: the program links only if no header defines anything twice.
#include <hat/deploy.hpp>
#include <hat/hat.hpp>
#include <hat/model/model_file.hpp>  // of the component json

std::string second() {
    const hat::Space<hat::Wmt14EnDe> space;
    return space.network_count().text() + hat::describe(hat::to_runtime(space.largest())) + hat::version;
}
