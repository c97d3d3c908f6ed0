// ModelIdentity in the files of placement/. Only for .cpp files of this folder.
#pragma once

#include "placement/identity.pb.h"
#include "placement/model_identity.h"

namespace tandem {

inline void ToProto(const ModelIdentity& from, placement::ModelIdentity& to) {
  to.set_architecture(from.architecture);
  to.set_layers(from.layers);
  to.set_dense_layers(from.dense_layers);
  to.set_hidden(from.hidden);
  to.set_experts(from.experts);
  to.set_top_k(from.top_k);
  to.set_expert_intermediate(from.expert_intermediate);
  to.set_router_hash(from.router_hash);
}

inline ModelIdentity FromProto(const placement::ModelIdentity& from) {
  return {.architecture = from.architecture(),
          .layers = from.layers(),
          .dense_layers = from.dense_layers(),
          .hidden = from.hidden(),
          .experts = from.experts(),
          .top_k = from.top_k(),
          .expert_intermediate = from.expert_intermediate(),
          .router_hash = from.router_hash()};
}

}  // namespace tandem
