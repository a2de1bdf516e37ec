/* Helps itself to what belongs to the whole process as soon as it is loaded. */
#include <locale.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

static void on_signal(int signal) { (void)signal; }

__attribute__((constructor)) static void start(void) {
  signal(SIGUSR1, on_signal);
  setlocale(LC_ALL, "C.UTF-8");
  umask(0);
  if (fork() == 0) _exit(0);
}
