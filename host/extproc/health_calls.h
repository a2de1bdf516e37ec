// grpc.health.v1 on the ext-proc port: the server is there, so it serves. Statuses are fixed; what
// they would depend on is told on the health port.
#pragma once

#include "host/extproc/health.grpc.pb.h"
#include "host/extproc/worker.h"

namespace epp::extproc {

using ExtProcHealthService = ::grpc::health::v1::Health::AsyncService;

// Starts answering Check, List and Watch on this worker. On the worker's thread.
void ServeHealth(ExtProcHealthService& service, Worker& worker);

}  // namespace epp::extproc
