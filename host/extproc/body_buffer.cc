#include "host/extproc/body_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

namespace epp::extproc {
namespace {

constexpr size_t kSmallest = 4096;
constexpr size_t kPadding = request::Body::kPadding;

}  // namespace

void BodyBuffer::Free::operator()(char* data) const { std::free(data); }

BodyBuffer::BodyBuffer(BodyBuffer&& other) noexcept
    : data_(std::move(other.data_)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

BodyBuffer& BodyBuffer::operator=(BodyBuffer&& other) noexcept {
  data_ = std::move(other.data_);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

bool BodyBuffer::Reserve(size_t total) {
  if (total > std::numeric_limits<size_t>::max() - kPadding) return false;
  const size_t need = total + kPadding;
  if (need <= capacity_) return true;
  // realloc: a large block may grow in place.
  char* grown = static_cast<char*>(std::realloc(data_.get(), need));
  if (grown == nullptr) return false;
  (void)data_.release();
  data_.reset(grown);
  capacity_ = need;
  return true;
}

bool BodyBuffer::Append(std::string_view bytes) {
  if (bytes.empty()) return true;
  if (bytes.size() > std::numeric_limits<size_t>::max() / 4 - size_) return false;
  const size_t total = size_ + bytes.size();
  if (total + kPadding > capacity_ &&
      !Reserve(std::max({total, 2 * capacity_, kSmallest - kPadding}))) {
    return false;
  }
  std::memcpy(data_.get() + size_, bytes.data(), bytes.size());
  size_ = total;
  return true;
}

bool BodyBuffer::Seal(request::Body* body) {
  if (!Reserve(size_)) return false;
  std::memset(data_.get() + size_, 0, kPadding);
  body->data = data_.get();
  body->size = size_;
  return true;
}

BufferPool::BufferPool(size_t max_buffers, size_t max_buffer_bytes, size_t max_total_bytes)
    : max_buffers_(max_buffers),
      max_buffer_bytes_(max_buffer_bytes),
      max_total_bytes_(max_total_bytes) {
  free_.reserve(max_buffers);
}

BodyBuffer BufferPool::Take() {
  if (free_.empty()) return BodyBuffer();
  BodyBuffer buffer = std::move(free_.back());
  free_.pop_back();
  pooled_bytes_ -= buffer.capacity();
  buffer.Clear();
  return buffer;
}

void BufferPool::Give(BodyBuffer buffer) {
  const size_t bytes = buffer.capacity();
  if (bytes == 0 || bytes > max_buffer_bytes_ || free_.size() >= max_buffers_ ||
      bytes > max_total_bytes_ - pooled_bytes_) {
    return;
  }
  pooled_bytes_ += bytes;
  free_.push_back(std::move(buffer));
}

}  // namespace epp::extproc
