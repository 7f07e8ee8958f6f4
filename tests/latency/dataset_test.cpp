#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <hat/latency/dataset.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/lookup.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/space.hpp>
#include <hat/space/text.hpp>
#include <set>
#include <string>

#include "support/files.hpp"
#include "support/shared.hpp"

namespace theirs {
struct Filter {  // nothing that translates
    int taps;
    bool recursive;
};
hat::ArchKey arch_key(const Filter& f) { return {f.taps, f.recursive}; }
}  // namespace theirs

namespace {
const std::string header =
    "encoder_embed_dim,encoder_layer_num,encoder_ffn_embed_dim_avg,encoder_self_attention_heads_avg,decoder_embed_dim,"
    "decoder_layer_num,decoder_ffn_embed_dim_avg,decoder_self_attention_heads_avg,decoder_ende_attention_heads_avg,"
    "decoder_arbitrary_ende_attn_avg,latency_mean_encoder,latency_mean_decoder,latency_std_encoder,"
    "latency_std_decoder";
const std::string line = "640,6,1962.6666666666667,6.0,512,4,1920.0,2.5,5.5,1.5,5.5,124.5,0.05,0.44";

std::string refuse(const std::string& text) {
    const hat_test::TemporaryFolder folder;
    hat::write_file_atomically(folder / "l.csv", text);
    const std::string message =
        hat_test::message_of<hat::bad_file>([&] { hat::LatencyDataset::load(folder / "l.csv"); });
    const std::string name = (folder / "l.csv").string();
    CHECK(message.substr(0, name.size()) == name);
    return message.size() < name.size() ? message : message.substr(name.size());
}

hat::LatencyRow full_row() {
    hat::LatencyRow row;
    row.features = {640, 6, 1706.0 + 2.0 / 3, 6, 512, 3, 1024, 4, 8, 2};
    row.encoder_ms = 1.0 / 3;
    row.decoder_ms = 12.5;
    row.encoder_std_ms = 0.01;
    row.decoder_std_ms = 0.1;
    const hat::Space<hat::Wmt14EnDe> space;
    row.arch = hat::to_text(space.decode(hat::Space<hat::Wmt14EnDe>::Gene{}));
    row.encoder_median_ms = 0.3;
    row.decoder_median_ms = 12;
    row.reference_ms = 3;
    row.gain = 1.5;
    row.encoder_samples = {0.5, 0.25, 1.0 / 3};
    row.decoder_samples = {12, 13};
    row.seed = 18446744073709551615ULL;
    row.device = "abc";
    return row;
}
}  // namespace

TEST_CASE("rows survive writing and reading exactly, known or not") {
    const hat_test::TemporaryFolder folder;
    hat::LatencyDataset data;
    data.rows.push_back(full_row());
    data.rows.emplace_back();
    data.rows.back().decoder_ms = 4;
    data.save(folder / "l.csv");
    const auto back = hat::LatencyDataset::load(folder / "l.csv");
    REQUIRE(back.rows.size() == 2);
    const auto &a = data.rows[0], &b = back.rows[0];
    CHECK(a.features == b.features);
    CHECK(a.encoder_ms == b.encoder_ms);
    CHECK(a.decoder_ms == b.decoder_ms);
    CHECK(a.encoder_std_ms == b.encoder_std_ms);
    CHECK(a.decoder_std_ms == b.decoder_std_ms);
    CHECK(a.arch == b.arch);
    CHECK(a.encoder_median_ms == b.encoder_median_ms);
    CHECK(a.decoder_median_ms == b.decoder_median_ms);
    CHECK(a.reference_ms == b.reference_ms);
    CHECK(a.gain == b.gain);
    CHECK(a.encoder_samples == b.encoder_samples);
    CHECK(a.decoder_samples == b.decoder_samples);
    CHECK(a.seed == b.seed);
    CHECK(a.device == b.device);
    CHECK(std::isnan(back.rows[1].gain));
    CHECK(back.rows[1].encoder_samples.empty());
    CHECK(back.rows[1].total_ms() == 4);
    CHECK(hat::read_file(folder / "l.csv").substr(0, header.size()) == header);
}

TEST_CASE("rows are appended one at a time") {
    const hat_test::TemporaryFolder folder;
    for (int i = 1; i <= 3; ++i) {
        auto row = full_row();
        row.decoder_ms = i;
        hat::LatencyDataset::append(folder / "l.csv", row);
        CHECK(hat::LatencyDataset::load(folder / "l.csv").rows.size() == static_cast<std::size_t>(i));
    }
    CHECK(hat::LatencyDataset::load(folder / "l.csv").rows[1].decoder_ms == 2);
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("the reference's layout loads, in any order of columns") {
    const hat_test::TemporaryFolder folder;
    hat::write_file_atomically(folder / "l.csv", header + "\n" + line + "\n");
    const auto row = hat::LatencyDataset::load(folder / "l.csv").rows.at(0);
    CHECK(row.features[2] == 1962.6666666666667);
    CHECK(row.total_ms() == 130);
    CHECK(row.arch.empty());
    const auto at = header.rfind(','), value = line.rfind(',');
    hat::write_file_atomically(folder / "l.csv", header.substr(at + 1) + ",arch," + header.substr(0, at) + "\n" +
                                                     line.substr(value + 1) + ",," + line.substr(0, value) + "\n");
    const auto moved = hat::LatencyDataset::load(folder / "l.csv").rows.at(0);
    CHECK(moved.features == row.features);
    CHECK(moved.decoder_std_ms == 0.44);

    const auto latency = hat_test::shared_reference("latency");
    if (!latency) return;
    std::size_t files = 0;
    for (const auto& file : std::filesystem::directory_iterator(*latency)) {
        CHECK(hat::LatencyDataset::load(file.path()).rows.size() == 2000);
        ++files;
    }
    CHECK(files > 0);
}

TEST_CASE("bad files are refused with line and column") {
    CHECK(refuse("") == ": the file is empty, expected a line of column names");
    CHECK(refuse(header + "\n") == ": the file has no rows");
    CHECK(refuse(header + ",colour\n" + line + ",red\n") ==
          ":1: column \"colour\" is unknown, expected only encoder_embed_dim, encoder_layer_num, "
          "encoder_ffn_embed_dim_avg, encoder_self_attention_heads_avg, decoder_embed_dim, decoder_layer_num, "
          "decoder_ffn_embed_dim_avg, decoder_self_attention_heads_avg, decoder_ende_attention_heads_avg, "
          "decoder_arbitrary_ende_attn_avg, latency_mean_encoder, latency_mean_decoder, latency_std_encoder, "
          "latency_std_decoder, arch, latency_median_encoder, latency_median_decoder, reference_ms, gain, "
          "samples_encoder, samples_decoder, seed, device");
    const auto no_std = header.rfind(',');
    CHECK(hat_test::contains(refuse(header.substr(0, no_std) + "\n"), ":1: column \"latency_std_decoder\" is missing"));
    CHECK(refuse(header + ",arch,arch\n") == ":1: column \"arch\" is there twice");
    CHECK(refuse(header + "\n" + line + "\n1,2,3\n") == ":3: the line has 3 cells, expected 14");
    CHECK(refuse(header + "\n" + line.substr(0, 40) + "\n") == ":2: the line has 7 cells, expected 14");
    const auto with = [&](std::size_t column, const std::string& cell) {
        std::size_t at = 0;
        for (std::size_t i = 0; i < column; ++i) at = line.find(',', at) + 1;
        return header + "\n" + line + "\n" + line.substr(0, at) + cell +
               line.substr(std::min(line.find(',', at), line.size())) + "\n";
    };
    CHECK(refuse(with(0, "wide")) == ":3: column 1 \"encoder_embed_dim\" is \"wide\", expected a finite number");
    CHECK(refuse(with(11, "nan")) == ":3: column 12 \"latency_mean_decoder\" is \"nan\", expected a finite number");
    CHECK(refuse(with(10, "-1")) == ":3: column 11 \"latency_mean_encoder\" is -1, expected at least 0");
    CHECK(refuse(with(13, "")) == ":3: column 14 \"latency_std_decoder\" is \"\", expected a finite number");
    CHECK(refuse(header + ",samples_encoder\n" + line + ",1;;2\n") ==
          ":2: column 15 \"samples_encoder\" holds \"\", expected numbers of at least 0 between ';'");
    CHECK(refuse(header + ",seed\n" + line + ",1.5\n") ==
          ":2: column 15 \"seed\" is \"1.5\", expected a whole number of at least 0");
}

TEST_CASE("splits are 80/10/10 by default, seeded, and hold every row once") {
    const auto s = hat::split_rows(2000, 7);
    CHECK(s.train.size() == 1600);
    CHECK(s.validation.size() == 200);
    CHECK(s.test.size() == 200);
    std::set<std::size_t> all(s.train.begin(), s.train.end());
    all.insert(s.validation.begin(), s.validation.end());
    all.insert(s.test.begin(), s.test.end());
    CHECK(all.size() == 2000);
    CHECK(*all.rbegin() == 1999);
    CHECK(hat::split_rows(2000, 7).train == s.train);
    CHECK(hat::split_rows(2000, 8).train != s.train);
    CHECK(hat::split_rows(3, 1, 1.0, 0.0).train.size() == 3);
    CHECK(hat::split_rows(0, 1).test.empty());
    CHECK_THROWS_AS(hat::split_rows(10, 1, 0.9, 0.2), hat::invalid_value);
    CHECK_THROWS_AS(hat::split_rows(10, 1, -0.1, 0.2), hat::invalid_value);
}

TEST_CASE("drift is divided out by the reference model's own times, again and again the same") {
    hat::LatencyDataset data;
    for (int i = 0; i < 5; ++i) {  // the machine slows down by 10 % a row; each network really takes 10 + i
        const double gain = 1 + 0.1 * i;
        auto row = full_row();
        row.encoder_ms = gain * (10 + i);
        row.decoder_ms = row.encoder_median_ms = row.decoder_median_ms = row.encoder_ms;
        row.reference_ms = 2 * gain;
        row.gain = 1;
        data.rows.push_back(row);
    }
    data.rows.emplace_back();
    data.rows.back().encoder_ms = 77;  // no reference: stays
    for (int repeat = 0; repeat < 2; ++repeat) {
        data.correct_drift();
        for (int i = 0; i < 5; ++i) {
            CHECK(data.rows[static_cast<std::size_t>(i)].encoder_ms == doctest::Approx(1.2 * (10 + i)));  // median gain
            CHECK(data.rows[static_cast<std::size_t>(i)].gain == doctest::Approx((1 + 0.1 * i) / 1.2));
        }
        CHECK(data.rows[5].encoder_ms == 77);
    }
}

TEST_CASE("a table knows what it was told, and a trained line predicts latencies of networks") {
    hat::LatencyDataset data;
    const hat::Space<hat::Wmt14EnDe> space;
    hat::Space<hat::Wmt14EnDe>::Gene gene{};
    const auto n = space.cardinality();
    hat::Rng rng(3);
    std::vector<std::size_t> rows;
    for (std::size_t i = 0; i < 60; ++i) {
        for (std::size_t k = 0; k < gene.size(); ++k) gene[k] = static_cast<std::uint8_t>(rng.below(n[k]));
        const auto arch = space.decode(gene);
        hat::LatencyRow row;
        row.arch = hat::to_text(arch);
        row.features = hat::MeanFeatures::raw(arch);
        row.encoder_ms = 3;
        row.decoder_ms = 5 * arch.decoder.layers + 0.01 * arch.decoder.embed;
        data.rows.push_back(row);
        rows.push_back(i);
    }
    const hat::Table table(data);
    static_assert(hat::LatencyPolicy<hat::Table<>, hat::RuntimeArch>);
    CHECK(table.size() <= 60);
    const auto known = hat::arch_from_text(data.rows[7].arch);
    CHECK(table.contains(known));
    CHECK(table(known).count() == data.rows[7].total_ms());
    CHECK_THROWS_WITH_AS(table(hat::RuntimeArch{}), doctest::Contains("hat::Table: no latency is known of"),
                         hat::invalid_value);
    hat::Table<> own;
    CHECK_THROWS_AS(own.set(known, hat::Milliseconds(NAN)), hat::invalid_value);
    hat::Table<theirs::Filter> filters;  // networks of a type that hat does not know
    filters.set({3, true}, hat::Milliseconds(1.5));
    CHECK(filters({3, true}).count() == 1.5);
    CHECK_THROWS_WITH_AS(filters({5, true}), "hat::Table: no latency is known of [5 1]", hat::invalid_value);

    hat::PredictedLatency<hat::Ridge, hat::MeanFeatures> predicted{.unit = hat::Milliseconds(10)};
    predicted.regressor.fit(data.inputs(predicted.features, rows), data.targets(rows, predicted.unit));
    static_assert(hat::LatencyPolicy<decltype(predicted), hat::RuntimeArch>);
    for (const auto& row : data.rows)
        CHECK(predicted(hat::arch_from_text(row.arch)).count() == doctest::Approx(row.total_ms()).epsilon(1e-3));
}
