#pragma once
/// \file
/// Measured latencies of many networks, in the reference's file format with more columns for what it does not keep.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/csv.hpp>
#include <hat/io/file_path.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/features.hpp>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace hat {

/// One network and its latency. The first five members are the reference's columns; the others may be unknown (NaN,
/// empty). Latencies are corrected for drift (divided by `gain`); the samples are raw.
struct LatencyRow {
    std::array<double, MeanFeatures::size> features{};  ///< MeanFeatures::raw()
    double encoder_ms = 0;                              ///< trimmed mean of the encoder
    double decoder_ms = 0;                              ///< trimmed mean of all decoder steps together
    double encoder_std_ms = 0;                          ///< deviation of what was not trimmed
    double decoder_std_ms = 0;                          ///< the same of the decoder
    std::string arch;                                   ///< to_text() of the network
    double encoder_median_ms = unknown;                 ///< median of the encoder
    double decoder_median_ms = unknown;                 ///< median of the decoder
    double reference_ms = unknown;                      ///< the reference model at the same time
    double gain = unknown;                              ///< how much slower than usual the machine was then
    std::vector<double> encoder_samples;                ///< every timed run in ms, in order, uncorrected
    std::vector<double> decoder_samples;                ///< the same of the decoder
    std::uint64_t seed = 0;                             ///< of the measurement
    std::string device;                                 ///< Device::id() of the machine

    /// What predictors learn: encoder plus decoder, as in the reference.
    double total_ms() const { return encoder_ms + decoder_ms; }

    /// Stands for a number that a file does not give: NaN.
    static constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
};

/// Rows for training, for choosing when to stop, and for the final judgement.
struct DatasetSplit {
    std::vector<std::size_t> train;       ///< rows to learn from
    std::vector<std::size_t> validation;  ///< rows that tell when to stop
    std::vector<std::size_t> test;        ///< rows of the final judgement
};

/// Shuffles n rows with the seed and cuts them; what is left after `train` and `validation` is for the test.
/// Default: the reference's 80 / 10 / 10. Throws invalid_value if a share is negative or they exceed 1.
inline DatasetSplit split_rows(std::size_t n, std::uint64_t seed, double train = 0.8, double validation = 0.1) {
    if (!(train >= 0) || !(validation >= 0) || train + validation > 1 + 1e-12)
        throw invalid_value("hat::split_rows: shares " + number_text(train) + " and " + number_text(validation) +
                            ", expected at least 0 each and at most 1 together");
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    Rng rng(seed);
    shuffle(order, rng);
    const auto share = [&](double s) {
        return std::min(n, static_cast<std::size_t>(s * static_cast<double>(n) + 1e-9));
    };
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(share(train));
    const auto second = first + static_cast<std::ptrdiff_t>(std::min(share(validation), n - share(train)));
    return {{order.begin(), first}, {first, second}, {second, order.end()}};
}

/// A table of measured networks.
struct LatencyDataset {
    std::vector<LatencyRow> rows;  ///< in the order of the file

    /// Reads the reference's files and our own; columns may be in any order. Throws bad_file naming file, line and
    /// column for a missing, unknown or repeated column, a cell that is no number, a negative latency, no rows.
    static LatencyDataset load(const FilePath& path) {
        const CsvTable table = CsvTable::load(path);
        for (const auto& name : table.columns())
            if (std::find(required.begin(), required.end(), name) == required.end() &&
                std::find(optional.begin(), optional.end(), name) == optional.end())
                throw bad_file(table.file(), 1,
                               "column \"" + excerpt(name) + "\" is unknown, expected only " + column_names());
        std::array<std::size_t, required.size()> at{};
        for (std::size_t i = 0; i < at.size(); ++i) at[i] = table.require(required[i]);
        std::array<std::size_t, optional.size()> extra{};
        for (std::size_t i = 0; i < extra.size(); ++i) extra[i] = table.find(optional[i]);
        if (table.rows() == 0) throw bad_file(table.file(), "the file has no rows");

        LatencyDataset data;
        data.rows.resize(table.rows());
        for (std::size_t r = 0; r < table.rows(); ++r) {
            LatencyRow& row = data.rows[r];
            const auto positive = [&](std::size_t column) {
                const double value = table.number(r, column);
                if (value < 0) table.fail(r, column, "is " + table.text(r, column) + ", expected at least 0");
                return value;
            };
            for (std::size_t i = 0; i < row.features.size(); ++i) row.features[i] = positive(at[i]);
            row.encoder_ms = positive(at[10]);
            row.decoder_ms = positive(at[11]);
            row.encoder_std_ms = positive(at[12]);
            row.decoder_std_ms = positive(at[13]);
            const auto has = [&](std::size_t i) {
                return extra[i] < table.columns().size() && !table.text(r, extra[i]).empty();
            };
            if (has(0)) row.arch = table.text(r, extra[0]);
            if (has(1)) row.encoder_median_ms = positive(extra[1]);
            if (has(2)) row.decoder_median_ms = positive(extra[2]);
            if (has(3)) row.reference_ms = positive(extra[3]);
            if (has(4)) row.gain = positive(extra[4]);
            if (has(5)) row.encoder_samples = samples(table, r, extra[5]);
            if (has(6)) row.decoder_samples = samples(table, r, extra[6]);
            if (has(7)) row.seed = table.integer(r, extra[7]);
            if (has(8)) row.device = table.text(r, extra[8]);
        }
        return data;
    }

    /// Writes all rows atomically, the reference's columns first. Collecting many rows one by one, save after each:
    /// whatever happens, the file holds whole rows only. Throws bad_file.
    void save(const FilePath& path) const {
        std::vector<std::string> names;
        for (const std::string_view name : required) names.emplace_back(name);
        for (const std::string_view name : optional) names.emplace_back(name);
        CsvTable table(std::move(names));
        for (const LatencyRow& row : rows) {
            std::vector<std::string> cells;
            for (const double f : row.features) cells.push_back(number_text(f));
            for (const double t : {row.encoder_ms, row.decoder_ms, row.encoder_std_ms, row.decoder_std_ms})
                cells.push_back(number_text(t));
            cells.push_back(row.arch);
            for (const double t : {row.encoder_median_ms, row.decoder_median_ms, row.reference_ms, row.gain})
                cells.push_back(std::isnan(t) ? "" : number_text(t));
            for (const auto* list : {&row.encoder_samples, &row.decoder_samples}) {
                std::string text;
                for (const double s : *list) text.append(text.empty() ? "" : ";").append(number_text(s));
                cells.push_back(std::move(text));
            }
            cells.push_back(std::to_string(row.seed));
            cells.push_back(row.device);
            table.add(std::move(cells));
        }
        table.save(path);
    }

    /// Adds one row to a file, which is made if it is not there. Throws bad_file.
    static void append(const FilePath& path, const LatencyRow& row) {
        LatencyDataset data;
        if (file_exists(path)) data = load(path);
        data.rows.push_back(row);
        data.save(path);
    }

    /// Divides the drift out again with what is known now: the usual speed is the median of all `reference_ms`.
    /// Rows without a reference stay as they are.
    void correct_drift() {
        std::vector<double> references;
        for (const LatencyRow& row : rows)
            if (std::isfinite(row.reference_ms) && row.reference_ms > 0) references.push_back(row.reference_ms);
        if (references.empty()) return;
        std::sort(references.begin(), references.end());
        const std::size_t n = references.size();
        const double usual = (references[(n - 1) / 2] + references[n / 2]) / 2;
        for (LatencyRow& row : rows) {
            if (!std::isfinite(row.reference_ms) || row.reference_ms <= 0) continue;
            const double gain = row.reference_ms / usual;
            const double change = (std::isfinite(row.gain) && row.gain > 0 ? row.gain : 1.0) / gain;
            for (double* t : {&row.encoder_ms, &row.decoder_ms, &row.encoder_std_ms, &row.decoder_std_ms,
                              &row.encoder_median_ms, &row.decoder_median_ms})
                *t *= change;
            row.gain = gain;
        }
    }

    /// The chosen rows as a predictor sees them, row-major.
    std::vector<float> inputs(const MeanFeatures& features, std::span<const std::size_t> chosen) const {
        std::vector<float> out;
        for (const std::size_t i : chosen) {
            for (const float f : features.normalized(rows.at(i).features)) out.push_back(f);
        }
        return out;
    }
    /// The same for operation counts; `qkv` is the width of q, k and v, which the averages do not tell.
    std::vector<float> inputs(const OperationFeatures& features, std::span<const std::size_t> chosen, int qkv) const {
        std::vector<float> out;
        for (const std::size_t i : chosen) {
            for (const float f : features.normalized(OperationFeatures::raw(rows.at(i).features, qkv)))
                out.push_back(f);
        }
        return out;
    }
    /// The chosen rows' latencies, in units of `unit` (the reference's lat-norm).
    std::vector<float> targets(std::span<const std::size_t> chosen, Milliseconds unit = Milliseconds(1)) const {
        std::vector<float> out;
        for (const std::size_t i : chosen) out.push_back(static_cast<float>(rows.at(i).total_ms() / unit.count()));
        return out;
    }

    /// The reference's columns.
    static constexpr std::array<std::string_view, 14> required = [] {
        std::array<std::string_view, 14> names{};
        std::copy(MeanFeatures::names.begin(), MeanFeatures::names.end(), names.begin());
        names[10] = "latency_mean_encoder";
        names[11] = "latency_mean_decoder";
        names[12] = "latency_std_encoder";
        names[13] = "latency_std_decoder";
        return names;
    }();
    /// Our own columns; a file may have any of them.
    static constexpr std::array<std::string_view, 9> optional{
        "arch",  "latency_median_encoder", "latency_median_decoder", "reference_ms",
        "gain",  "samples_encoder",        "samples_decoder",        "seed",
        "device"};

private:
    static std::string column_names() {
        std::string out;
        for (const auto name : required) out += (out.empty() ? "" : ", ") + std::string(name);
        for (const auto name : optional) out += ", " + std::string(name);
        return out;
    }
    static std::vector<double> samples(const CsvTable& table, std::size_t row, std::size_t column) {
        std::vector<double> out;
        const std::string& cell = table.text(row, column);
        for (std::size_t at = 0; at <= cell.size();) {
            const std::size_t end = std::min(cell.find(';', at), cell.size());
            double value = 0;
            const auto [stop, code] = std::from_chars(cell.data() + at, cell.data() + end, value);
            if (code != std::errc() || stop != cell.data() + end || !std::isfinite(value) || value < 0)
                table.fail(row, column,
                           "holds \"" + cell.substr(at, end - at) + "\", expected numbers of at least 0 between ';'");
            out.push_back(value);
            at = end + 1;
        }
        return out;
    }
};

}  // namespace hat
