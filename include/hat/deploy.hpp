#pragma once
/// \file
/// Everything that runs on a device or is written for one: weight files, text by networks that they choose or that are
/// compiled in, the measuring agent. A program for a device takes only the headers it needs (docs/deployment.md); few
/// other programs need any, so that hat/hat.hpp does not include this file.

#include <hat/deploy/agent.hpp>
#include <hat/deploy/any_model.hpp>
#include <hat/deploy/deployed_tokenizer.hpp>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/pack_weights.hpp>
#include <hat/deploy/packed_weights.hpp>
#include <hat/deploy/static_translator.hpp>
#include <hat/deploy/stored_transformer.hpp>
#include <hat/deploy/weight_file.hpp>
#include <hat/deploy/write_weight_file.hpp>

#include <hat/text/subword.hpp>
