// One subcommand: its flags, its help, what it does.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/cli/io.h"

namespace CLI {
class App;
}

namespace epp::cli {

class Command {
 public:
  virtual ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  // Parses the arguments behind the subcommand's name and runs. Returns the exit code.
  virtual int Main(const std::vector<std::string>& arguments, Io& io);
  // The flags, long ones with "--", for shell completion.
  virtual std::vector<std::string> FlagNames() const;
  // What reads the arguments, unless Main is another; for the manual.
  const CLI::App& parser() const { return *app_; }
  std::string_view examples() const { return examples_; }

 protected:
  // `examples` are lines shown above the rest by --help.
  Command(std::string_view name, std::string_view summary, std::string_view examples);

  // Flags are added to app() in the constructor, to members of the derived class.
  CLI::App& app() { return *app_; }
  void AddJsonFlag();
  bool json() const { return json_; }
  virtual int Run(Io& io) = 0;

  // Says on stderr what is wrong, or on stdout as "epp.error/1" with --json. Returns `exit_code`.
  int Fail(Io& io, int exit_code, std::string_view code, std::string_view message) const;

 private:
  int Usage(Io& io, std::string_view message) const;

  std::string name_;
  std::string examples_;
  std::unique_ptr<CLI::App> app_;
  bool json_ = false;
  std::string colour_ = "auto";
};

struct CommandEntry {
  std::string_view name;
  std::string_view summary;
  std::unique_ptr<Command> (*make)();
};

// All subcommands, in the order of the help.
std::span<const CommandEntry> Commands();

// Runs `epp ARGUMENTS...`. No subcommand and a first argument that starts with '-' means serve.
int Dispatch(const std::vector<std::string>& arguments, Io& io);

// Not among Commands(): for those who build packages.
std::unique_ptr<Command> MakeMan();

// One per file of this folder.
std::unique_ptr<Command> MakeServe();
std::unique_ptr<Command> MakeCheck();
std::unique_ptr<Command> MakePlugins();
std::unique_ptr<Command> MakePlugin();
std::unique_ptr<Command> MakePluginNew();
std::unique_ptr<Command> MakeNewPlugin();
std::unique_ptr<Command> MakeStatus();
std::unique_ptr<Command> MakePool();
std::unique_ptr<Command> MakeReload();
std::unique_ptr<Command> MakeRollback();
std::unique_ptr<Command> MakeDiff();
std::unique_ptr<Command> MakeShadow();
std::unique_ptr<Command> MakeExplain();
std::unique_ptr<Command> MakeHelp();
std::unique_ptr<Command> MakeCompletion();
std::unique_ptr<Command> MakeVersion();

}  // namespace epp::cli
