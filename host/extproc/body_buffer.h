// The contiguous buffer that a body is collected in, and the pool that a worker reuses them from.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "host/request/exchange.h"

namespace epp::extproc {

// A growing byte buffer with request::Body::kPadding readable zero bytes behind its content once
// sealed. Not thread-safe.
class BodyBuffer {
 public:
  BodyBuffer() = default;
  BodyBuffer(BodyBuffer&& other) noexcept;
  BodyBuffer& operator=(BodyBuffer&& other) noexcept;

  // Makes room for `total` bytes of content. False when memory is out; content is unchanged then.
  [[nodiscard]] bool Reserve(size_t total);

  // Appends; capacity doubles, so that n bytes cost O(n). False when memory is out.
  [[nodiscard]] bool Append(std::string_view bytes);

  // The content followed by zeros. Valid until the next call that changes the buffer. Data is never
  // null when the buffer ever had capacity; false when memory for the padding is out.
  [[nodiscard]] bool Seal(request::Body* body);

  std::string_view view() const { return {data_.get(), size_}; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void Clear() { size_ = 0; }

 private:
  struct Free {
    void operator()(char* data) const;
  };

  std::unique_ptr<char[], Free> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;  // of data_, padding included
};

// Buffers of one worker between streams. Not thread-safe: each worker has its own.
class BufferPool {
 public:
  // Keeps at most `max_buffers` of at most `max_buffer_bytes` each, and `max_total_bytes` together;
  // what is beyond that is freed.
  BufferPool(size_t max_buffers, size_t max_buffer_bytes, size_t max_total_bytes);

  // An empty buffer, used before if there is one.
  BodyBuffer Take();
  void Give(BodyBuffer buffer);

  size_t pooled_bytes() const { return pooled_bytes_; }

 private:
  const size_t max_buffers_;
  const size_t max_buffer_bytes_;
  const size_t max_total_bytes_;
  size_t pooled_bytes_ = 0;
  std::vector<BodyBuffer> free_;
};

}  // namespace epp::extproc
