// Plugin types that misbehave on request, and that write down when they are called.
//
// A request says what it wants in its header x-test: "POINT=WHAT,POINT=WHAT". WHAT is "throw",
// "throw-int", a status number, or what the point itself documents. Points: filter, scorer, picker,
// producer, choose, conclude, parse, parse-response, and for hooks their instance's name with
// ".pre", ".headers" or ".body" behind it.
//
//   test-filter    filter=drop drops every endpoint
//   test-gate      header plugin, screener, admitter: headers=STATUS, admit=STATUS, screen=SCORE
//                  keeps only endpoints whose label "score" is that; admit=note notes the fairness
//                  id and the number of candidates
//   test-scorer    scores by the label "score"; scorer=nan, scorer=huge
//   test-valued    scores by what test-producer makes: the label "value", else "score"
//   test-picker    picks the best; picker=none, picker=outside
//   test-handler   runs all profiles, the first is primary; choose=nothing, conclude=outside
//   test-parser    claims the path suffix test/parse; takes the body for the model's name
//   test-hook      all response events; sets x-NAME in requests and responses, metadata test/NAME
//                  at the end; NAME.pre=remove removes the request header x-remove-me;
//                  NAME.pre=forge tries another destination and a header of two lines
//   test-end       only the end of a response
//   test-learner   produces the requests in flight, times its parameter step, by pick
//   test-idle      prefers endpoints on which test-learner has less
//   test-waiter, test-waited   see test_waiter.h
//   test-slow      scores everything alike and takes 2 ms for it
#pragma once

#include <span>
#include <string>
#include <vector>

#include "epp/abi.h"

namespace epp::integration {

std::span<const epp_plugin_type* const> TestPluginTypes();

// What was called since the last Take, in order: "NAME.pre", "NAME.headers",
// "NAME.body first last end=1 usage=P/C events=E bytes=N". Threads: any.
std::vector<std::string> TakeTrace();

}  // namespace epp::integration
