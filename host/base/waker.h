// Asks the owner of something that is suspended to look at it again.
#pragma once

namespace epp {

// Called from any thread, also when what it would wake is gone.
class Waker {
 public:
  virtual ~Waker() = default;
  virtual void Wake() = 0;
};

}  // namespace epp
