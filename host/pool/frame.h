// An immutable snapshot of the pool: endpoints as rows, their attributes as columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "epp/abi.h"
#include "host/pool/attributes.h"

namespace epp::pool {

// An endpoint and the memory behind its ABI view. Immutable; a changed endpoint (labels, address)
// is a new object with the same id and slot.
class Endpoint {
 public:
  struct Fields {
    std::string name_space;
    std::string name;
    std::string address;  // IP literal without brackets, or host name
    uint16_t port = 0;
    uint32_t rank = 0;
    std::vector<std::pair<std::string, std::string>> labels;  // any order, unique keys
    friend bool operator==(const Fields&, const Fields&) = default;
  };
  Endpoint(uint64_t id, uint32_t slot, Fields fields);
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  const epp_endpoint& abi() const { return abi_; }
  const Fields& fields() const { return fields_; }

 private:
  Fields fields_;
  std::string full_name_;
  std::string host_port_;
  std::vector<epp_label> labels_;
  epp_endpoint abi_;
};

enum class EndpointState : uint8_t { kUnknown, kFresh, kStale, kUnreachable };

// Row numbers are meaningful within one frame. All arrays have size() entries.
class Frame {
 public:
  uint64_t number() const { return number_; }
  uint64_t created_ns() const { return created_ns_; }  // monotonic
  size_t size() const { return members_->abi.size(); }
  std::span<const epp_endpoint* const> endpoints() const { return members_->abi; }
  std::span<const uint32_t> slots() const { return members_->slots; }
  // Monotonic time of each endpoint's last good scrape; 0 when never.
  std::span<const uint64_t> sampled_ns() const { return sampled_ns_; }
  std::span<const EndpointState> states() const { return states_; }
  // How many of them are kUnreachable.
  size_t unreachable() const { return unreachable_; }
  // The column of a registered attribute; null values when nobody ever wrote it.
  const epp_column& column(AttributeId id) const;
  // Row of an endpoint by id, or size().
  size_t RowOf(uint64_t endpoint_id) const;
  // Owners of the endpoints, for who must keep one longer than the frame.
  std::span<const std::shared_ptr<const Endpoint>> owners() const { return members_->owners; }

 private:
  friend class Pool;
  // The rows without their values; shared by consecutive frames of the same endpoints.
  struct Members {
    std::vector<std::shared_ptr<const Endpoint>> owners;
    std::vector<const epp_endpoint*> abi;
    std::vector<uint32_t> slots;
    std::vector<std::pair<uint64_t, uint32_t>> rows_by_id;  // sorted
    std::vector<std::shared_ptr<const void>> presences;     // tell the pool when the last one goes
  };
  Frame() = default;
  uint64_t number_ = 0;
  uint64_t created_ns_ = 0;
  std::shared_ptr<const Members> members_;
  std::vector<uint64_t> sampled_ns_;
  std::vector<EndpointState> states_;
  size_t unreachable_ = 0;
  std::vector<epp_column> columns_;  // by AttributeId; views into the block below
  std::unique_ptr<std::byte[]> block_;
};

}  // namespace epp::pool
