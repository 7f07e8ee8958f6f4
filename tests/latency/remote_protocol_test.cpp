#include <doctest/doctest.h>

#include <hat/latency/remote_protocol.hpp>
#include <string>
#include <support/files.hpp>
#include <support/tiny.hpp>

using hat::RemoteMessage;
using hat_test::message_of;

TEST_CASE("a line is a verb and words, and the last one may be a sentence") {
    const auto m = RemoteMessage::parse("hello  protocol=1\thardware=none device= a=1; b = 2 \r");
    CHECK(m.verb == "hello");
    CHECK(m.get("protocol") == "1");
    CHECK(m.get("device") == " a=1; b = 2");
    CHECK(RemoteMessage::parse("ping id=3").text() == "ping id=3");
    CHECK(RemoteMessage{"error", {}}.with("message", "two\nlines").text() == "error message=two lines");
    const auto bad = [](const std::string& line) {
        return message_of<hat::invalid_value>([&] { (void)RemoteMessage::parse(line); });
    };
    CHECK(bad("") == "the line is empty");
    CHECK(bad(" \r") == "the line is empty");
    CHECK(bad("time 3") == "found '3', expected key=value");
    CHECK(bad("time =3") == "found '=3', expected key=value");
    CHECK(bad("time id=3 id=3") == "key 'id' is given twice");
    const auto number = [](const std::string& text) {
        return message_of<hat::invalid_value>([&] { (void)RemoteMessage::parse("m n=" + text).number("n", 1, 9); });
    };
    CHECK(number("9") == "");
    for (const std::string text : {"10", "0", "-1", "x", "3x", "", "99999999999999999999"})
        CHECK(number(text) == "key 'n' is '" + text + "', expected a whole number from 1 to 9");
    CHECK(message_of<hat::invalid_value>([] { (void)RemoteMessage::parse("m a=1").get("b"); }) == "key 'b' is missing");
}

TEST_CASE("a model, a request and its answer come back as they were") {
    hat::RemoteModel model;
    model.shape = hat_test::tiny_arch();
    model.source_vocab = 100;
    model.target_vocab = 90;
    model.sharing = hat::EmbeddingSharing::decoder_input_output;
    model.decoder_pre_norm = true;
    model.source_length = 7;
    model.target_length = 8;
    model.beam = 3;
    model.threads = 2;
    const std::string line = model.message().text();
    const auto back = hat::RemoteModel::parse(RemoteMessage::parse(line));
    CHECK(back.message().text() == line);
    CHECK(back.shape == model.shape);
    CHECK(back.sharing == model.sharing);
    CHECK(back.decoder_pre_norm);
    CHECK(back.target_length == 8);
    CHECK(message_of<hat::invalid_value>([&] {
              std::string other = line;
              other.replace(other.find("decoder_input_output"), 20, "some");
              (void)hat::RemoteModel::parse(RemoteMessage::parse(other));
          }) == "key 'sharing' is 'some', expected none, decoder_input_output or all");

    const hat::RunCount count{.warmup = 2, .repeats = 3, .min_time = hat::Milliseconds(1.5), .max_repeats = 30};
    const auto request = RemoteMessage::parse(hat::time_request(7, count, hat_test::tiny_sub_arch()).text());
    CHECK(request.arch() == hat_test::tiny_sub_arch());
    const auto again = hat::parse_run_count(request);
    CHECK(again.warmup == 2);
    CHECK(again.repeats == 3);
    CHECK(again.min_time.count() == 1.5);
    CHECK(again.max_repeats == 30);

    const auto answer = hat::samples_answer(7, {{1.5, 0.000002}, {3, 4}});
    CHECK(answer.text() == "samples id=7 encoder=1500000,2 decoder=3000000,4000000");
    const auto times = hat::parse_samples(RemoteMessage::parse(answer.text()), 2);
    CHECK(times.encoder == std::vector<double>{1.5, 0.000002});
    CHECK(times.decoder == std::vector<double>{3, 4});
    const auto refused = [](const std::string& list) {
        return message_of<hat::invalid_value>(
            [&] { (void)hat::parse_samples(RemoteMessage::parse("samples encoder=" + list + " decoder=1,2"), 2); });
    };
    CHECK(refused("1,2") == "");
    for (const std::string list : {"1,2,", ",1", "1,,2", "1,-2", "1.5,2", "x", "1;2"})
        CHECK(refused(list) == "key 'encoder' is '" + list + "', expected whole nanoseconds between commas");
    CHECK(refused("1") == "key 'encoder' has 1 times, expected at least 2");
}
