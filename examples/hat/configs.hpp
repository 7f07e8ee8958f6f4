#pragma once
/// \file
/// Configurations of commands that read nothing but the reference's keys.

#include <hat/io/reference_config.hpp>
#include <hat/io/yaml.hpp>
#include <support.hpp>

namespace hat::cli {

/// The files of --config, their keys checked. Throws bad_file, bad_config.
inline YamlConfig load_config(const CommonOptions& o) {
    YamlConfig config = YamlConfig::load(o.configs);
    notice_skipped_keys(check_reference_keys(config), o.quiet);
    return config;
}

}  // namespace hat::cli
