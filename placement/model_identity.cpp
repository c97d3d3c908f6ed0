#include "placement/model_identity.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {

ModelIdentity IdentityOf(const ModelShape& shape, const std::string& architecture) {
  return {.architecture = architecture,
          .layers = shape.layers,
          .dense_layers = shape.dense_layers,
          .hidden = shape.hidden,
          .experts = shape.experts,
          .top_k = shape.top_k,
          .expert_intermediate = shape.expert_intermediate};
}

std::string Describe(const ModelIdentity& identity) {
  std::string text = absl::StrCat(identity.architecture, ", ", identity.layers, " layers, ",
                                  identity.experts, " experts top ", identity.top_k);
  if (identity.router_hash != 0)
    absl::StrAppendFormat(&text, ", router %016x", identity.router_hash);
  return text;
}

absl::Status CheckSameModel(const std::string& what, const ModelIdentity& made_for,
                            const ModelIdentity& model) {
  struct Field {
    const char* name;
    int32_t ModelIdentity::*value;
  };
  constexpr Field kFields[] = {{"layers", &ModelIdentity::layers},
                               {"dense layers", &ModelIdentity::dense_layers},
                               {"experts per layer", &ModelIdentity::experts},
                               {"experts per token", &ModelIdentity::top_k},
                               {"hidden size", &ModelIdentity::hidden},
                               {"expert width", &ModelIdentity::expert_intermediate}};
  for (const Field& field : kFields) {
    if (made_for.*field.value == model.*field.value) continue;
    return absl::FailedPreconditionError(absl::StrCat(what, " is of another model: it has ",
                                                      made_for.*field.value, " ", field.name,
                                                      ", this one ", model.*field.value));
  }
  if (made_for.router_hash != 0 && model.router_hash != 0 &&
      made_for.router_hash != model.router_hash) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s is of another model of the same shape: its router's hash is %016x, this one's %016x",
        what, made_for.router_hash, model.router_hash));
  }
  return absl::OkStatus();
}

}  // namespace tandem
