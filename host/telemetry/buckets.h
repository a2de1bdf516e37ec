// Upper bounds of the histograms, in the unit of their family. The values are those that existing
// dashboards expect; 32778 in the byte sets is kept for their sake.
#pragma once

namespace epp::telemetry::buckets {

// seconds, end to end
inline constexpr double kGeneral[] = {0.005, 0.025, 0.05, 0.1, 0.2,  0.4,  0.6,  0.8, 1,
                                      1.25,  1.5,   2,    3,   4,    5,    6,    8,   10,
                                      15,    20,    30,   45,  60,   120,  180,  240, 300,
                                      360,   480,   600,  900, 1200, 1800, 2700, 3600};
// seconds to the first token
inline constexpr double kTtft[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2,
                                   3,     4,     5,    6,   8,   10,  15,  20,  30, 45,   60,  120};
// seconds, short steps
inline constexpr double kShort[] = {0.0001, 0.0002, 0.0005, 0.001, 0.002,
                                    0.005,  0.01,   0.02,   0.05,  0.1};
// seconds in a queue
inline constexpr double kQueueWait[] = {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1,
                                        0.25,   0.5,    1,     2.5,   5,    10,    30,   60};
// seconds
inline constexpr double kRequestProcessing[] = {
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
// seconds
inline constexpr double kResponseProcessing[] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5};
// seconds per output token, whole request
inline constexpr double kNtpot[] = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                                    0.2,   0.5,   1,     2,    5,    10};
// seconds per output token after the first
inline constexpr double kTpot[] = {0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125,
                                   0.15,   0.2,     0.3,   0.4,  0.5,  0.6,  0.8,  1,    2};
// seconds
inline constexpr double kPredictedTpot[] = {
    0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2,
    0.3,    0.4,     0.5,   0.6,  0.8,  1,    1.5,  2,    3,   4.5,   6,    12,
    18,     24,      30,    36,   48,   60,   90,   120,  180, 270,   360};
// seconds between body messages
inline constexpr double kItl[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                  0.15,  0.2,   0.3,  0.5,  0.75, 1,    2};
// seconds to predict
inline constexpr double kPrediction[] = {0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                         0.05,   0.1,    0.2,   0.5,   1,     2,    5};
// seconds
inline constexpr double kRevocation[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
// seconds an ext-proc stream lives
inline constexpr double kStream[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1,
                                     5,     10,    30,   60,   120, 300, 600};
// 64 * 2^n
inline constexpr double kRequestBytes[] = {
    64,       128,      256,      512,       1024,      2048,      4096,      8192,    16384,
    32768,    65536,    131072,   262144,    524288,    1048576,   2097152,   4194304, 8388608,
    16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824};
// bytes
inline constexpr double kResponseBytes[] = {1,    8,    16,   32,   64,    128,   256,  512,
                                            1024, 2048, 4096, 8192, 16384, 32778, 65536};
// tokens
inline constexpr double kInputTokens[] = {1,     8,      16,     32,     64,     128,   256,
                                          512,   1024,   2048,   4096,   8192,   16384, 32778,
                                          65536, 131072, 262144, 524288, 1048576};
// tokens
inline constexpr double kOutputTokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
// 0 to 1
inline constexpr double kRatio[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
// bytes
inline constexpr double kHitBytes[] = {0,    16,   32,   64,   128,   256,   512,
                                       1024, 2048, 4096, 8192, 16384, 32768, 65536};
// seconds of one phase of a decision
inline constexpr double kDecision[] = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4,
                                       2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2};
// seconds of one phase of a reload
inline constexpr double kReload[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                     0.5,   1,      2.5,   5,    10,    30,   60};

}  // namespace epp::telemetry::buckets
