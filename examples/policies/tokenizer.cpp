// Tokenizers: text to ids and back. Ids 0 to 3 are the special ones.
#include <hat/text/tokenizer.hpp>
#include <iostream>

struct Bytes {  // no vocabulary to train: every byte is a token
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> ids;
        for (const char c : text) ids.push_back(hat::SpecialTokens::count + static_cast<unsigned char>(c));
        return ids;  // without eos: who needs it adds it
    }
    std::string decode(std::span<const std::int32_t> ids) const {
        std::string text;
        for (const std::int32_t id : ids)
            if (id >= hat::SpecialTokens::count) text += static_cast<char>(id - hat::SpecialTokens::count);
        return text;
    }
    std::size_t vocabulary_size() const { return hat::SpecialTokens::count + 256; }
};
static_assert(hat::Tokenizer<Bytes>);

int main() {
    const std::vector<std::string> lines{"Öffnen Sie die Datei.", "Schließen Sie das Fenster."};
    const Bytes bytes;
    const hat::Ragged encoded = hat::encode_lines(bytes, lines);  // what batches and models read
    bool good = encoded.size() == 2;
    for (std::size_t i = 0; i < encoded.size(); ++i) good = good && bytes.decode(encoded[i]) == lines[i];

    hat::TokenCounts counts;
    hat::count_words(counts, lines);
    const hat::WhitespaceTokenizer words{hat::Vocabulary::build(counts)};
    const auto ids = words.encode("Schließen Sie die Tür");  // the last word is unknown
    std::cout << words.decode(ids) << "\n";
    return good && ids.back() == hat::SpecialTokens::unk ? 0 : 1;
}
