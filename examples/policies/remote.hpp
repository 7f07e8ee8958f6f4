#pragma once
// What the examples remote_*.cpp share: a small space, and a device behind a command. They take a command that reaches
// a hat-agent (docs/remote_devices.md) as argument; without one, a stand-in speaks the protocol.
#include <chrono>
#include <hat/latency/remote.hpp>
#include <hat/space/space.hpp>
#include <iostream>
#include <memory>
#include <string>

struct Small {  // a space that the agent is done with in no time
    static constexpr auto encoder_embed = hat::choices(64, 32);
    static constexpr auto encoder_layers = hat::choices(2, 1);
    static constexpr auto encoder_ffn = hat::choices(128, 64);
    static constexpr auto encoder_heads = hat::choices(4, 2);
    static constexpr auto decoder_embed = hat::choices(64, 32);
    static constexpr auto decoder_layers = hat::choices(3, 2, 1);
    static constexpr auto decoder_ffn = hat::choices(128, 64);
    static constexpr auto decoder_heads = hat::choices(4, 2);
    static constexpr auto cross_heads = hat::choices(4, 2);
    static constexpr auto cross_span = hat::choices(1, 2);
    static constexpr auto qkv = hat::choices(64);
};
using Space = hat::Space<Small>;

inline std::shared_ptr<hat::RemoteDevice> connect(const std::string& command) {
    hat::RemoteModel model;
    model.shape = hat::to_runtime(Space{}.largest());
    model.source_vocab = model.target_vocab = 1000;
    model.source_length = model.target_length = 10;
    hat::RemoteOptions options;
    options.command = command;  // "ssh pi ./hat-agent"
    options.timeout = std::chrono::seconds(60);
    options.report = [](const std::string& what) { std::cerr << what << "\n"; };
    return std::make_shared<hat::RemoteDevice>(model, options);
}

// The protocol in a few lines of shell: every encoder takes 1 ms, and a decoder 2 ms for each of its layers.
inline const std::string stand_in = R"(echo 'hello protocol=1'
while read -r verb id rest; do
  case $verb in
    model) echo 'ready device=stand-in' ;;
    time) layers=${rest##*decoder.layers=}; ms=$((2 * ${layers%% *}))
      echo "samples $id encoder=1000000,1000000,1000000,1000000,1000000 decoder=${ms}000000,${ms}000000,${ms}000000,${ms}000000,${ms}000000" ;;
    ping) echo "pong $id" ;;
    quit) exit ;;
  esac
done)";

inline Space::Arch with_decoder(int layers) {
    auto a = Space{}.largest();
    a.decoder.layers = layers;
    return hat::canonical(a);
}
