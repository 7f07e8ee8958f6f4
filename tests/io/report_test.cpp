#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/io/report.hpp>
#include <hat/io/units.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/text.hpp>
#include <string>
#include <support/files.hpp>

using namespace hat;

namespace {

RuntimeArch network(int encoder, int decoder, int ffn) {
    RuntimeArch a;
    a.encoder.embed = 128;
    a.decoder.embed = 96;
    a.encoder.layers = encoder;
    a.decoder.layers = decoder;
    for (std::size_t i = 0; i < 16; ++i) {
        a.encoder.ffn[i] = ffn;
        a.decoder.ffn[i] = ffn / 2;
        a.encoder.qkv[i] = a.decoder.qkv[i] = 64;
        a.encoder.self_heads[i] = a.decoder.self_heads[i] = 4;
        a.decoder.cross_heads[i] = 2;
        a.decoder.cross_span[i] = static_cast<int>(i % 3) + 1;
    }
    return canonical(a);
}

ReportData sample() {
    ReportData r;
    r.title = "Run <1> & \"more\"";
    r.summary = "twice as fast";
    r.provenance = {{"device", "Some CPU"}, {"seed", "7"}};
    r.models = {{"baseline", 20.5, 19.0, 22.0, 44.5, 30.0, 1.5e6, 2.5e9, 6.2e6, 8.4e5, 20.1}, {"winner"}};
    r.models[1].latency_ms = 12.0;
    r.models[1].bleu = 20.125;
    r.networks = {{"baseline", network(3, 3, 512)}, {"winner", network(3, 1, 256)}};
    r.examples = {{"Öffne <b>", "Open", {{"winner", "open 'it'"}}}};
    r.search = {{{4.0, 5.0, 14.0}, {3.5, 4.5, 13.0}}, 15.0, 12.5, 12.0};
    r.predictions = {{10, 11, false}, {20, 19, true}};
    r.prediction_facts = {{"MAPE", "4.2 %"}};
    r.quantization = {{"k-means, 4 bits", "validation nll 2.6"}};
    r.curves = {{"SuperTransformer", {{100, 6.0, report_unknown}, {200, 5.0, 5.5}}}};
    r.data = {{"pairs", "12000"}};
    r.stages = {{"search", 62.0}, {"train", 600.5}};
    return r;
}

std::size_t count(const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

/// Every opened element is closed, in order; void elements and comments aside.
bool is_balanced(const std::string& html) {
    std::vector<std::string> open;
    for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
        const std::size_t end = html.find('>', at);
        if (end == std::string::npos) return false;
        const std::string tag = html.substr(at + 1, end - at - 1);
        if (tag[0] == '!' || tag.back() == '/' || tag.rfind("meta", 0) == 0) continue;
        if (tag[0] != '/') {
            open.push_back(tag.substr(0, tag.find(' ')));
        } else {
            if (open.empty() || open.back() != tag.substr(1)) return false;
            open.pop_back();
        }
    }
    return open.empty();
}

}  // namespace

TEST_CASE("numbers, sizes and times are written for people") {
    CHECK(fixed_text(1.005, 1) == "1.0");
    CHECK(fixed_text(report_unknown, 1) == "-");
    CHECK(bytes_text(999) == "999 B");
    CHECK(bytes_text(1000) == "1.00 kB");
    CHECK(bytes_text(12'345) == "12.3 kB");
    CHECK(bytes_text(999'499) == "999 kB");
    CHECK(bytes_text(999'600) == "1.00 MB");
    CHECK(bytes_text(167'979'008) == "168 MB");
    CHECK(count_text(25'217'536) == "25.2 M");
    CHECK(count_text(12) == "12");
    CHECK(duration_text(59.94) == "59.9 s");
    CHECK(duration_text(59.96) == "1 min 00 s");
    CHECK(duration_text(3599.7) == "1 h 00 min");
    CHECK(duration_text(7260) == "2 h 01 min");
    CHECK(duration_text(-1) == "-");
}

TEST_CASE("a report survives its JSON file, unknown numbers included") {
    const hat_test::TemporaryFolder folder;
    const ReportData r = sample();
    save_report(folder / "report.json", r);
    const ReportData back = load_report(folder / "report.json");
    CHECK(report_to_json(back) == report_to_json(r));
    CHECK(back.networks[1].arch == r.networks[1].arch);
    CHECK(std::isnan(back.models[1].chrf));
    CHECK(std::isnan(back.curves[0].points[0].valid));
    CHECK(back.predictions[1].held_out);
    CHECK(html_report(back) == html_report(r));
    CHECK(text_report(back) == text_report(r));
    CHECK_NOTHROW(save_report(folder / "empty.json", ReportData{}));
    CHECK(report_to_json(load_report(folder / "empty.json")) == report_to_json(ReportData{}));
}

TEST_CASE("a broken report file is refused with file and key") {
    const auto message = [](auto&& change) {
        Json json = report_to_json(sample());
        change(json);
        try {
            report_from_json(JsonView(json, "report.json"));
        } catch (const bad_file& e) {
            return std::string(e.what());
        }
        return std::string("accepted");
    };
    CHECK(message([](Json& j) { j.erase("curves"); }) == "report.json: key \"curves\" is missing");
    CHECK(message([](Json& j) { j["format"] = "x"; }) ==
          "report.json: key \"format\" is \"x\", expected \"hat-report-1\"");
    CHECK(message([](Json& j) { j["colour"] = 1; }).find("key \"colour\" is unknown") != std::string::npos);
    CHECK(message([](Json& j) { j["models"][0]["bleu"] = "high"; }) ==
          "report.json: key \"models[0].bleu\" is \"high\", expected a number");
    CHECK(message([](Json& j) {
              j["networks"][1]["arch"] = "encoder.embed=1";
          }).find("key \"networks[1].arch\" is no architecture") != std::string::npos);
    CHECK(message([](Json& j) { j["predictions"][0]["held_out"] = 1; }) ==
          "report.json: key \"predictions[0].held_out\" is 1, expected true or false");
}

TEST_CASE("the page is well formed, self-contained and escapes all text") {
    const std::string html = html_report(sample());
    CHECK(is_balanced(html));
    CHECK(html.find("Run &lt;1&gt; &amp; &quot;more&quot;") != std::string::npos);
    CHECK(html.find("Öffne &lt;b&gt;") != std::string::npos);
    CHECK(html.find("<b>\"") == std::string::npos);
    CHECK(html.find("http") == std::string::npos);
    CHECK(html.find("<script") == std::string::npos);
    CHECK(html.find("nan") == std::string::npos);
    CHECK(html.find("inf") == std::string::npos);
    CHECK(count(html, "<svg") == 6);  // two architectures, two of the search, predictor, one training
    CHECK(html.find("2.50x") != std::string::npos);
    CHECK(html.find("20.50 [19.0, 22.0]") != std::string::npos);
    CHECK(html.find("limit 15.00 ms, predicted 12.50 ms, measured 12.00 ms") != std::string::npos);
    CHECK(is_balanced(html_report({})));
    CHECK(html_report({}).find("<h2>") == std::string::npos);
}

TEST_CASE("plots take flat, single and missing points") {
    CHECK(detail::plot_svg("t", "x", "y", {}).empty());
    CHECK(detail::plot_svg("t", "x", "y", {{"s", 0, true, false, {{1, report_unknown}}}}).empty());
    for (const double v : {0.0, 5.0, -3.0, 1e-9, 1e12}) {
        const std::string svg = detail::plot_svg("t", "x", "y", {{"s", 0, true, false, {{2, v}, {2, report_unknown}}}});
        CHECK(count(svg, "<circle") == 1);
        CHECK(svg.find("nan") == std::string::npos);
        CHECK(is_balanced(svg));
    }
    const auto ticks = detail::plot_ticks(0, 30);
    CHECK(ticks == std::vector<double>{0, 5, 10, 15, 20, 25, 30});
    CHECK(detail::plot_ticks(0.012, 0.019).size() >= 4);
    CHECK(detail::tick_text(0.015, 0.001) == "0.015");
    CHECK(detail::tick_text(-200000, 100000) == "-200 k");
}

TEST_CASE("the drawing shows every head, every block and every attended encoder layer") {
    const ReportNetwork n{"net", network(3, 3, 512)};
    const std::string svg = detail::network_svg(n, 512);
    CHECK(count(svg, "class=\"b0\"") == 3 * 4 + 3 * 4);
    CHECK(count(svg, "class=\"b1\"") == 3 * 2);
    CHECK(count(svg, "class=\"b2\"") == 6);
    CHECK(count(svg, "class=\"cross\"") == 1 + 2 + 3);
    CHECK(svg.find("decoder layer 2 attends to encoder layer 2") != std::string::npos);
    CHECK(svg.find("decoder layer 1 attends to encoder layer 2") == std::string::npos);
}

TEST_CASE("the terminal report lines up and shows the architecture") {
    const std::string text = text_report(sample());
    CHECK(text.find("model") != std::string::npos);
    std::vector<std::size_t> lengths;
    for (const std::string start : {"\nmodel ", "\nbaseline  ", "\nwinner  "}) {
        const std::size_t at = text.find(start);
        REQUIRE(at != std::string::npos);
        lengths.push_back(detail::text_width(text.substr(at + 1, text.find('\n', at + 1) - at - 1)));
    }
    CHECK(lengths[0] == lengths[1]);
    CHECK(lengths[0] == lengths[2]);
    CHECK(text.find("   3 | self 4x16 ") != std::string::npos);
    CHECK(text.find("| cross 2x32 to encoder 2-3") != std::string::npos);
    CHECK(text.find("| ffn ######################## 512") != std::string::npos);
    CHECK(text.find("| ffn ###### 128") != std::string::npos);
    CHECK(text.find("all     11 min 03 s") != std::string::npos);
    CHECK(text.find("nan") == std::string::npos);
}
