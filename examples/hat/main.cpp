/// \file
/// The program `hat`: every stage from parallel text to a small translation model for this machine.

#include <commands/commands.hpp>
#include <exception>
#include <hat/core/error.hpp>
#include <iostream>
#include <new>
#include <string>
#include <support.hpp>

int main(int argc, char** argv) {
    using namespace hat::cli;
    CLI::App app(
        "hat: hardware-aware Transformers. From parallel text to a translation model that is fast on this machine.",
        "hat");
    app.set_version_flag("--version", "hat " + version_text(), "Print the version and exit");
    app.require_subcommand(1);
    app.get_formatter()->column_width(32);
    app.footer(
        "Examples:\n"
        "  hat cost --config sub.yml --config common.yml      parameters, FLOPs and file sizes of a network\n"
        "  hat score --hyp out.de --ref test.de               BLEU and chrF2\n"
        "  hat predict --fit latency.csv --train-rows 200     how well latency can be predicted\n"
        "  hat info                                           this machine and this build\n"
        "'hat COMMAND --help' tells more. Exit status: 0 done, 1 bad input, 2 bad command line, 130 interrupted.");
    add_run(app);
    add_data(app);
    add_train(app);
    add_measure(app);
    add_search(app);
    add_translate(app);
    add_predict(app);
    add_score(app);
    add_cost(app);
    add_quantize(app);
    add_export(app);
    add_info(app);

    try {
        try {
            app.parse(argc, argv);
        } catch (const CLI::Success& e) {  // --help, --version
            app.exit(e);
        }
        std::cout.flush();
        if (!std::cout) throw hat::error("standard output cannot be written");
    } catch (const CLI::ParseError& e) {
        std::string command = "hat", what = e.what();
        for (const CLI::App* sub : app.get_subcommands()) command += " " + sub->get_name();
        if (command == "hat" && app.remaining_size() > 0)
            what = "there is no command or option '" + app.remaining().front() + "'";
        std::cerr << "hat: error: " << what << "\nRun '" << command << " --help' for what is expected.\n";
        return exit_usage;
    } catch (const hat::interrupted& e) {
        std::cerr << "\nhat: interrupted: " << e.what() << "\n";
        return exit_interrupted;
    } catch (const hat::error& e) {
        std::cerr << "hat: error: " << e.what() << "\n";
        return exit_error;
    } catch (const std::bad_alloc&) {
        std::cerr << "hat: error: not enough memory\n";
        return exit_error;
    } catch (const std::exception& e) {
        std::cerr << "hat: internal error: " << e.what() << "\n";
        return exit_error;
    }
    return 0;
}
