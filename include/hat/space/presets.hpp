#pragma once
/// \file
/// The paper's four tasks: their design spaces, for typed code, and their training recipes. Numbers from the
/// reference's configs/TASK/{supertransformer,subtransformer,evo_search,latency_dataset,latency_predictor}.

#include <hat/space/arch.hpp>
#include <hat/space/space.hpp>

namespace hat {

/// WMT'14 English-German, space 0: 4.2e14 networks.
struct Wmt14EnDe {
    static constexpr auto encoder_embed = choices(640, 512);           ///< embedding widths of the encoder
    static constexpr auto encoder_layers = choices(6);                 ///< encoder depths
    static constexpr auto encoder_ffn = choices(3072, 2048, 1024);     ///< FFN widths of each encoder layer
    static constexpr auto encoder_heads = choices(8, 4);               ///< self-attention heads of each encoder layer
    static constexpr auto decoder_embed = choices(640, 512);           ///< embedding widths of the decoder
    static constexpr auto decoder_layers = choices(6, 5, 4, 3, 2, 1);  ///< decoder depths
    static constexpr auto decoder_ffn = choices(3072, 2048, 1024);     ///< FFN widths of each decoder layer
    static constexpr auto decoder_heads = choices(8, 4);               ///< self-attention heads of each decoder layer
    static constexpr auto cross_heads = choices(8, 4);    ///< encoder-decoder attention heads of each decoder layer
    static constexpr auto cross_span = choices(1, 2, 3);  ///< encoder layers each decoder layer attends to
    static constexpr auto qkv = choices(512);             ///< width of q, k and v
};
/// WMT'14 English-French, space 0.
struct Wmt14EnFr : Wmt14EnDe {};
/// WMT'19 English-German, space 0.
struct Wmt19EnDe : Wmt14EnDe {};

/// IWSLT'14 German-English, space 1.
struct Iwslt14DeEn : Wmt14EnDe {
    static constexpr auto encoder_ffn = choices(2048, 1024, 512);  ///< FFN widths of each encoder layer
    static constexpr auto encoder_heads = choices(4, 2);           ///< self-attention heads of each encoder layer
    static constexpr auto decoder_ffn = choices(2048, 1024, 512);  ///< FFN widths of each decoder layer
    static constexpr auto decoder_heads = choices(4, 2);           ///< self-attention heads of each decoder layer
    static constexpr auto cross_heads = choices(4, 2);  ///< encoder-decoder attention heads of each decoder layer
};

/// The wider space that the reference's latency datasets sample, for all tasks.
struct LatencySampling : Wmt14EnDe {
    static constexpr auto encoder_ffn = choices(3072, 2048, 1024, 512);  ///< FFN widths of each encoder layer
    static constexpr auto encoder_heads = choices(8, 4, 2);              ///< self-attention heads of each encoder layer
    static constexpr auto decoder_ffn = choices(3072, 2048, 1024, 512);  ///< FFN widths of each decoder layer
    static constexpr auto decoder_heads = choices(8, 4, 2);              ///< self-attention heads of each decoder layer
    static constexpr auto cross_heads = choices(8, 4, 2);  ///< encoder-decoder attention heads of each decoder layer
};

/// How the learning rate moves after the warm-up (semantics, section 10).
enum class ScheduleKind {
    inverse_sqrt,  ///< falls from `lr` with the square root of the update
    cosine         ///< falls from `max_lr` to `lr` along half a cosine
};

/// How a task is trained, as plain values. Defaults: the reference's.
struct TrainingRecipe {
    double adam_beta1 = 0.9;                             ///< Adam's decay of the first moment
    double adam_beta2 = 0.98;                            ///< and of the second
    double adam_eps = 1e-8;                              ///< Adam's epsilon
    double weight_decay = 0;                             ///< decoupled
    double clip_norm = 25;                               ///< largest gradient norm; 0: no clipping
    double dropout = 0.1;                                ///< after sublayers and embeddings
    double attention_dropout = 0;                        ///< of attention weights
    double activation_dropout = 0;                       ///< inside the FFN
    double label_smoothing = 0;                          ///< share of the probability spread over all words
    ScheduleKind schedule = ScheduleKind::inverse_sqrt;  ///< of the learning rate
    double warmup_init_lr = -1;                          ///< below 0: the schedule's own default
    double lr = 0;                                       ///< inverse_sqrt: the peak; cosine: the minimum
    double max_lr = 0;                                   ///< cosine: the peak
    double lr_shrink = 0.1;                              ///< cosine: factor per restart
    double t_mult = 1;                                   ///< cosine: growth of the period per restart
    long lr_period_updates = -1;  ///< cosine: length of the first period; below 0: max_updates - warmup_updates
    long warmup_updates = 0;      ///< the rate grows linearly so long
    long max_updates = 0;         ///< when training ends
    int max_tokens = 4096;        ///< tokens per micro-batch
    int update_freq = 1;          ///< micro-batches per update
    unsigned long seed = 1;       ///< of everything random
    EmbeddingSharing sharing = EmbeddingSharing::none;  ///< which vocabulary matrices are one
    bool encoder_pre_norm = false;                      ///< layer norm before each sublayer
    bool decoder_pre_norm = false;                      ///< the same for the decoder
    bool decoder_final_norm = true;                     ///< pre-norm only
    bool vocab_original_scaling = false;                ///< the reference's option of this name
    friend bool operator==(const TrainingRecipe&, const TrainingRecipe&) = default;  ///< memberwise
};

/// The SuperTransformers of WMT'14 En-De, En-Fr and WMT'19 En-De (space0.yml).
constexpr TrainingRecipe wmt_super_recipe() {
    TrainingRecipe r;
    r.clip_norm = 0;
    r.dropout = 0.3;
    r.attention_dropout = 0.1;
    r.label_smoothing = 0.1;
    r.schedule = ScheduleKind::cosine;
    r.warmup_init_lr = 1e-7;
    r.lr = 1e-7;
    r.max_lr = 0.001;
    r.lr_shrink = 1;
    r.warmup_updates = 10000;
    r.max_updates = 40000;
    r.update_freq = 16;
    r.sharing = EmbeddingSharing::all;
    return r;
}
/// Their SubTransformers, from scratch (common.yml): a shorter warm-up.
constexpr TrainingRecipe wmt_sub_recipe() {
    TrainingRecipe r = wmt_super_recipe();
    r.warmup_updates = 4000;
    return r;
}
/// The SuperTransformer of IWSLT'14 De-En (space1.yml).
constexpr TrainingRecipe iwslt_super_recipe() {
    TrainingRecipe r;
    r.weight_decay = 0.0001;
    r.dropout = 0.375;
    r.label_smoothing = 0.1;
    r.warmup_init_lr = 1e-7;
    r.lr = 0.0005;
    r.warmup_updates = 10000;
    r.max_updates = 50000;
    return r;
}
/// Its SubTransformers, from scratch (common.yml): a shorter warm-up.
constexpr TrainingRecipe iwslt_sub_recipe() {
    TrainingRecipe r = iwslt_super_recipe();
    r.warmup_updates = 4000;
    return r;
}

/// Tokens of the sentences that the reference measures and counts operations with.
inline constexpr int wmt_sentence_length = 30;
/// The same for IWSLT.
inline constexpr int iwslt_sentence_length = 23;

}  // namespace hat
