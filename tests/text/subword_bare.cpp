// Compiled with -fno-exceptions -fno-rtti and only hat's headers: see tests/CMakeLists.txt.
#include <hat/text/subword.hpp>

#if defined(XTENSOR_VERSION_MAJOR) || defined(XSIMD_VERSION_MAJOR) || defined(BOOST_HANA_CONFIG_HPP)
#error "hat/text/subword.hpp includes more than the standard library"
#endif
#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "compile this with -fno-exceptions -fno-rtti"
#endif

namespace {
/// Every function that has to compile.
[[maybe_unused]] std::size_t use(std::string_view bytes, std::span<const std::uint32_t> index) {
    hat::SubwordModel model;
    if (model.load(bytes) != hat::SubwordError::none && model.load(bytes, index) != hat::SubwordError::none) return 0;
    const auto ids = model.encode(bytes);
    const auto text = ids ? model.decode(*ids) : std::nullopt;
    return text ? text->size() + model.piece(4).size() + model.index().size() : hat::describe({}).size();
}
}  // namespace
