/// \file
/// hat export: a model as a header, a weight file, and a small project of its own.

#include <algorithm>
#include <cctype>
#include <commands/commands.hpp>
#include <commands/export_templates.hpp>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/decode/tokenizers.hpp>
#include <hat/decode/translate.hpp>
#include <hat/deploy/any_model.hpp>
#include <hat/deploy/pack_weights.hpp>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/units.hpp>
#include <hat/quant/store.hpp>
#include <hat/version.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <support.hpp>
#include <vector>

namespace hat::cli {
namespace {

struct ExportArguments : CommonOptions {
    std::string model, out, project, name = "model", format = "fp32";
    std::vector<std::string> notes;
    StaticLimits limits;
    std::size_t book_rows = 0;
    bool integers = false, embed = false, packed = false, force = false;

    /// Name of the file of weights.
    std::string file() const { return name + (packed ? ".hatz" : ".hatw"); }
};

/// The formats of matrices by their names here.
const std::map<std::string, MatrixFormat>& formats() {
    static const std::map<std::string, MatrixFormat> all{
        {"fp32", MatrixFormat::fp32}, {"int8", MatrixFormat::int8}, {"codebook4", MatrixFormat::codebook4}};
    return all;
}

/// A name of C++.
const CLI::Validator identifier{
    [](const std::string& text) {
        const auto letter = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
        const bool good = !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) == 0 && text[0] != '_' &&
                          std::all_of(text.begin(), text.end(), letter);
        return good ? "" : "'" + text + "' is no name of C++: expected letters, digits and _, a letter first";
    },
    ""};

TokenizerParts parts_of(const AnyTokenizer& tokenizer, const std::string& where) {
    try {
        return tokenizer.sentencepiece() ? subword_parts(tokenizer.sentencepiece()->bytes())
                                         : word_parts(tokenizer.whitespace()->vocabulary);
    } catch (const invalid_value& e) {
        throw bad_file(where, std::string("a tokenizer cannot be deployed: ") + e.what());
    }
}

std::string list_text(const std::array<int, runtime_max_layers>& values, int layers) {
    std::string out = "{";
    for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i)
        out += (i ? ", " : "") + std::to_string(values[i]);
    return out + "}";
}

std::string header_text(const ExportArguments& o, const RuntimeArch& a, const StaticConfig& c,
                        const std::string& notes) {
    const auto number = [](auto v) { return std::to_string(v); };
    const auto stack = [&](const auto& s, bool decoder) {
        std::string out = "{.embed = " + number(s.embed) + ",\n                .layers = " + number(s.layers);
        const auto list = [&](const char* key, const auto& values) {
            out += std::string(",\n                .") + key + " = " + list_text(values, s.layers);
        };
        list("ffn", s.ffn), list("qkv", s.qkv), list("self_heads", s.self_heads);
        if (decoder) list("cross_heads", s.cross_heads), list("cross_span", s.cross_span);
        return out + "}";
    };
    const char* const sharing[] = {"none", "decoder_input_output", "all"};
    const auto flag = [](bool b) { return std::string(b ? "true" : "false"); };
    std::string format;
    for (const auto& [name, value] : formats())
        if (value == c.format) format = name;
    std::string out = "#pragma once\n// Written by 'hat export'; weights: " + o.file() + ".\n";
    for (std::size_t at = 0, end = 0; at < notes.size(); at = end + 1) {
        end = std::min(notes.find('\n', at), notes.size());
        out += "// " + notes.substr(at, end - at) + "\n";
    }
    out += "\n#include <hat/decode/static_transformer.hpp>\n\n";
    out += "inline constexpr hat::Arch<" + number(a.encoder.layers) + ", " + number(a.decoder.layers) + "> " + o.name +
           "{\n    .encoder = " + stack(a.encoder, false) + ",\n    .decoder = " + stack(a.decoder, true) + "};\n\n";
    out += "inline constexpr hat::StaticConfig " + o.name + "_config{\n    .source_vocab = " + number(c.source_vocab) +
           ",\n    .target_vocab = " + number(c.target_vocab) +
           ",\n    .sharing = hat::EmbeddingSharing::" + sharing[static_cast<int>(c.sharing)] +
           ",\n    .encoder_pre_norm = " + flag(c.encoder_pre_norm) +
           ",\n    .decoder_pre_norm = " + flag(c.decoder_pre_norm) +
           ",\n    .decoder_final_norm = " + flag(c.decoder_final_norm) +
           ",\n    .encoder_super_embed = " + number(c.encoder_super_embed) +
           ",\n    .decoder_super_embed = " + number(c.decoder_super_embed) +
           ",\n    .vocab_original_scaling = " + flag(c.vocab_original_scaling) +
           ",\n    .format = hat::MatrixFormat::" + format + ",\n    .book_rows = " + number(c.book_rows) +
           ",\n    .codebook_math = hat::CodebookMath::" +
           (c.codebook_math == CodebookMath::exact ? "exact" : "integers") + "};\n\n";
    out +=
        "/// The most tokens of a sentence and of its translation, and the beam.\ninline constexpr hat::StaticLimits " +
        o.name + "_limits{" + number(o.limits.max_source) + ", " + number(o.limits.max_target) + ", " +
        number(o.limits.beam) + "};\n\n";
    out += "using " + o.name + "_transformer = hat::StaticTransformer<" + o.name + ", " + o.name + "_config, " +
           o.name + "_limits>;\n";
    return out;
}

std::string filled(std::string text, const ExportArguments& o) {
    const std::pair<std::string, std::string> words[] = {{"@NAME@", o.name},
                                                         {"@FILE@", o.file()},
                                                         {"@EMBED@", o.embed ? "ON" : "OFF"},
                                                         {"@ITS_WEIGHTS@", o.embed ? " or in it" : ""}};
    for (const auto& [word, by] : words)
        for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += by.size())
            text.replace(at, word.size(), by);
    return text;
}

/// One line of text.
std::string one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\\'; }, ' ');
    return text;
}

void run(const ExportArguments& o) {
    const std::filesystem::path folder = o.project.empty() ? o.out : o.project;
    const auto header = folder / (o.name + ".hpp"), weights = folder / o.file();
    std::vector<std::filesystem::path> files{header, weights};
    if (!o.project.empty())
        for (const char* name : {"CMakeLists.txt", "main.cpp", "weights.S"}) files.push_back(folder / name);
    if (!o.force)
        for (const auto& file : files)
            if (std::filesystem::exists(file)) throw bad_file(file.string(), "exists already (--force replaces it)");

    const Model model = load_model_folder(o.model);
    const TokenizerPair tokenizers = load_tokenizers(o.model);
    require_noted(model.notes, tokenizers, o.model);
    const MatrixFormat format = formats().at(o.format);
    WeightFileParts parts;
    parts.arch = canonical(model.arch);
    parts.config = static_config(model.weights.config());
    parts.config.format = format, parts.config.book_rows = o.book_rows;
    parts.config.codebook_math = o.integers ? CodebookMath::integers : CodebookMath::exact;
    if (!detail::plannable(parts.arch, parts.config, o.limits))
        throw invalid_value("hat export: memory for " + std::to_string(o.limits.max_source) + " source and " +
                            std::to_string(o.limits.max_target) + " target tokens at beam " +
                            std::to_string(o.limits.beam) + " cannot be planned");
    const auto stored = store_weights(model.weights, model.arch, {format, o.book_rows});
    parts.weights = {stored.data(), stored.size()};
    parts.source = parts_of(tokenizers.source, o.model), parts.target = parts_of(tokenizers.target, o.model);
    parts.notes = std::string("hat: ") + version + "\nname: " + o.name + "\n";
    for (const auto& [key, value] : model.notes)
        if (key != "tokenizers") parts.notes += one_line(key + ": " + value) + "\n";
    for (const auto& note : o.notes) parts.notes += one_line(note) + "\n";

    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure) throw bad_file(folder.string(), "cannot be made a folder: " + failure.message());
    const std::size_t workspace = detail::plan_workspace(parts.arch, parts.config, o.limits).bytes();
    write_file_atomically(header, header_text(o, parts.arch, parts.config, parts.notes));
    std::string bytes = weight_file_bytes(std::move(parts));
    const std::size_t unpacked = bytes.size();
    if (o.packed) bytes = pack_weights(std::as_bytes(std::span(bytes)));
    write_file_atomically(weights, bytes);
    if (!o.project.empty()) {
        write_file_atomically(folder / "CMakeLists.txt", filled(export_cmake, o));
        write_file_atomically(folder / "main.cpp", filled(export_main, o));
        write_file_atomically(folder / "weights.S", filled(export_assembly, o));
    }
    if (o.quiet) return;
    std::cout << weights.string() << ": " << bytes_text(std::filesystem::file_size(weights))
              << (o.packed ? ", unpacked " + bytes_text(unpacked) : "") << ", of which weights "
              << bytes_text(stored.size()) << "; a program needs " << bytes_text(workspace) << " besides to work in\n";
    if (o.project.empty())
        std::cout << header.string() << ": " << o.name << "_transformer\n";
    else
        std::cout << "Build it: cmake -S " << folder.string() << " -B " << (folder / "build").string()
                  << " && cmake --build " << (folder / "build").string() << "\n";
}

}  // namespace

void add_export(CLI::App& app) {
    const auto o = std::make_shared<ExportArguments>();
    CLI::App* command = app.add_subcommand(
        "export", "A model as a C++ header, one weight file, and a small program that needs nothing else");
    command->add_option("--model", o->model, "Folder of a model: model.safetensors or model.hatq, and its tokenizers")
        ->required()
        ->type_name("DIR");
    auto* out = command->add_option("--out", o->out, "Folder for <name>.hpp and <name>.hatw (--packed: .hatz)")
                    ->type_name("DIR");
    auto* project =
        command->add_option("--project", o->project, "Folder for a whole project with both")->type_name("DIR");
    out->excludes(project);
    command->add_option("--name", o->name, "Name of the network in C++ and of its files")
        ->check(identifier)
        ->type_name("NAME")
        ->capture_default_str();
    command->add_option("--format", o->format, "How weights are stored")
        ->check(CLI::IsMember(&formats()))
        ->type_name("FORMAT")
        ->capture_default_str();
    command
        ->add_option("--book-rows", o->book_rows,
                     "codebook4: rows that share a codebook, a multiple of 32; 0: the whole matrix")
        ->check(whole_number(0, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    command->add_flag("--integers", o->integers, "codebook4: compute in 8-bit integers instead of exactly");
    const auto bound = [&](const char* option, std::size_t& value, const char* help, std::uint64_t low,
                           std::uint64_t high) {
        command->add_option(option, value, help)->check(whole_number(low, high))->type_name("N")->capture_default_str();
    };
    bound("--max-source", o->limits.max_source, "Tokens of a sentence that memory is planned for, eos included", 1,
          4096);
    bound("--max-target", o->limits.max_target, "Tokens of a translation, eos included", 2, 2048);
    bound("--beam", o->limits.beam, "Hypotheses kept at each step; 1 is greedy", 1, 256);
    command
        ->add_option("--note", o->notes, "A line to keep with the model, e.g. 'latency limit: 20 ms'; may be repeated")
        ->type_name("TEXT")
        ->take_all();
    command->add_flag("--packed", o->packed,
                      "Entropy-code the file: <name>.hatz, smaller, but unpacked into memory at the start");
    command->add_flag("--embed", o->embed, "The project's program holds its weights itself")->needs(project);
    command->add_flag("--force", o->force, "Replace files that exist");
    add_quiet(*command, *o);
    command->footer("Example: hat export --model run/quickstart/winner/model --project translator --embed");
    command->callback([o] {
        if (o->out.empty() && o->project.empty()) throw CLI::RequiredError("--out or --project");
        run(*o);
    });
}

}  // namespace hat::cli
