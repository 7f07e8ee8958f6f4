#pragma once
/// \file
/// Translations to score: two sentences, and the sample corpus' test set with words missing.

#include <cstddef>
#include <filesystem>
#include <hat/text/lines.hpp>
#include <hat/text/utf8.hpp>
#include <string>
#include <string_view>
#include <vector>

struct Sample {
    std::vector<std::string> reference, hypothesis;
};

inline Sample sample_without_every_fifth_word() {
    Sample out;
    out.reference = hat::read_plain_lines(std::filesystem::path(HAT_SOURCE_DIR) / "examples/data/en-de/test.de");
    for (std::size_t i = 0; i < out.reference.size(); ++i) {
        const auto words = hat::split_words(out.reference[i]);
        std::vector<std::string_view> kept;
        for (std::size_t j = 0; j < words.size(); ++j)
            if ((i + j) % 5 != 0) kept.push_back(words[j]);
        out.hypothesis.push_back(hat::join_words(kept));
    }
    return out;
}

namespace two_sentences {
inline const std::vector<std::string> hypotheses{"The cat, 3.5 years old, sat on the \"mat\".", "A small test!"};
inline const std::vector<std::string> references{"The cat (3.5 years old) sat on a \"mat\".", "One small test."};
}  // namespace two_sentences
