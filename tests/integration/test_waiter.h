// A producer that waits until the test says so.
//
//   test-waiter   gives every endpoint the number of its label "waited", once it was completed;
//                 its parameter timeout is that of the operation. Waits only for requests with the
//                 header x-wait
//   test-waited   scores by it; endpoints without a value get 0
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "epp/abi.h"

namespace epp::integration {

const epp_plugin_type* TestWaiterType();
const epp_plugin_type* TestWaitedType();

// What waits in this process. Threads: any.
class WaiterDesk {
 public:
  // Completes one operation each; may be called whenever, and more than once.
  static std::vector<std::function<void()>> Take();
  static size_t waiting();  // not taken
  static size_t started();
  static size_t finished();
  static size_t cancelled();
  static void Reset();
};

}  // namespace epp::integration
