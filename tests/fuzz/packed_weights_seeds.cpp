// Writes small packed files for packed_weights_fuzz. Usage: packed_weights_seeds FOLDER
#include <filesystem>
#include <fstream>
#include <hat/core/rng.hpp>
#include <hat/deploy/pack_weights.hpp>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const std::filesystem::path folder = argv[1];
    for (const std::size_t size : {0U, 1U, 300U, 4000U})
        for (const unsigned values : {1U, 3U, 256U}) {
            hat::Rng rng(size + values);
            std::vector<std::byte> bytes(size);
            for (auto& b : bytes) b = static_cast<std::byte>(rng.below(values));
            const std::string packed = hat::pack_weights(bytes);
            std::ofstream(folder / (std::to_string(size) + "_" + std::to_string(values)), std::ios::binary)
                .write(packed.data(), static_cast<std::streamsize>(packed.size()));
        }
}
