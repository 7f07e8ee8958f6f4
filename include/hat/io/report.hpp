#pragma once
/// \file
/// The report of a run: plain data, kept as JSON, shown as one self-contained HTML page or as text for a terminal.
/// Optional: needs nlohmann_json (target hat::report, or hat::json, which is the same).

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/io/units.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/text.hpp>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hat {

/// A number of a report that is not known: NaN here, null in JSON, "-" for people.
inline constexpr double report_unknown = std::numeric_limits<double>::quiet_NaN();

/// A named line of text, e.g. {"device", "..."}.
struct ReportFact {
    std::string name;                                                        ///< as it is shown
    std::string value;                                                       ///< as it is shown
    friend bool operator==(const ReportFact&, const ReportFact&) = default;  ///< memberwise
};

/// How long a stage of the run took.
struct ReportStage {
    std::string name;    ///< as it is shown
    double seconds = 0;  ///< how long it took
};

/// The losses of one training, in nats per token.
struct ReportCurve {
    /// One validation.
    struct Point {
        double update = 0;              ///< update number
        double train = report_unknown;  ///< training loss
        double valid = report_unknown;  ///< validation loss
    };
    std::string name;           ///< as it is shown
    std::vector<Point> points;  ///< by update
};

/// A latency that was predicted and measured.
struct ReportPrediction {
    double measured_ms = 0;   ///< of one network, milliseconds
    double predicted_ms = 0;  ///< what the predictor says of it, milliseconds
    bool held_out = false;    ///< the predictor had not seen it
};

/// One iteration of the search, over its population.
struct ReportIteration {
    double best_loss = report_unknown;        ///< lowest of the population
    double mean_loss = report_unknown;        ///< mean over the population
    double best_latency_ms = report_unknown;  ///< of the network with the best loss
};

/// The search and the latency of its winner.
struct ReportSearch {
    std::vector<ReportIteration> iterations;  ///< from the first generation on
    double limit_ms = report_unknown;         ///< milliseconds asked for
    double predicted_ms = report_unknown;     ///< of the winner
    double measured_ms = report_unknown;      ///< of the winner
};

/// An architecture to draw.
struct ReportNetwork {
    std::string name;  ///< as it is shown
    RuntimeArch arch;  ///< its shape
};

/// One line of the comparison; speed-ups are relative to the first one.
struct ReportModel {
    std::string name;                         ///< as it is shown
    double bleu = report_unknown;             ///< corpus BLEU
    double bleu_low = report_unknown;         ///< lower end of its 95 % interval
    double bleu_high = report_unknown;        ///< upper end of its 95 % interval
    double chrf = report_unknown;             ///< chrF2 on the test set
    double latency_ms = report_unknown;       ///< measured, milliseconds
    double params = report_unknown;           ///< without embeddings and output layer
    double flops = report_unknown;            ///< of one sentence, without the output layer
    double file_bytes = report_unknown;       ///< of the model's file, fp32
    double file_bytes_4bit = report_unknown;  ///< of the quantized model's file
    double bleu_4bit = report_unknown;        ///< BLEU of the 4-bit model
};

/// A sentence of the test set and its translations.
struct ReportExample {
    std::string source;                    ///< the sentence
    std::string reference;                 ///< its given translation
    std::vector<ReportFact> translations;  ///< by model
};

/// Everything a report shows. Empty parts are left out.
struct ReportData {
    std::string title = "hat";                  ///< heading of the page
    std::string summary;                        ///< the result in a sentence or two
    std::vector<ReportFact> provenance;         ///< device, seed, version, commands
    std::vector<ReportModel> models;            ///< the baseline first
    std::vector<ReportNetwork> networks;        ///< what is compared
    std::vector<ReportExample> examples;        ///< translations to read
    ReportSearch search;                        ///< how the winner was found
    std::vector<ReportPrediction> predictions;  ///< what the scatter plot shows
    std::vector<ReportFact> prediction_facts;   ///< errors of the predictor on held-out rows
    std::vector<ReportFact> quantization;       ///< its steps, and what each did to the loss
    std::vector<ReportCurve> curves;            ///< one per training
    std::vector<ReportFact> data;               ///< where the text comes from, what was dropped
    std::vector<ReportStage> stages;            ///< in the order they ran
};

namespace detail {

inline Json report_number(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }
inline double report_number(const JsonView& view, const std::string& key) {
    const JsonView v = view[key];
    return v.json().is_null() ? report_unknown : v.as<double>();
}

inline Json report_facts(const std::vector<ReportFact>& facts) {
    Json out = Json::array();
    for (const auto& f : facts) out.push_back({{"name", f.name}, {"value", f.value}});
    return out;
}
inline std::vector<ReportFact> report_facts(const JsonView& view) {
    std::vector<ReportFact> out;
    for (std::size_t i = 0; i < view.size(); ++i)
        out.push_back({view[i].get<std::string>("name"), view[i].get<std::string>("value")});
    return out;
}

/// The numbers of a model's line under their names in JSON.
inline constexpr std::array<std::pair<const char*, double ReportModel::*>, 10> report_model_numbers{{
    {"bleu", &ReportModel::bleu},
    {"bleu_low", &ReportModel::bleu_low},
    {"bleu_high", &ReportModel::bleu_high},
    {"chrf", &ReportModel::chrf},
    {"latency_ms", &ReportModel::latency_ms},
    {"params", &ReportModel::params},
    {"flops", &ReportModel::flops},
    {"file_bytes", &ReportModel::file_bytes},
    {"file_bytes_4bit", &ReportModel::file_bytes_4bit},
    {"bleu_4bit", &ReportModel::bleu_4bit},
}};

}  // namespace detail

/// The report as JSON.
inline Json report_to_json(const ReportData& r) {
    using detail::report_number;
    Json out{{"format", "hat-report-1"},
             {"title", r.title},
             {"summary", r.summary},
             {"provenance", detail::report_facts(r.provenance)},
             {"prediction_facts", detail::report_facts(r.prediction_facts)},
             {"quantization", detail::report_facts(r.quantization)},
             {"data", detail::report_facts(r.data)}};
    for (const char* list : {"models", "networks", "examples", "predictions", "curves", "stages"})
        out[list] = Json::array();
    for (const auto& m : r.models) {
        Json one{{"name", m.name}};
        for (const auto& [key, member] : detail::report_model_numbers) one[key] = report_number(m.*member);
        out["models"].push_back(one);
    }
    for (const auto& n : r.networks) out["networks"].push_back({{"name", n.name}, {"arch", to_text(n.arch)}});
    for (const auto& e : r.examples)
        out["examples"].push_back(
            {{"source", e.source}, {"reference", e.reference}, {"translations", detail::report_facts(e.translations)}});
    Json& search = out["search"];
    search = {{"limit_ms", report_number(r.search.limit_ms)},
              {"predicted_ms", report_number(r.search.predicted_ms)},
              {"measured_ms", report_number(r.search.measured_ms)},
              {"iterations", Json::array()}};
    for (const auto& i : r.search.iterations)
        search["iterations"].push_back({{"best_loss", report_number(i.best_loss)},
                                        {"mean_loss", report_number(i.mean_loss)},
                                        {"best_latency_ms", report_number(i.best_latency_ms)}});
    for (const auto& p : r.predictions)
        out["predictions"].push_back({{"measured_ms", report_number(p.measured_ms)},
                                      {"predicted_ms", report_number(p.predicted_ms)},
                                      {"held_out", p.held_out}});
    for (const auto& c : r.curves) {
        Json points = Json::array();
        for (const auto& p : c.points)
            points.push_back({{"update", report_number(p.update)},
                              {"train", report_number(p.train)},
                              {"valid", report_number(p.valid)}});
        out["curves"].push_back({{"name", c.name}, {"points", points}});
    }
    for (const auto& s : r.stages) out["stages"].push_back({{"name", s.name}, {"seconds", report_number(s.seconds)}});
    return out;
}

/// Reads what report_to_json() made. Throws bad_file naming the key.
inline ReportData report_from_json(const JsonView& in) {
    using detail::report_number;
    in.require_only({"format", "title", "summary", "provenance", "prediction_facts", "quantization", "data", "models",
                     "networks", "examples", "predictions", "curves", "stages", "search"});
    if (in.get<std::string>("format") != "hat-report-1")
        in["format"].fail("is \"" + in.get<std::string>("format") + "\", expected \"hat-report-1\"");
    ReportData r;
    const auto each = [&](const JsonView& list, auto&& f) {
        for (std::size_t i = 0; i < list.size(); ++i) f(list[i]);
    };
    r.title = in.get<std::string>("title");
    r.summary = in.get<std::string>("summary");
    r.provenance = detail::report_facts(in["provenance"]);
    r.prediction_facts = detail::report_facts(in["prediction_facts"]);
    r.quantization = detail::report_facts(in["quantization"]);
    r.data = detail::report_facts(in["data"]);
    each(in["models"], [&](const JsonView& v) {
        ReportModel m;
        m.name = v.get<std::string>("name");
        for (const auto& [key, member] : detail::report_model_numbers) m.*member = report_number(v, key);
        r.models.push_back(m);
    });
    each(in["networks"], [&](const JsonView& v) {
        try {
            r.networks.push_back({v.get<std::string>("name"), arch_from_text(v.get<std::string>("arch"))});
        } catch (const invalid_value& e) {
            v["arch"].fail(std::string("is no architecture: ") + e.what());
        }
    });
    each(in["examples"], [&](const JsonView& v) {
        r.examples.push_back(
            {v.get<std::string>("source"), v.get<std::string>("reference"), detail::report_facts(v["translations"])});
    });
    const JsonView search = in["search"];
    r.search.limit_ms = report_number(search, "limit_ms");
    r.search.predicted_ms = report_number(search, "predicted_ms");
    r.search.measured_ms = report_number(search, "measured_ms");
    each(search["iterations"], [&](const JsonView& v) {
        r.search.iterations.push_back(
            {report_number(v, "best_loss"), report_number(v, "mean_loss"), report_number(v, "best_latency_ms")});
    });
    each(in["predictions"], [&](const JsonView& v) {
        r.predictions.push_back(
            {report_number(v, "measured_ms"), report_number(v, "predicted_ms"), v.get<bool>("held_out")});
    });
    each(in["curves"], [&](const JsonView& v) {
        ReportCurve c;
        c.name = v.get<std::string>("name");
        each(v["points"], [&](const JsonView& p) {
            c.points.push_back({report_number(p, "update"), report_number(p, "train"), report_number(p, "valid")});
        });
        r.curves.push_back(std::move(c));
    });
    each(in["stages"], [&](const JsonView& v) {
        r.stages.push_back({v.get<std::string>("name"), report_number(v, "seconds")});
    });
    return r;
}

/// Writes the report as JSON, atomically. Throws bad_file.
inline void save_report(const std::filesystem::path& path, const ReportData& report) {
    save_json(path, report_to_json(report));
}
/// Reads it back, to make the page again. Throws bad_file.
inline ReportData load_report(const std::filesystem::path& path) {
    const Json json = load_json(path);
    return report_from_json(JsonView(json, path.string()));
}

namespace detail {

/// Text inside HTML or SVG.
inline std::string escape_html(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

/// Characters of UTF-8 text, for columns that line up.
inline std::size_t text_width(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

/// Cells of the comparison, header first; both forms of the report show these.
inline std::vector<std::vector<std::string>> report_table(const ReportData& r) {
    std::vector<std::vector<std::string>> rows{
        {"model", "BLEU", "chrF2", "latency", "speed-up", "params", "FLOPs", "file", "4-bit file", "4-bit BLEU"}};
    const auto bytes = [](double v) { return std::isfinite(v) ? bytes_text(static_cast<std::uint64_t>(v)) : "-"; };
    for (const auto& m : r.models) {
        std::string bleu = fixed_text(m.bleu, 2);
        if (std::isfinite(m.bleu_low) && std::isfinite(m.bleu_high))
            bleu += " [" + fixed_text(m.bleu_low, 1) + ", " + fixed_text(m.bleu_high, 1) + "]";
        const double gain = r.models.front().latency_ms / m.latency_ms;
        rows.push_back({m.name, bleu, fixed_text(m.chrf, 2),
                        std::isfinite(m.latency_ms) ? fixed_text(m.latency_ms, 2) + " ms" : "-",
                        std::isfinite(gain) ? fixed_text(gain, 2) + "x" : "-", count_text(m.params),
                        count_text(m.flops), bytes(m.file_bytes), bytes(m.file_bytes_4bit),
                        fixed_text(m.bleu_4bit, 2)});
    }
    return rows;
}

/// "limit 12.0 ms, predicted 11.5 ms, measured 11.7 ms"; empty if none is known.
inline std::string winner_text(const ReportSearch& s) {
    std::string out;
    for (const auto& [name, value] :
         {std::pair("limit", s.limit_ms), std::pair("predicted", s.predicted_ms), std::pair("measured", s.measured_ms)})
        if (std::isfinite(value))
            out += (out.empty() ? "" : ", ") + std::string(name) + " " + fixed_text(value, 2) + " ms";
    return out;
}

inline int widest_ffn(const std::vector<ReportNetwork>& networks) {
    int most = 1;
    for (const auto& n : networks) {
        most = std::max(most, *std::max_element(n.arch.encoder.ffn.begin(), n.arch.encoder.ffn.end()));
        most = std::max(most, *std::max_element(n.arch.decoder.ffn.begin(), n.arch.decoder.ffn.end()));
    }
    return most;
}

/// The encoder layers a decoder layer attends to, from 1: "6" or "4-6".
inline std::string span_text(int span, int encoder_layers) {
    return (span > 1 ? std::to_string(encoder_layers - span + 1) + "-" : "") + std::to_string(encoder_layers);
}

// ---- plots -----------------------------------------------------------------------------------------------------

/// A row of points under one name; `color` is one of the page's colours 0 to 5.
struct PlotSeries {
    std::string name;
    int color = 0;
    bool line = true, dashed = false;  ///< without a line: dots
    std::vector<std::pair<double, double>> points;
};

/// Round numbers that cover [low, high], four to eight of them.
inline std::vector<double> plot_ticks(double low, double high) {
    const double raw = (high - low) / 5, power = std::pow(10.0, std::floor(std::log10(raw)));
    double step = power;
    for (const double factor : {1.0, 2.0, 5.0, 10.0})
        if (factor * power <= raw * 1.0001) step = factor * power;
    std::vector<double> ticks;
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) ticks.push_back(i * step);
    return ticks;
}
inline std::string tick_text(double value, double step) {
    if (std::abs(value) >= 1e5) return count_text(std::abs(value)).insert(0, value < 0 ? "-" : "");
    const int decimals = step >= 1 ? 0 : static_cast<int>(std::min(6.0, std::ceil(-std::log10(step) - 1e-9)));
    return fixed_text(value == 0 ? 0.0 : value, decimals);
}

/// An SVG with axes, grid, ticks and the points; points that are not finite are left out. Empty if none is left.
/// `diagonal` gives both axes one range and draws x = y.
inline std::string plot_svg(const std::string& title, const std::string& x_name, const std::string& y_name,
                            const std::vector<PlotSeries>& series, bool diagonal = false) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    double x0 = infinity, x1 = -infinity, y0 = infinity, y1 = -infinity;
    const auto usable = [](const auto& p) { return std::isfinite(p.first) && std::isfinite(p.second); };
    for (const auto& s : series)
        for (const auto& p : s.points) {
            if (!usable(p)) continue;
            x0 = std::min(x0, p.first), x1 = std::max(x1, p.first);
            y0 = std::min(y0, p.second), y1 = std::max(y1, p.second);
        }
    if (!std::isfinite(x0)) return {};
    if (diagonal) x0 = y0 = std::min(x0, y0), x1 = y1 = std::max(x1, y1);
    const auto pad = [](double& low, double& high, double share) {
        const double room = high > low ? share * (high - low) : std::max(0.5, 0.05 * std::abs(high));
        low -= room, high += room;
    };
    pad(x0, x1, diagonal ? 0.05 : 0.0);
    pad(y0, y1, 0.05);
    constexpr double width = 560, height = 320, left = 62, right = 16, top = 12, bottom = 46;
    const auto px = [&](double x) { return fixed_text(left + (x - x0) / (x1 - x0) * (width - left - right), 1); };
    const auto py = [&](double y) {
        return fixed_text(height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom), 1);
    };
    const auto number = [](double v) { return fixed_text(v, 1); };
    std::string svg = "<figure><figcaption>" + escape_html(title) + "</figcaption><p class=\"legend\">";
    for (const auto& s : series)
        svg += "<span><i class=\"" + std::string(s.line ? (s.dashed ? "dash" : "bar") : "dot") + " k" +
               std::to_string(s.color) + "\"></i>" + escape_html(s.name) + "</span>";
    svg += "</p><svg viewBox=\"0 0 " + number(width) + " " + number(height) + "\" role=\"img\" aria-label=\"" +
           escape_html(title) + "\">";
    const auto x_ticks = plot_ticks(x0, x1), y_ticks = plot_ticks(y0, y1);
    const auto step = [](const std::vector<double>& t) { return t.size() > 1 ? t[1] - t[0] : 1.0; };
    for (const double t : x_ticks) {
        svg += "<line class=\"grid\" x1=\"" + px(t) + "\" x2=\"" + px(t) + "\" y1=\"" + number(top) + "\" y2=\"" +
               number(height - bottom) + "\"/><text x=\"" + px(t) + "\" y=\"" + number(height - bottom + 17) +
               "\" text-anchor=\"middle\">" + tick_text(t, step(x_ticks)) + "</text>";
    }
    for (const double t : y_ticks) {
        svg += "<line class=\"grid\" x1=\"" + number(left) + "\" x2=\"" + number(width - right) + "\" y1=\"" + py(t) +
               "\" y2=\"" + py(t) + "\"/><text x=\"" + number(left - 7) + "\" y=\"" + py(t) +
               "\" dy=\"0.35em\" text-anchor=\"end\">" + tick_text(t, step(y_ticks)) + "</text>";
    }
    svg += "<path class=\"axis\" d=\"M" + number(left) + " " + number(top) + "V" + number(height - bottom) + "H" +
           number(width - right) + "\"/><text class=\"name\" x=\"" + number((left + width - right) / 2) + "\" y=\"" +
           number(height - 8) + "\" text-anchor=\"middle\">" + escape_html(x_name) +
           "</text><text class=\"name\" transform=\"translate(14 " + number((top + height - bottom) / 2) +
           ") rotate(-90)\" text-anchor=\"middle\">" + escape_html(y_name) + "</text>";
    if (diagonal)
        svg += "<line class=\"same\" x1=\"" + px(x0) + "\" y1=\"" + py(y0) + "\" x2=\"" + px(x1) + "\" y2=\"" + py(y1) +
               "\"/>";
    for (const auto& s : series) {
        const std::string color = std::to_string(s.color);
        if (s.line) {
            std::string path;
            for (const auto& p : s.points)
                if (usable(p)) path += (path.empty() ? "M" : "L") + px(p.first) + " " + py(p.second);
            svg += "<path class=\"line s" + color + (s.dashed ? " dashed" : "") + "\" d=\"" + path + "\"/>";
        }
        if (s.line && s.points.size() > 60) continue;
        for (const auto& p : s.points)
            if (usable(p))
                svg += "<circle class=\"f" + color + "\" cx=\"" + px(p.first) + "\" cy=\"" + py(p.second) + "\" r=\"" +
                       (s.line ? "1.8" : "2.6") + "\"><title>" + escape_html(s.name) + ": " + escape_html(x_name) +
                       " " + fixed_text(p.first, 2) + ", " + escape_html(y_name) + " " + fixed_text(p.second, 3) +
                       "</title></circle>";
    }
    return svg + "</svg></figure>";
}

/// Both sides of a network side by side, first layer at the bottom: attention with its heads, the encoder layers each
/// decoder layer attends to as curves, feed-forward blocks as bars in proportion to their width.
inline std::string network_svg(const ReportNetwork& network, int most_ffn) {
    const RuntimeArch& a = network.arch;
    constexpr double row = 40, box = 28, top = 30;
    constexpr double enc_x = 0, dec_x = 372, attention = 92, bar = 126, width = 720;
    const int rows = std::max(a.encoder.layers, a.decoder.layers);
    const double height = top + row * rows + 26;
    const auto number = [](double v) { return fixed_text(v, 1); };
    const auto y_of = [&](int layer) { return top + row * (rows - 1 - layer); };
    std::string svg = "<svg class=\"net\" viewBox=\"0 0 " + number(width) + " " + number(height) +
                      "\" role=\"img\" aria-label=\"" + escape_html(network.name) + "\">";
    const auto label = [&](double x, double y, const std::string& t, const char* kind, const char* anchor = "start") {
        svg += "<text class=\"" + std::string(kind) + "\" x=\"" + number(x) + "\" y=\"" + number(y) +
               "\" dy=\"0.35em\" text-anchor=\"" + anchor + "\">" + escape_html(t) + "</text>";
    };
    const auto attend = [&](double x, double y, int heads, int qkv, const std::string& name, int color) {
        const double each = attention / heads;
        svg += "<g><title>" + escape_html(name) + ": " + std::to_string(heads) + " heads of " +
               std::to_string(qkv / std::max(1, heads)) + "</title>";
        for (int h = 0; h < heads; ++h)
            svg += "<rect class=\"b" + std::to_string(color) + "\" x=\"" + number(x + h * each) + "\" y=\"" +
                   number(y) + "\" width=\"" + number(each - 1.5) + "\" height=\"" + number(box) + "\" rx=\"2\"/>";
        svg += "</g>";
        label(x + attention / 2, y + box / 2, std::to_string(heads) + " x " + std::to_string(qkv / std::max(1, heads)),
              "in", "middle");
    };
    const auto feed = [&](double x, double y, int ffn) {
        const double w = bar * ffn / most_ffn;
        svg += "<rect class=\"b2\" x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" + number(w) +
               "\" height=\"" + number(box) + "\" rx=\"2\"><title>feed-forward " + std::to_string(ffn) +
               "</title></rect>";
        label(x + 6, y + box / 2, std::to_string(ffn), "in");
    };
    const double enc_end = enc_x + 24 + attention + 6 + bar;
    for (int d = 0; d < a.decoder.layers; ++d)
        for (int e = a.encoder.layers - a.decoder.cross_span[static_cast<std::size_t>(d)]; e < a.encoder.layers; ++e) {
            if (e < 0) continue;
            const double y0 = y_of(e) + box / 2, y1 = y_of(d) + box / 2;
            svg += "<path class=\"cross\" d=\"M" + number(enc_end + 4) + " " + number(y0) + "C" + number(enc_end + 60) +
                   " " + number(y0) + " " + number(dec_x - 50) + " " + number(y1) + " " + number(dec_x - 6) + " " +
                   number(y1) + "\"><title>decoder layer " + std::to_string(d + 1) + " attends to encoder layer " +
                   std::to_string(e + 1) + "</title></path>";
        }
    label(enc_x + 24, 12, "encoder: self-attention", "head");
    label(enc_x + 30 + attention, 12, "", "head");
    label(enc_x + 30 + attention + bar, 12, "FFN", "head", "end");
    label(dec_x + 24, 12, "decoder: self, cross-attention", "head");
    label(dec_x + 36 + 2 * attention + bar, 12, "FFN", "head", "end");
    for (int i = 0; i < a.encoder.layers; ++i) {
        const auto k = static_cast<std::size_t>(i);
        label(enc_x + 14, y_of(i) + box / 2, std::to_string(i + 1), "side", "end");
        attend(enc_x + 24, y_of(i), a.encoder.self_heads[k], a.encoder.qkv[k], "self-attention", 0);
        feed(enc_x + 30 + attention, y_of(i), a.encoder.ffn[k]);
    }
    for (int i = 0; i < a.decoder.layers; ++i) {
        const auto k = static_cast<std::size_t>(i);
        label(dec_x + 14, y_of(i) + box / 2, std::to_string(i + 1), "side", "end");
        attend(dec_x + 24, y_of(i), a.decoder.self_heads[k], a.decoder.qkv[k], "self-attention", 0);
        attend(dec_x + 30 + attention, y_of(i), a.decoder.cross_heads[k], a.decoder.qkv[k], "cross-attention", 1);
        feed(dec_x + 36 + 2 * attention, y_of(i), a.decoder.ffn[k]);
    }
    label(enc_x + 24, height - 12, "embedding width " + std::to_string(a.encoder.embed), "head");
    label(dec_x + 24, height - 12, "embedding width " + std::to_string(a.decoder.embed), "head");
    return svg + "</svg>";
}

inline constexpr std::string_view report_style = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--soft:#5d6b7e;--rule:#dfe4ea;--card:#f6f8fa;
--c0:#2563eb;--c1:#c2570c;--c2:#0f8a5f;--c3:#a21caf;--c4:#0e7490;--c5:#b91c1c;--b0:#c7d9fb;--b1:#fad9bd;--b2:#bfe6d5}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e6eaf0;--soft:#98a5b6;--rule:#2b3440;--card:#1a2029;
--c0:#7aa7ff;--c1:#f2a154;--c2:#4fd1a0;--c3:#e08bea;--c4:#5ccbe0;--c5:#ff8a8a;--b0:#28436f;--b1:#6a4220;--b2:#1f5a45}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 60px}h1{margin:0 0 4px;font-size:26px}
h2{margin:36px 0 10px;font-size:18px;border-bottom:1px solid var(--rule);padding-bottom:4px}
h3{margin:14px 0 6px;font-size:15px}.summary{font-size:17px;margin:4px 0 14px}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--rule);
white-space:nowrap;font-variant-numeric:tabular-nums}th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left}.facts td{text-align:left;white-space:pre-wrap;overflow-wrap:anywhere}
.facts td:first-child{color:var(--soft);width:180px;vertical-align:top;white-space:normal}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:18px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:12px 14px}
figcaption{font-weight:600}.legend{margin:2px 0 4px;color:var(--soft);font-size:13px}.legend span{margin-right:16px;
white-space:nowrap}
.legend i{display:inline-block;width:18px;height:0;border-top:3px solid;margin-right:6px;vertical-align:middle}
.legend i.dash{border-top-style:dashed}.legend i.dot{width:8px;height:8px;border:4px solid;border-radius:50%}
svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}svg text.name{font-size:12.5px;
fill:var(--fg)}
.grid{stroke:var(--rule)}.axis{stroke:var(--soft);fill:none}.same{stroke:var(--soft);stroke-dasharray:5 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.dashed{stroke-dasharray:6 4}
.k0{color:var(--c0)}.k1{color:var(--c1)}.k2{color:var(--c2)}.k3{color:var(--c3)}.k4{color:var(--c4)}
.k5{color:var(--c5)}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}
.s5{stroke:var(--c5)}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}
circle{fill-opacity:.75}.b0{fill:var(--b0)}.b1{fill:var(--b1)}.b2{fill:var(--b2)}
.net{max-width:860px}.net text.in{fill:var(--fg)}.cross{fill:none;stroke:var(--c1);stroke-opacity:.55;
stroke-width:1.4}
blockquote{margin:0 0 12px;padding:8px 14px;border-left:3px solid var(--rule);background:var(--card)}
blockquote b{display:inline-block;min-width:130px;color:var(--soft);font-weight:600}
blockquote div{overflow-wrap:anywhere}
)";

/// How long each stage took, and all of them.
inline std::vector<ReportFact> time_facts(const std::vector<ReportStage>& stages) {
    std::vector<ReportFact> facts;
    double total = 0;
    for (const auto& s : stages) {
        facts.push_back({s.name, duration_text(s.seconds)});
        total += s.seconds;
    }
    facts.push_back({"all", duration_text(total)});
    return facts;
}

inline std::string facts_html(const std::vector<ReportFact>& facts) {
    if (facts.empty()) return {};
    std::string out = "<table class=\"facts\">";
    for (const auto& f : facts)
        out += "<tr><td>" + escape_html(f.name) + "</td><td>" + escape_html(f.value) + "</td></tr>";
    return out + "</table>";
}

}  // namespace detail

/// One HTML page that needs nothing else: inline SVG plots, light and dark, all text escaped. The same report gives
/// the same bytes.
inline std::string html_report(const ReportData& r) {
    using detail::escape_html;
    using Points = std::vector<std::pair<double, double>>;
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
        escape_html(r.title) + "</title><style>" + std::string(detail::report_style) +
        "</style></head><body><main>\n<h1>" + escape_html(r.title) + "</h1>";
    if (!r.summary.empty()) out += "<p class=\"summary\">" + escape_html(r.summary) + "</p>";
    const auto heading = [&](const std::string& text) { out += "\n<h2>" + escape_html(text) + "</h2>\n"; };

    if (!r.models.empty()) {
        out += "\n<div class=\"scroll\"><table>";
        bool header = true;
        for (const auto& row : detail::report_table(r)) {
            out += "<tr>";
            for (const auto& cell : row)
                out += (header ? "<th>" : "<td>") + escape_html(cell) + (header ? "</th>" : "</td>");
            out += "</tr>\n";
            header = false;
        }
        out += "</table></div>";
    }
    if (!r.networks.empty()) {
        heading("Architectures");
        const int most = detail::widest_ffn(r.networks);
        for (const auto& n : r.networks)
            out += "<h3>" + escape_html(n.name) + "</h3>" + detail::network_svg(n, most) + "\n";
    }
    if (!r.examples.empty()) {
        heading("Translations");
        for (const auto& e : r.examples) {
            out += "<blockquote><div><b>source</b> " + escape_html(e.source) + "</div><div><b>reference</b> " +
                   escape_html(e.reference) + "</div>";
            for (const auto& t : e.translations)
                out += "<div><b>" + escape_html(t.name) + "</b> " + escape_html(t.value) + "</div>";
            out += "</blockquote>\n";
        }
    }
    if (!r.search.iterations.empty() || !detail::winner_text(r.search).empty()) {
        heading("Search");
        if (const auto text = detail::winner_text(r.search); !text.empty())
            out += "<p>The winner's latency: " + text + ".</p>";
        Points best, mean, latency, limit;
        for (std::size_t i = 0; i < r.search.iterations.size(); ++i) {
            const auto& it = r.search.iterations[i];
            const double x = static_cast<double>(i + 1);
            best.emplace_back(x, it.best_loss);
            mean.emplace_back(x, it.mean_loss);
            latency.emplace_back(x, it.best_latency_ms);
            limit.emplace_back(x, r.search.limit_ms);
        }
        out += "<div class=\"plots\">" +
               detail::plot_svg("Validation loss with inherited weights", "iteration", "loss",
                                {{"best", 0, true, false, best}, {"mean of the population", 1, true, true, mean}}) +
               detail::plot_svg("Latency of the best network", "iteration", "ms",
                                {{"best", 2, true, false, latency}, {"limit", 5, true, true, limit}}) +
               "</div>";
    }
    if (!r.predictions.empty()) {
        heading("Latency predictor");
        Points train, test;
        for (const auto& p : r.predictions) (p.held_out ? test : train).emplace_back(p.measured_ms, p.predicted_ms);
        std::vector<detail::PlotSeries> series;
        if (!train.empty()) series.push_back({"learned from", 0, false, false, train});
        if (!test.empty()) series.push_back({"held out", 1, false, false, test});
        out += "<div class=\"plots\">" +
               detail::plot_svg("Predicted and measured latency", "measured, ms", "predicted, ms", series, true) +
               "<div>" + detail::facts_html(r.prediction_facts) + "</div></div>";
    }
    if (!r.quantization.empty()) {
        heading("Quantization");
        out += detail::facts_html(r.quantization);
    }
    if (!r.curves.empty()) {
        heading("Training");
        out += "<div class=\"plots\">";
        for (const auto& c : r.curves) {
            Points train, valid;
            for (const auto& p : c.points) {
                train.emplace_back(p.update, p.train);
                valid.emplace_back(p.update, p.valid);
            }
            out += detail::plot_svg(c.name, "update", "loss, nats per token",
                                    {{"training", 0, true, false, train}, {"validation", 1, true, false, valid}});
        }
        out += "</div>";
    }
    if (!r.data.empty()) {
        heading("Data");
        out += detail::facts_html(r.data);
    }
    if (!r.stages.empty()) {
        heading("Time");
        out += detail::facts_html(detail::time_facts(r.stages));
    }
    if (!r.provenance.empty()) {
        heading("How this was made");
        out += detail::facts_html(r.provenance);
    }
    return out + "\n</main></body></html>\n";
}

/// The report for a terminal: the same tables and architectures as text.
inline std::string text_report(const ReportData& r) {
    std::string out = r.title + "\n" + std::string(detail::text_width(r.title), '=') + "\n";
    if (!r.summary.empty()) out += r.summary + "\n";
    const auto facts = [&](const std::vector<ReportFact>& list) {
        std::size_t width = 0;
        for (const auto& f : list) width = std::max(width, detail::text_width(f.name));
        for (const auto& f : list)
            out += "  " + f.name + std::string(width - detail::text_width(f.name) + 2, ' ') + f.value + "\n";
    };
    if (!r.models.empty()) {
        const auto rows = detail::report_table(r);
        std::vector<std::size_t> widths(rows[0].size());
        for (const auto& row : rows)
            for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], detail::text_width(row[i]));
        out += "\n";
        for (std::size_t k = 0; k < rows.size(); ++k) {
            for (std::size_t i = 0; i < rows[k].size(); ++i) {
                const std::string space(widths[i] - detail::text_width(rows[k][i]), ' ');
                out += i == 0 ? rows[k][i] + space : "  " + space + rows[k][i];
            }
            out += "\n";
            if (k == 0) {
                std::size_t total = 2 * (widths.size() - 1);
                for (const auto w : widths) total += w;
                out += std::string(total, '-') + "\n";
            }
        }
    }
    const int most = detail::widest_ffn(r.networks);
    for (const auto& n : r.networks) {
        const auto& a = n.arch;
        out += "\n" + n.name + "\n";
        const auto side = [&](const auto& s, const char* name, bool decoder) {
            out += "  " + std::string(name) + ", width " + std::to_string(s.embed) + "\n";
            for (int layer = s.layers; layer-- > 0;) {
                const auto i = static_cast<std::size_t>(layer);
                std::string line = "  " + std::string(layer < 9 ? " " : "") + std::to_string(layer + 1) + " | self " +
                                   std::to_string(s.self_heads[i]) + "x" +
                                   std::to_string(s.qkv[i] / std::max(1, s.self_heads[i]));
                line.resize(std::max<std::size_t>(line.size(), 18), ' ');
                if (decoder) {
                    line += " | cross " + std::to_string(s.cross_heads[i]) + "x" +
                            std::to_string(s.qkv[i] / std::max(1, s.cross_heads[i])) + " to encoder " +
                            detail::span_text(s.cross_span[i], a.encoder.layers);
                    line.resize(std::max<std::size_t>(line.size(), 48), ' ');
                }
                const auto bar = static_cast<std::size_t>(std::max(1, s.ffn[i] * 24 / most));
                out += line + " | ffn " + std::string(bar, '#') + " " + std::to_string(s.ffn[i]) + "\n";
            }
        };
        side(a.decoder, "decoder", true);
        side(a.encoder, "encoder", false);
    }
    if (const auto text = detail::winner_text(r.search); !text.empty()) {
        out += "\nSearch: " + std::to_string(r.search.iterations.size()) + " iterations; the winner's latency: " + text;
        out += "\n";
    }
    if (!r.prediction_facts.empty()) {
        out += "\nLatency predictor\n";
        facts(r.prediction_facts);
    }
    if (!r.quantization.empty()) {
        out += "\nQuantization\n";
        facts(r.quantization);
    }
    for (const auto& e : r.examples) {
        std::vector<ReportFact> lines{{"source", e.source}, {"reference", e.reference}};
        lines.insert(lines.end(), e.translations.begin(), e.translations.end());
        out += "\n";
        facts(lines);
    }
    if (!r.stages.empty()) {
        out += "\nTime\n";
        facts(detail::time_facts(r.stages));
    }
    return out;
}

}  // namespace hat
