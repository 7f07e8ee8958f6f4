#pragma once
/// \file
/// A loss with every kind of dropout.

#include <hat/model/elastic.hpp>

namespace hat_test {

inline const hat::LossOptions all_dropouts{
    .label_smoothing = 0.1, .dropout = 0.2, .attention_dropout = 0.15, .activation_dropout = 0.1, .seed = 9};

}  // namespace hat_test
