// Translates with a saved model: lines in, lines out. Usage: hat_example_translate FOLDER < SOURCE
#include <hat/decode/translate.hpp>
#include <iostream>

int main(int argc, char** argv) try {
    if (argc < 2) throw std::runtime_error("usage: hat_example_translate FOLDER < SOURCE");
    hat::Translator translator(argv[1]);  // the folder has all that is needed
    std::string line;
    while (std::getline(std::cin, line)) std::cout << translator.translate(line) << "\n";
} catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
}
