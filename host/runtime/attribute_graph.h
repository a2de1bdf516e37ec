// Who produces what, who needs it, and in which order producers run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/loader/catalog.h"

namespace epp::runtime {

// An attribute that an instance declares, with its full name.
struct Declared {
  std::string key;
  std::string producer;  // "" for keys without producer part
  int32_t type = 0;
  uint32_t scope = 0;
  uint32_t flags = 0;
  std::string schema;
  bool overridden = false;  // consumes: the producer comes from the config
  std::string FullName() const { return producer.empty() ? key : key + "/" + producer; }
};

struct Declarations {
  std::vector<Declared> consumes;
  std::vector<Declared> produces;
};

// What an instance declares: its own answer (epp.attributes/1) or its type's tables.
Declarations DeclarationsOf(const loader::Instance& instance, std::span<const epp_value> params);

// True for attributes that the host provides: labels and the age of metrics.
bool IsBuiltin(const Declared& attribute);

// A producer and those it must run after, by position.
struct OrderNode {
  std::vector<size_t> required;
  std::vector<size_t> optional;
};

// Positions in an order that respects all edges, or all required ones when the optional ones close
// a cycle; ties keep the given order. Nothing, and the positions of a cycle, when required edges
// form one.
std::optional<std::vector<size_t>> Order(std::span<const OrderNode> nodes,
                                         std::vector<size_t>* cycle);

}  // namespace epp::runtime
