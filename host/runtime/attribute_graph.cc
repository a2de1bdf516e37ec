#include "host/runtime/attribute_graph.h"

#include <algorithm>

namespace epp::runtime {
namespace {

Declared FromSpec(const epp_attr_spec& spec, std::string producer) {
  return {spec.key,   std::move(producer), spec.type,
          spec.scope, spec.flags,          spec.schema ? spec.schema : "",
          false};
}

// The value of a text parameter, or "".
std::string_view TextParam(const epp_plugin_type& type, std::span<const epp_value> params,
                           const char* name) {
  for (uint32_t i = 0; i < type.param_count && i < params.size(); ++i) {
    const bool text = params[i].type == EPP_P_STR || params[i].type == EPP_P_PLUGIN;
    if (std::string_view(type.params[i]->name) == name && params[i].present && text &&
        params[i].v.str.size > 0) {
      return {params[i].v.str.data, params[i].v.str.size};
    }
  }
  return "";
}

// Depth-first visit; false when it meets a node on the current path.
bool Visit(std::span<const OrderNode> nodes, size_t at, bool optional, std::vector<uint8_t>& state,
           std::vector<size_t>& order, std::vector<size_t>* path) {
  if (state[at] == 2) return true;
  if (path) path->push_back(at);
  if (state[at] == 1) return false;
  state[at] = 1;
  for (const size_t before : nodes[at].required) {
    if (!Visit(nodes, before, optional, state, order, path)) return false;
  }
  if (optional) {
    for (const size_t before : nodes[at].optional) {
      if (!Visit(nodes, before, optional, state, order, path)) return false;
    }
  }
  state[at] = 2;
  order.push_back(at);
  if (path) path->pop_back();
  return true;
}

bool OrderAll(std::span<const OrderNode> nodes, bool optional, std::vector<size_t>& order,
              std::vector<size_t>* cycle) {
  order.clear();
  std::vector<uint8_t> state(nodes.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::vector<size_t> path;
    if (Visit(nodes, i, optional, state, order, &path)) continue;
    if (cycle) {
      // The path ends where it meets itself.
      const auto begin = std::find(path.begin(), path.end() - 1, path.back());
      cycle->assign(begin, path.end());
    }
    return false;
  }
  return true;
}

}  // namespace

Declarations DeclarationsOf(const loader::Instance& instance, std::span<const epp_value> params) {
  const epp_plugin_type& type = *instance.type().type;
  const epp_attr_spec* const* consumes = type.consumes;
  const epp_attr_spec* const* produces = type.produces;
  uint32_t consumes_count = type.consumes_count;
  uint32_t produces_count = type.produces_count;
  if (const auto* dynamic = instance.Get<epp_attributes>(EPP_ATTRIBUTES_ID)) {
    consumes = dynamic->consumes(instance.self(), &consumes_count);
    produces = dynamic->produces(instance.self(), &produces_count);
  }

  Declarations out;
  for (const epp_attr_spec* spec : std::span(consumes, consumes_count)) {
    std::string_view producer;
    if (spec->producer_param) producer = TextParam(type, params, spec->producer_param);
    const bool overridden = !producer.empty();
    if (!overridden && spec->default_producer) producer = spec->default_producer;
    out.consumes.push_back(FromSpec(*spec, std::string(producer)));
    out.consumes.back().overridden = overridden;
  }
  for (const epp_attr_spec* spec : std::span(produces, produces_count)) {
    const bool by_type = spec->flags & EPP_ATTR_TYPE_NAMED;
    out.produces.push_back(FromSpec(*spec, by_type ? type.name : instance.name()));
  }
  return out;
}

bool IsBuiltin(const Declared& attribute) {
  return attribute.producer.empty() &&
         (attribute.key == "metrics-age-ns" || attribute.key.starts_with("label/"));
}

std::optional<std::vector<size_t>> Order(std::span<const OrderNode> nodes,
                                         std::vector<size_t>* cycle) {
  std::vector<size_t> order;
  if (OrderAll(nodes, true, order, nullptr)) return order;
  if (OrderAll(nodes, false, order, cycle)) return order;
  return std::nullopt;
}

}  // namespace epp::runtime
