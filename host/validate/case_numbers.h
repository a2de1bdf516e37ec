// The cases by number. A breach is one case's to report, whichever runs when it happens.
#pragma once

namespace epp::validate {

inline constexpr int kSymbols = 1;
inline constexpr int kElf = 2;
inline constexpr int kLoad = 3;
inline constexpr int kLoadTwice = 4;
inline constexpr int kRecord = 5;
inline constexpr int kParameters = 6;
inline constexpr int kLeaks = 7;
inline constexpr int kInterfaces = 8;
inline constexpr int kOlderHost = 9;
inline constexpr int kNewerHost = 10;
inline constexpr int kBounds = 11;
inline constexpr int kMissingValues = 12;
inline constexpr int kPermutation = 13;
inline constexpr int kDeterminism = 14;
inline constexpr int kAllocations = 15;
inline constexpr int kScoreTime = 16;
inline constexpr int kFailingHost = 17;
inline constexpr int kQuietAfterDestroy = 18;
inline constexpr int kUnload = 19;
inline constexpr int kThreadTags = 20;
inline constexpr int kLogHygiene = 21;
inline constexpr int kProduced = 22;

}  // namespace epp::validate
