/// \file
/// hat translate: text through a saved model.

#include <commands/commands.hpp>
#include <cstdio>
#include <hat/core/error.hpp>
#include <hat/decode/translate.hpp>
#include <hat/text/gzip.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <support.hpp>
#include <vector>

namespace hat::cli {
namespace {

struct TranslateArguments : CommonOptions {
    std::string model, input;
    std::size_t beam = 5, n_best = 1;
    double length_penalty = 1.0;
    std::string precision{name_of(Precision::fp32)};
};

void run(const TranslateArguments& o) {
    if (o.n_best > o.beam)
        throw CLI::ValidationError("--n-best",
                                   "'" + std::to_string(o.n_best) + "' is more than --beam, " + std::to_string(o.beam));
    TranslateOptions options;
    options.search.beam = o.beam;
    options.search.n_best = o.n_best;
    options.search.length_penalty = o.length_penalty;
    options.threads = o.threads;
    options.precision = precision_of(o.precision);
    Translator translator(o.model, options);
    if (const std::string notice = without_tiles("--precision ", options.precision); !notice.empty() && !o.quiet)
        std::cerr << "hat: " << notice << std::endl;
    const std::string name = o.input.empty() ? "standard input" : o.input;
    // `first`: the number of the first of these lines
    const auto print = [&](const std::vector<std::string>& lines, std::size_t first) {
        try {
            if (o.n_best == 1) {
                for (const auto& line : translator.translate(lines)) std::cout << line << "\n";
            } else {
                const auto all = translator.n_best(lines);
                for (std::size_t i = 0; i < all.size(); ++i)
                    for (const auto& t : all[i])
                        std::cout << first + i << "\t" << fixed(t.hypothesis.score, 4) << "\t" << t.text << "\n";
            }
        } catch (const bad_sentence& e) {
            throw bad_file(name, first + e.index, e.reason);
        }
        std::cout.flush();
    };
    if (!o.input.empty()) {
        print(read_lines(o.input), 1);
        return;
    }
    std::size_t number = 1;
    for (std::string line; std::getline(std::cin, line); ++number)
        print({std::string(check_line(name, number, line))}, number);
    if (std::ferror(stdin) != 0) throw bad_file(name, "cannot be read");
}

}  // namespace

void add_translate(CLI::App& app) {
    const auto o = std::make_shared<TranslateArguments>();
    CLI::App* command = app.add_subcommand("translate", "Translate lines of text with a saved model");
    command->add_option("--model", o->model, "Folder of a model: model.safetensors or model.hatq, and its tokenizers")
        ->required()
        ->type_name("DIR");
    command
        ->add_option("--input", o->input, "Text, one sentence a line (or .gz); default: standard input, line by line")
        ->type_name("FILE");
    command->add_option("--beam", o->beam, "Hypotheses kept at each step; 1 is greedy")
        ->check(whole_number(1, most_beam))
        ->type_name("N")
        ->capture_default_str();
    command->add_option("--n-best", o->n_best, "Translations per sentence; more than one prints line, score and text")
        ->check(whole_number(1, most_beam))
        ->type_name("N")
        ->capture_default_str();
    command->add_option("--lenpen", o->length_penalty, "Exponent of the length that scores are divided by")
        ->check(number_from(0, 10))
        ->type_name("X")
        ->capture_default_str();
    command
        ->add_option("--precision", o->precision,
                     "Of products. With AMX, bf16x3 is as exact as fp32 and faster for a text, slower line by line; "
                     "elsewhere it is fp32. bf16 is less exact")
        ->check(CLI::IsMember(precision_names()))
        ->type_name("P")
        ->capture_default_str();
    add_threads(*command, *o);
    add_quiet(*command, *o);
    command->footer("Example: echo 'Open the file.' | hat translate --model run/quickstart/winner/model");
    command->callback([o] { run(*o); });
}

}  // namespace hat::cli
