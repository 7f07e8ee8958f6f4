#include <static/archs.hpp>

TEST_CASE("static, elastic and extracted networks are equal to the bit: 0 to 3") {
    hat_test::check_tiny<0>(std::make_integer_sequence<std::uint64_t, 4>{});
}
