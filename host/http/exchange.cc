#include "host/http/exchange.h"

#include <cstdio>
#include <utility>

namespace epp::http {
namespace internal {

void Exchange::Send(Response response) {
  if (!Claim()) return;
  poster_->Post([self = shared_from_this(), response = std::move(response)]() mutable {
    if (auto sink = self->sink_.lock()) sink->SendWhole(std::move(response));
  });
}

void Exchange::Start(Response head) {
  if (!Claim()) return;
  {
    MutexLock lock(&mu_);
    pending_ = std::move(head.body);
    unsent_bytes_ = pending_.size();
  }
  head.body.clear();
  const bool posted = poster_->Post([self = shared_from_this(), head = std::move(head)]() mutable {
    if (auto sink = self->sink_.lock()) {
      sink->StartStream(std::move(head));
    } else {
      self->Close();
    }
  });
  if (!posted) Close();
}

bool Exchange::Write(std::string piece) {
  {
    MutexLock lock(&mu_);
    if (closed() || ended_) return false;
    if (unsent_bytes_ + piece.size() > max_pending_bytes_) {
      overflowed_.store(true, std::memory_order_release);
    } else {
      unsent_bytes_ += piece.size();
      pending_.append(piece);
    }
  }
  PostDrain();
  return !Overflowed();
}

void Exchange::End() {
  {
    MutexLock lock(&mu_);
    if (ended_) return;
    ended_ = true;
  }
  PostDrain();
}

void Exchange::OnClose(std::function<void()> fn) {
  {
    MutexLock lock(&mu_);
    if (!closed()) {
      on_close_.push_back(std::move(fn));
      return;
    }
  }
  // The server's thread if it still runs; without it nothing can race with the caller.
  auto shared = std::make_shared<std::function<void()>>(std::move(fn));
  if (!poster_->Post([shared] { (*shared)(); })) (*shared)();
}

void Exchange::PostDrain() {
  {
    MutexLock lock(&mu_);
    if (drain_posted_) return;
    drain_posted_ = true;
  }
  poster_->Post([self = shared_from_this()] {
    {
      MutexLock lock(&self->mu_);
      self->drain_posted_ = false;
    }
    if (auto sink = self->sink_.lock()) sink->Drain();
  });
}

std::string Exchange::TakePending(bool* ended) {
  MutexLock lock(&mu_);
  *ended = ended_;
  return std::exchange(pending_, {});
}

void Exchange::Sent(size_t n) {
  MutexLock lock(&mu_);
  unsent_bytes_ -= n;
}

void Exchange::Close() {
  std::vector<std::function<void()>> run;
  {
    MutexLock lock(&mu_);
    if (closed_.exchange(true, std::memory_order_acq_rel)) return;
    run.swap(on_close_);
  }
  for (const auto& fn : run) fn();
}

}  // namespace internal

bool Stream::Write(std::string piece) const { return exchange_->Write(std::move(piece)); }
void Stream::End() const { exchange_->End(); }
bool Stream::closed() const { return exchange_->closed() || exchange_->Overflowed(); }
void Stream::OnClose(std::function<void()> fn) const { exchange_->OnClose(std::move(fn)); }

Responder::~Responder() {
  if (exchange_ != nullptr) {
    exchange_->Send({.status = 500, .content_type = "text/plain", .body = "no answer\n"});
  }
}

void Responder::Send(Response response) { exchange_->Send(std::move(response)); }

Stream Responder::StartStream(Response head) {
  exchange_->Start(std::move(head));
  return Stream(exchange_);
}

}  // namespace epp::http
