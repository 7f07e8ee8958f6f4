#pragma once
/// \file
/// Weight files of tiny random networks.

#include <doctest/doctest.h>

#include <cstring>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/quant/store.hpp>
#include <hat/text/vocabulary.hpp>
#include <static/archs.hpp>
#include <string>
#include <support/files.hpp>
#include <vector>

namespace hat_test {

/// A vocabulary of `size` words, w4 to w<size - 1>; "w5" also is the last one's name.
inline hat::Vocabulary word_vocabulary(std::size_t size) {
    const TemporaryFolder folder;
    std::string text;
    for (std::size_t i = 4; i + 1 < size; ++i) text += "w" + std::to_string(i) + " 1\n";
    text += "w5 2 #fairseq:overwrite\n";
    hat::write_file_atomically(folder / "dict.txt", text);
    return hat::Vocabulary::load(folder / "dict.txt");
}

/// The parts of network `index` of the tiny space (see tests/static), with vocabularies of words.
struct TinyParts {
    hat::Weights<float> super;
    hat::RuntimeArch arch;
    hat::AlignedBuffer<std::byte> stored;
    hat::WeightFileParts parts;

    explicit TinyParts(std::uint64_t index, const hat::StoreOptions& how = {},
                       hat::CodebookMath math = hat::CodebookMath::exact)
        : super(super_weights(hat::to_runtime(tiny_shape()), static_config(index), index)),
          arch(hat::to_runtime(tiny_arch(index))),
          stored(hat::store_weights(super, arch, how)) {
        parts.arch = arch;
        parts.config = hat::static_config(super.config());
        parts.config.format = how.format, parts.config.book_rows = how.book_rows, parts.config.codebook_math = math;
        parts.weights = {stored.data(), stored.size()};
        parts.source = hat::word_parts(word_vocabulary(parts.config.source_vocab));
        parts.target = hat::word_parts(word_vocabulary(parts.config.target_vocab));
        parts.notes = "seed: " + std::to_string(index) + "\n";
    }
    hat::AlignedBuffer<std::byte> file() const {
        const TemporaryFolder folder;
        hat::save_weight_file(folder / "w.hatw", parts);
        return bytes(hat::read_file(folder / "w.hatw"));
    }
    static hat::AlignedBuffer<std::byte> bytes(const std::string& text) {
        hat::AlignedBuffer<std::byte> b(text.size());
        if (!text.empty()) std::memcpy(b.data(), text.data(), text.size());
        return b;
    }
};

inline std::span<const std::byte> span(const hat::AlignedBuffer<std::byte>& b) { return {b.data(), b.size()}; }

}  // namespace hat_test
