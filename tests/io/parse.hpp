#pragma once
/// \file
/// A configuration from text.

#include <hat/io/yaml.hpp>
#include <string>

namespace hat_test {

/// What a file a.yml of this content says.
inline hat::YamlConfig parse(const std::string& text) {
    hat::YamlConfig c;
    c.add_text(text, "a.yml");
    return c;
}

}  // namespace hat_test
