// What a fake host gives a profile handler to steer with. Included by epp/testing.hpp only.
#pragma once

#include "epp/detail/testing_columns.hpp"
#include "epp/detail/testing_request.hpp"

namespace epp::test {

// One call's. Questions, the port and what was published end in the request.
class Steering {
 public:
  Steering(const epp_plugin_type& type, const std::vector<const epp_attr_spec*>& produces,
           size_t candidates, Request& request)
      : type_(type), candidates_(candidates), request_(request), columns_(produces, 0, false) {
    raw_ = {sizeof(epp_steering), 0, this, &Ask, &SetPort, columns_.raw()->request_columns};
  }
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;
  const epp_steering* raw() const { return &raw_; }

  // As the host does when the call has returned.
  void Publish(const Host& host) const {
    if (!breach_.empty()) Misuse(breach_);
    std::map<std::string, std::vector<Cell>> unused;
    std::map<std::string, Cell> published;
    columns_.Read(host, unused, published);
    for (auto& [key, cell] : published) {
      if (cell != Cell()) request_.Set(key, cell);
    }
  }

 private:
  static uint32_t Ask(void* ctx, uint32_t param, uint32_t row) noexcept {
    auto& self = *static_cast<Steering*>(ctx);
    if (param >= self.type_.param_count || self.type_.params[param]->type != EPP_P_PLUGIN) {
      self.breach_ = "the handler asks a parameter that names no plugin";
      return 0;
    }
    if (row != EPP_NO_ROW && row >= self.candidates_) {
      self.breach_ = "the handler asks about what is no candidate";
    }
    return self.request_.Ask(self.type_.params[param]->name,
                             row == EPP_NO_ROW ? std::nullopt : std::optional(row));
  }
  static void SetPort(void* ctx, uint32_t port) noexcept {
    auto& self = *static_cast<Steering*>(ctx);
    if (port > 65535) self.breach_ = "the handler sets a port that is none";
    self.request_.DestinationPort(port);
  }

  const epp_plugin_type& type_;
  const size_t candidates_;
  Request& request_;
  OutputColumns columns_;
  std::string breach_;
  epp_steering raw_{};
};

}  // namespace epp::test
