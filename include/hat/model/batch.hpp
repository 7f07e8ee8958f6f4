#pragma once
/// \file
/// Batches of sentences as the model reads them: hat::Batch, which the text side shares, lives in core/tokens.hpp.

#include <hat/core/tokens.hpp>
