#include <doctest/doctest.h>

#include <hat/space/presets.hpp>

TEST_CASE("the presets are spaces of the sizes the axes imply") {
    // 2 (3 2)^6 2 sum_d (3 2 2 3)^d for all four; (4 3)^6 and (4 3 3 3)^d for the latency samples
    CHECK(hat::Space<hat::Wmt14EnDe>{}.network_count().text() == "417846678672384");
    CHECK(hat::Space<hat::Wmt14EnFr>{}.network_count().text() == "417846678672384");
    CHECK(hat::Space<hat::Wmt19EnDe>{}.network_count().text() == "417846678672384");
    CHECK(hat::Space<hat::Iwslt14DeEn>{}.network_count().text() == "417846678672384");
    CHECK(hat::Space<hat::LatencySampling>{}.network_count().text() == "19130661104239706112");
    constexpr auto big = hat::Space<hat::Iwslt14DeEn>{}.largest();
    static_assert(big.decoder.ffn[5] == 2048 && big.decoder.cross_heads[5] == 4 && big.encoder.embed == 640);
    // a network of the task's space is one of the sampling space
    hat::Rng rng(4);
    for (int i = 0; i < 100; ++i)
        CHECK(hat::Space<hat::LatencySampling>{}.contains(hat::Space<hat::Iwslt14DeEn>{}.random_network(rng)));
    static_assert(hat::wmt_super_recipe().schedule == hat::ScheduleKind::cosine);
    static_assert(hat::wmt_sub_recipe().warmup_updates == 4000 && hat::wmt_super_recipe().warmup_updates == 10000);
    static_assert(hat::iwslt_sub_recipe().warmup_updates == 4000 && hat::iwslt_sub_recipe().clip_norm == 25);
}
