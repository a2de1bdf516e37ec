// The exchanges of a server: parse, schedule, account, over the services given.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "host/request/exchange.h"
#include "host/request/services.h"

namespace epp::request {

class HttpExchangeFactory final : public ExchangeFactory {
 public:
  // `services` and all it points to must outlive the factory and its exchanges.
  HttpExchangeFactory(const Services& services, uint32_t workers);
  ~HttpExchangeFactory() override;

  std::unique_ptr<Exchange> NewExchange(uint32_t worker, std::shared_ptr<Waker> waker) override;
  uint64_t max_body_bytes() const override { return services_.options.max_body_bytes; }

 private:
  const Services services_;
  std::vector<std::unique_ptr<WorkerState>> workers_;
};

}  // namespace epp::request
