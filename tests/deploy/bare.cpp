// Compiled without exceptions and run-time type information: what a deployed program includes must do without.
#include <deploy/bare.hpp>
#include <hat/deploy/packed_weights.hpp>
#include <hat/deploy/static_translator.hpp>

std::string hat_test::translate_bare(std::span<const std::byte> file) {
    using Model = hat::StaticTransformer<bare_arch, bare_config, hat::StaticLimits{8, 8, 2}>;
    hat::AnyTranslator<> any;
    hat::StaticTranslator<Model> compiled;
    if (any.open(file, hat::WeightCheck::everything, {}, {8, 8, 2}) != hat::WeightFileError::none) return "";
    if (compiled.open(file) != hat::WeightFileError::none) return "";
    return any.translate("w5") + "|" + compiled.translate("w5");
}
