// epp: the endpoint picker and the commands around it.
#include <csignal>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "host/cli/command.h"
#include "host/preflight/trial.h"

int main(int argc, char** argv) {
  // A peer that goes away is an error of one write, never the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  epp::preflight::AllowTrials();
  epp::cli::Io io = epp::cli::ProcessIo();
  int exit_code = epp::cli::kBug;
  try {
    exit_code = epp::cli::Dispatch({argv + 1, argv + argc}, io);
  } catch (const std::exception& error) {
    std::cerr << "epp: a bug of ours: " << error.what() << "\n";
  }
  std::cout.flush();
  return exit_code;
}
