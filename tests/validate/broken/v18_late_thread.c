/* Keeps a thread that speaks for instances long gone. */
#include <pthread.h>
#include <time.h>

#include "epp/abi.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err);
#define BROKEN_CREATE create
#include "base.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const epp_host* last_host;

static void* speak(void* unused) {
  const struct timespec pause = {0, 5000000};
  const epp_str text = {"still here", 10};
  (void)unused;
  for (;;) {
    const epp_host* host = __atomic_load_n(&last_host, __ATOMIC_ACQUIRE);
    nanosleep(&pause, NULL);
    host->log(host->ctx, EPP_LOG_INFO, text);
  }
  return NULL;
}

static void start(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, speak, NULL);
  pthread_detach(thread);
}

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  __atomic_store_n(&last_host, host, __ATOMIC_RELEASE);
  pthread_once(&once, start);
  return base_create(host, name, values, err);
}
